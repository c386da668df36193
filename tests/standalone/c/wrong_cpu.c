/* A library for another CPU says so, before one of its instructions is met. */
#include "checks.h"

int main(void) {
  tunekit_model* model = NULL;
  CHECK(toy_cpu_ok() == TUNEKIT_WRONG_CPU);
  CHECK(mentions(toy_error(NULL), "not-of-this-world, which this one lacks"));
  CHECK(toy_open(&model, NULL) == TUNEKIT_WRONG_CPU && model == NULL);
  CHECK(mentions(toy_error(NULL), "not-of-this-world"));
  puts("all is well");
  return 0;
}
