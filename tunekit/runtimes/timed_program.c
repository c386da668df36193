/* A program of its own that runs a model and times itself, linked with one library (TIMED_API names
 * its table of functions).
 *
 *     timed_program THREADS[,SIZE]... INPUT...      the sizes of the library's axes, where it has
 *                                                   some, and a file of bytes for each input
 *
 * It is asked on its standard input, a line each, and answers in JSON, a line each:
 *
 *     run SECONDS LEAST MOST UNTIMED      runs untimed, then for so long, at least and at most so
 *                                         many times
 *     outputs FILE                        runs once, and writes the outputs one after another
 *
 * The first line that it writes says when it began, how long loading took, and its threads.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "tunekit.h"

const tunekit_api* TIMED_API(void);

static const tunekit_api* api;
static tunekit_model* model;

static double seconds_of(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void fail(const char* what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void must(int code) {
  if (code != TUNEKIT_OK) fail(api->error(model));
}

static void* taken(size_t bytes) {
  void* memory = NULL;
  if (posix_memalign(&memory, 64, bytes ? bytes : 1) != 0) fail("there is no memory");
  return memory;
}

static void open_model(char* numbers) {
  tunekit_options options = {0};
  int64_t sizes[64];
  int32_t count = 0;
  options.threads = (int32_t)strtol(numbers, &numbers, 10);
  must(api->open(&model, &options));
  while (*numbers == ',' && count < 64) sizes[count++] = strtoll(numbers + 1, &numbers, 10);
  if (count > 0) must(api->set_sizes(model, sizes, count));
}

static void read_input(int32_t index, const char* path) {
  size_t bytes = api->describe_input(model, index)->bytes;
  void* data = taken(bytes);
  FILE* file = fopen(path, "rb");
  if (!file || fread(data, 1, bytes, file) != bytes) fail("an input cannot be read");
  fclose(file);
  must(api->bind_input(model, index, data, bytes));
}

static void run(double seconds, long least, long most, long untimed) {
  double* samples = taken((size_t)most * sizeof *samples);
  long count = 0;
  for (long i = 0; i < untimed; i++) must(api->run(model));
  double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID), start = seconds_of(CLOCK_MONOTONIC), end;
  do {
    double before = seconds_of(CLOCK_MONOTONIC);
    must(api->run(model));
    end = seconds_of(CLOCK_MONOTONIC);
    samples[count++] = end - before;
  } while (count < most && (end - start < seconds || count < least));
  cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  printf("{\"wall_s\": %.9f, \"cpu_s\": %.9f, \"seconds\": [", end - start, cpu);
  for (long i = 0; i < count; i++) printf("%s%.9f", i ? ", " : "", samples[i]);
  printf("]}\n");
  free(samples);
}

static void write_outputs(const char* path) {
  FILE* file = fopen(path, "wb");
  if (!file) fail("the outputs cannot be written");
  must(api->run(model));
  for (int32_t i = 0; i < api->outputs(model); i++) {
    fwrite(api->output(model, i), 1, api->describe_output(model, i)->bytes, file);
  }
  if (fclose(file) != 0) fail("the outputs cannot be written");
  printf("{}\n");
}

int main(int argc, char** argv) {
  double began = seconds_of(CLOCK_MONOTONIC);
  char line[4096], path[4096];
  double seconds;
  long least, most, untimed;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  api = TIMED_API();
  if (argc < 2) fail("the number of threads is needed");
  open_model(argv[1]);
  if (argc != 2 + api->inputs(model)) fail("a file is needed for each input");
  for (int32_t i = 0; i < api->inputs(model); i++) read_input(i, argv[2 + i]);
  for (int32_t i = 0; i < api->outputs(model); i++) {
    size_t bytes = api->describe_output(model, i)->bytes;
    must(api->bind_output(model, i, taken(bytes), bytes));
  }
  printf("{\"began_s\": %.9f, \"load_s\": %.9f, \"threads\": %d}\n", began,
         seconds_of(CLOCK_MONOTONIC) - began, (int)api->threads(model));
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "run %lf %ld %ld %ld", &seconds, &least, &most, &untimed) == 4) {
      run(seconds, least, most, untimed);
    } else if (sscanf(line, "outputs %4095[^\n]", path) == 1) {
      write_outputs(path);
    } else {
      fail("an unknown command");
    }
    fflush(stdout);
  }
  api->close(model);
  return 0;
}
