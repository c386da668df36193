/* What the programs that test the runtime have in common: the model of toy_kernels.c. */
#ifndef CHECKS_H
#define CHECKS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <toy.h>

enum { SIZE = 1024, NUMBERS = 4 };

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                            \
    }                                                                     \
  } while (0)

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static inline void ends_well(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What a model is run with: 64-byte aligned, with room to be off by some bytes. */
typedef struct {
  float x[SIZE + 16], y[SIZE + 16], copy[SIZE + 16];
  int64_t numbers[16], next[16];
} __attribute__((aligned(64))) arrays;

static inline int mentions(const char* text, const char* word) {
  return strstr(text, word) != NULL;
}

static inline void fill(arrays* a, float start) {
  for (int i = 0; i < SIZE; i++) a->x[i] = start + (float)i;
  for (int i = 0; i < NUMBERS; i++) a->numbers[i] = i * 1000000000000;
}

static inline void bind(tunekit_model* model, arrays* a) {
  CHECK(toy_bind_input(model, 0, a->x, SIZE * sizeof(float)) == TUNEKIT_OK);
  CHECK(toy_bind_input(model, 1, a->numbers, NUMBERS * sizeof(int64_t)) == TUNEKIT_OK);
  CHECK(toy_bind_output(model, 0, a->y, SIZE * sizeof(float)) == TUNEKIT_OK);
  CHECK(toy_bind_output(model, 1, a->copy, SIZE * sizeof(float)) == TUNEKIT_OK);
  CHECK(toy_bind_output(model, 2, a->next, NUMBERS * sizeof(int64_t)) == TUNEKIT_OK);
}

/* The outputs, wherever they are, of x = start, start + 1, ...; the weights are 0, 1, 2, ... */
static inline void check_outputs(const tunekit_model* model, float start) {
  const float *y = toy_output(model, 0), *copy = toy_output(model, 1);
  const int64_t* next = toy_output(model, 2);
  for (int i = 0; i < SIZE; i++) {
    float x = start + (float)i, expected = (x + (float)i) * 2;
    CHECK(memcmp((const char*)y + i * sizeof(float), &expected, sizeof expected) == 0);
    CHECK(memcmp((const char*)copy + i * sizeof(float), &x, sizeof x) == 0);
  }
  for (int i = 0; i < NUMBERS; i++) CHECK(next[i] == i * 1000000000000 + 1);
}

static inline tunekit_model* opened(const tunekit_options* options) {
  tunekit_model* model;
  if (toy_open(&model, options) != TUNEKIT_OK) fprintf(stderr, "%s\n", toy_error(NULL));
  CHECK(model != NULL);
  return model;
}

#endif
