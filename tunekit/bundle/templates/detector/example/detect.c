/* Finds objects in pictures with a compiled detector: JSON as COCO has it.
 *
 *     cc -O2 -DMODEL=maskrcnn_resnet50_x86 detect.c -Iinclude -Llib -lmaskrcnn_resnet50_x86 -lm
 *     detect [--least SCORE] PICTURE... > found.json      pictures: PPM, 8 bits, in binary
 *
 * MODEL is the library's name. Each picture is brought onto the canvas that the library takes, as
 * large as it fits, in the upper left; boxes are in the picture's own pixels. The last line says
 * how many pictures a second that were, reading and scaling counted. One that cannot be read is
 * left out, and the exit code is 1 then.
 */
#define _POSIX_C_SOURCE 200112L
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tunekit.h"

#define JOINED(name, end) name##end
#define API_OF(name) JOINED(name, _api)
const tunekit_api* API_OF(MODEL)(void);

#define CHANNELS 3
#define MOST_INPUTS 2

typedef struct {
  long width, height;
  unsigned char* pixels; /* rows from the top, red, green and blue of each pixel */
} picture;

/* The canvas, in which the channels come before the pixels or behind them. */
typedef struct {
  long width, height;
  int last, is_byte;
} canvas_form;

typedef struct {
  const float *boxes, *scores;
  const int64_t* labels;
  const int32_t* count;
} detections;

static int refuse(const char* what, const char* reason) {
  fprintf(stderr, "%s: %s\n", what, reason);
  return 1;
}

/* The next number of a header, behind blanks and comments; -1 where there is none. */
static long header_number(FILE* file) {
  long number = 0;
  int digits = 0, character = getc(file);
  while (isspace(character) || character == '#') {
    if (character == '#')
      while (character != '\n' && character != EOF) character = getc(file);
    character = getc(file);
  }
  for (; isdigit(character) && number < 100000; character = getc(file), digits++)
    number = 10 * number + (character - '0');
  return digits && isspace(character) ? number : -1;
}

/* 0 where a picture was read, whose pixels are the caller's then. A long can count their bytes, and
 * so can a size_t. */
static int read_picture(const char* path, picture* read) {
  FILE* file = fopen(path, "rb");
  if (!file) return refuse(path, "cannot be read");
  int is_ppm = getc(file) == 'P' && getc(file) == '6';
  read->width = is_ppm ? header_number(file) : -1;
  read->height = is_ppm ? header_number(file) : -1;
  int failed = 1;
  if (read->width < 1 || read->height < 1 || header_number(file) != 255) {
    refuse(path, "no PPM of 8 bits, in binary form");
  } else if (read->width > LONG_MAX / CHANNELS / read->height) {
    refuse(path, "has more pixels than this program can count");
  } else {
    size_t bytes = CHANNELS * (size_t)read->width * (size_t)read->height;
    read->pixels = malloc(bytes);
    failed = !read->pixels || fread(read->pixels, 1, bytes, file) != bytes;
    if (failed) {
      refuse(path, read->pixels ? "ends too early" : "no memory");
      free(read->pixels);
    }
  }
  fclose(file);
  return failed;
}

/* 0 where the input is a canvas. */
static int read_form(const tunekit_tensor* tensor, canvas_form* form) {
  if (tensor->ndim != 4 || tensor->shape[0] != 1) return 1;
  form->last = tensor->shape[1] != CHANNELS;
  if (form->last && tensor->shape[3] != CHANNELS) return 1;
  form->height = (long)tensor->shape[form->last ? 1 : 2];
  form->width = (long)tensor->shape[form->last ? 2 : 3];
  form->is_byte = tensor->code == 1 && tensor->bits == 8;
  return !form->is_byte && !(tensor->code == 2 && tensor->bits == 32);
}

/* One channel at a place between pixels, 0 to 255. */
static double sampled(const picture* from, double x, double y, int channel) {
  x = fmin(fmax(x, 0), (double)(from->width - 1));
  y = fmin(fmax(y, 0), (double)(from->height - 1));
  long left = (long)x, top = (long)y;
  long right = left + (left + 1 < from->width), bottom = top + (top + 1 < from->height);
  const unsigned char* values = from->pixels + channel;
  double above = values[CHANNELS * (top * from->width + left)] * (1 - (x - (double)left)) +
                 values[CHANNELS * (top * from->width + right)] * (x - (double)left);
  double below = values[CHANNELS * (bottom * from->width + left)] * (1 - (x - (double)left)) +
                 values[CHANNELS * (bottom * from->width + right)] * (x - (double)left);
  return above * (1 - (y - (double)top)) + below * (y - (double)top);
}

/* Brings a picture onto a canvas that is black; gives how many times as large it is itself. */
static double bring(const picture* from, const canvas_form* form, void* canvas) {
  double scale =
      fmax((double)from->width / (double)form->width, (double)from->height / (double)form->height);
  long width = lround((double)from->width / scale), height = lround((double)from->height / scale);
  for (long y = 0; y < height && y < form->height; y++)
    for (long x = 0; x < width && x < form->width; x++)
      for (int channel = 0; channel < CHANNELS; channel++) {
        double value = sampled(from, ((double)x + 0.5) * scale - 0.5,
                               ((double)y + 0.5) * scale - 0.5, channel);
        long pixel = y * form->width + x;
        long place =
            form->last ? CHANNELS * pixel + channel : channel * form->width * form->height + pixel;
        if (form->is_byte)
          ((unsigned char*)canvas)[place] = (unsigned char)lround(value);
        else
          ((float*)canvas)[place] = (float)(value / 255);
      }
  return scale;
}

/* The size of a picture as the second input, which has boxes in its pixels. */
static void write_size(const picture* from, const tunekit_tensor* tensor, void* size) {
  for (int i = 0; i < 2; i++) {
    long value = i ? from->width : from->height;
    if (tensor->code == 2)
      ((float*)size)[i] = (float)value;
    else if (tensor->bits == 32)
      ((int32_t*)size)[i] = (int32_t)value;
    else
      ((int64_t*)size)[i] = value;
  }
}

static const void* output_called(const tunekit_api* api, const tunekit_model* model,
                                 const char* name) {
  for (int32_t i = 0; i < api->outputs(model); i++)
    if (strcmp(api->describe_output(model, i)->name, name) == 0) return api->output(model, i);
  return NULL;
}

static void print_text(const char* text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    if ((unsigned char)*text < ' ')
      printf("\\u%04x", (unsigned)(unsigned char)*text);
    else
      putchar(*text);
  }
  putchar('"');
}

/* Those that score enough, with coordinates so many times as large. How many that are. */
static long print_found(const detections* found, const char* path, int image, double least,
                        double scale, const picture* in, long printed) {
  const char* slash = strrchr(path, '/');
  long first = printed;
  for (int32_t row = 0; row < *found->count; row++) {
    double corners[4];
    if ((double)found->scores[row] < least) continue;
    for (int i = 0; i < 4; i++)
      corners[i] = fmin(fmax((double)found->boxes[4 * row + i] * scale, 0),
                        (double)(i % 2 ? in->height : in->width));
    printf("%s\n {\"image_id\": %d, \"file_name\": ", printed++ ? "," : "", image);
    print_text(slash ? slash + 1 : path);
    printf(", \"category_id\": %ld, \"bbox\": [%.3f, %.3f, %.3f, %.3f], \"score\": %.6f}",
           (long)found->labels[row], corners[0], corners[1], corners[2] - corners[0],
           corners[3] - corners[1], (double)found->scores[row]);
  }
  return printed - first;
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Prints what is found in a picture, behind what was printed before. How many objects that are; -1
 * where it cannot be read or looked at, which is said. */
static long look_at(const tunekit_api* api, tunekit_model* model, const canvas_form* form,
                    void** memory, const char* path, int image, double least, long printed) {
  picture given = {0, 0, NULL};
  if (read_picture(path, &given)) return -1;
  memset(memory[0], 0, api->describe_input(model, 0)->bytes);
  double scale = bring(&given, form, memory[0]);
  if (api->inputs(model) > 1) {
    write_size(&given, api->describe_input(model, 1), memory[1]);
    scale = 1;
  }
  free(given.pixels);
  if (api->run(model)) {
    refuse(path, api->error(model));
    return -1;
  }
  const detections found = {
      output_called(api, model, "boxes"), output_called(api, model, "scores"),
      output_called(api, model, "labels"), output_called(api, model, "count")};
  return print_found(&found, path, image, least, scale, &given, printed);
}

/* Looks at every picture. The exit code. */
static int detect(const tunekit_api* api, tunekit_model* model, char** paths, int pictures,
                  double least, void** memory) {
  static const char* const NEEDED[] = {"boxes", "scores", "labels", "count"};
  canvas_form form;
  int32_t inputs = api->inputs(model);
  for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++)
    if (!output_called(api, model, NEEDED[i])) return refuse(api->name, "is no detector");
  if (inputs < 1 || inputs > MOST_INPUTS || read_form(api->describe_input(model, 0), &form))
    return refuse(api->name, "takes no picture");
  for (int32_t i = 0; i < inputs; i++) {
    const tunekit_tensor* tensor = api->describe_input(model, i);
    if (posix_memalign(&memory[i], 64, tensor->bytes)) return refuse(tensor->name, "no memory");
    if (api->bind_input(model, i, memory[i], tensor->bytes))
      return refuse(api->name, api->error(model));
  }
  double start = now_s();
  long printed = 0;
  int seen = 0;
  printf("[");
  for (int i = 0; i < pictures; i++) {
    long found = look_at(api, model, &form, memory, paths[i], i, least, printed);
    if (found < 0) continue;
    printed += found;
    seen++;
  }
  printf("\n]\n");
  fprintf(stderr, "%ld objects in %d pictures, %.1f a second\n", printed, seen,
          seen / (now_s() - start));
  return seen < pictures;
}

int main(int count, char** words) {
  const tunekit_api* api = API_OF(MODEL)();
  tunekit_model* model;
  void* memory[MOST_INPUTS] = {NULL, NULL};
  double least = 0.5;
  int first = 1;
  if (count > 2 && strcmp(words[1], "--least") == 0) {
    least = atof(words[2]);
    first = 3;
  }
  if (first >= count) {
    fprintf(stderr, "usage: %s [--least SCORE] PICTURE...\n", words[0]);
    return 2;
  }
  if (api->open(&model, NULL)) return refuse(api->name, api->error(NULL));
  int code = detect(api, model, words + first, count - first, least, memory);
  api->close(model);
  for (int i = 0; i < MOST_INPUTS; i++) free(memory[i]);
  return code;
}
