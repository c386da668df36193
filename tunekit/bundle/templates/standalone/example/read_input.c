#define _POSIX_C_SOURCE 200112L
#include "read_input.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

void* memory_for(const tunekit_tensor* tensor) {
  void* memory = NULL;
  return posix_memalign(&memory, ALIGNMENT, tensor->bytes ? tensor->bytes : 1) ? NULL : memory;
}

static int refuse(const char* path, const char* reason) {
  fprintf(stderr, "%s: %s\n", path, reason);
  return 1;
}

/* Where a picture's samples go: channels before the pixels (NCHW), or behind (NHWC). */
typedef struct {
  int64_t channels, height, width;
  int last;
} picture_form;

/* Whether a tensor can hold one picture of so many channels. */
static int holds_picture(const tunekit_tensor* tensor, int64_t channels, picture_form* form) {
  const int64_t* size = tensor->shape + tensor->ndim - 3;
  if (tensor->ndim < 3 || tensor->ndim > 4 || (tensor->ndim == 4 && tensor->shape[0] != 1))
    return 0;
  form->channels = channels;
  form->last = size[0] != channels;
  form->height = form->last ? size[0] : size[1];
  form->width = form->last ? size[1] : size[2];
  if (form->last && size[2] != channels) return 0;
  return (tensor->code == 2 && tensor->bits == 32) || (tensor->code == 1 && tensor->bits == 8);
}

/* The next number of a PNM header, behind blanks and comments; -1 where there is none. */
static long header_number(FILE* file) {
  long number = 0;
  int digits = 0, character = getc(file);
  while (isspace(character) || character == '#') {
    if (character == '#')
      while (character != '\n' && character != EOF) character = getc(file);
    character = getc(file);
  }
  for (; isdigit(character) && number < 1000000; character = getc(file), digits++)
    number = 10 * number + (character - '0');
  return digits && isspace(character) ? number : -1;
}

/* Reads a picture, whose first two bytes were read. */
static int read_picture(const char* path, FILE* file, const picture_form* form, int is_byte,
                        const normalization* picture, void* memory) {
  long width = header_number(file), height = header_number(file), most = header_number(file);
  if (width < 0 || height < 0 || most < 1 || most > 255)
    return refuse(path, "no PGM or PPM of 8 bits, in binary form");
  if (width != form->width || height != form->height) {
    fprintf(stderr, "%s: %ld x %ld pixels; the model takes %ld x %ld\n", path, width, height,
            (long)form->width, (long)form->height);
    return 1;
  }
  int64_t pixels = form->height * form->width;
  for (int64_t i = 0; i < pixels * form->channels; i++) {
    int64_t channel = i % form->channels;
    int64_t place = form->last ? i : channel * pixels + i / form->channels;
    int sample = getc(file);
    if (sample == EOF) return refuse(path, "ends too early");
    if (is_byte) {
      ((unsigned char*)memory)[place] = (unsigned char)sample;
    } else {
      double value = (double)sample / (double)most;
      ((float*)memory)[place] =
          (float)((value - picture->mean[channel]) / picture->deviation[channel]);
    }
  }
  return 0;
}

int read_input(const char* path, const tunekit_tensor* tensor, const normalization* picture,
               void* memory) {
  picture_form form;
  char magic[2] = {0, 0};
  int failed;
  FILE* file = fopen(path, "rb");
  if (!file) return refuse(path, "cannot be read");
  fseek(file, 0, SEEK_END);
  /* What has the tensor's size is the tensor, whatever it begins with. */
  int may_be_picture = ftell(file) != (long)tensor->bytes;
  rewind(file);
  if (may_be_picture && fread(magic, 1, 2, file) == 2 && magic[0] == 'P' &&
      (magic[1] == '5' || magic[1] == '6') &&
      holds_picture(tensor, magic[1] == '5' ? 1 : 3, &form)) {
    failed = read_picture(path, file, &form, tensor->bits == 8, picture, memory);
  } else {
    rewind(file);
    size_t bytes = fread(memory, 1, tensor->bytes, file);
    failed = bytes != tensor->bytes || getc(file) != EOF;
    if (failed)
      fprintf(stderr, "%s: the input %s has %zu bytes, and the file has %s\n", path, tensor->name,
              tensor->bytes, bytes == tensor->bytes ? "more" : "fewer");
  }
  fclose(file);
  return failed;
}
