/* What a library of several sizes does: batch 1, 2 or 4; width 3 or 8, and what is smaller. */
#include "checks.h"
#include "held.h"

enum { MOST = 64 };

static float x[MOST] __attribute__((aligned(64))), y[MOST] __attribute__((aligned(64)));
static int64_t n[4] __attribute__((aligned(64)));

static int set(tunekit_model* model, int64_t batch, int64_t width) {
  const int64_t sizes[] = {batch, width};
  return toy_set_sizes(model, sizes, 2);
}

static void bind_inputs(tunekit_model* model, int64_t batch, int64_t width, float start) {
  for (int i = 0; i < MOST; i++) x[i] = start + (float)i;
  for (int64_t i = 0; i < batch; i++) n[i] = 10 * i;
  CHECK(toy_bind_input(model, 0, x, (size_t)(batch * width) * sizeof *x) == TUNEKIT_OK);
  CHECK(toy_bind_input(model, 1, n, (size_t)batch * sizeof *n) == TUNEKIT_OK);
}

static void check_run(tunekit_model* model, int64_t batch, int64_t width, float start) {
  float total = 0;
  CHECK(toy_run(model) == TUNEKIT_OK);
  const float *first = toy_output(model, 0), *third = toy_output(model, 2);
  const int64_t* second = toy_output(model, 1);
  for (int64_t i = 0; i < batch * width; i++) {
    float value = start + (float)i;
    CHECK(first[i] == value * 3 && third[i] == value);
    total += value;
  }
  for (int64_t i = 0; i < batch; i++) CHECK(second[i] == 10 * i + 1);
  CHECK(*(const float*)toy_output(model, 3) == total); /* nothing but zeros behind the values */
}

static void axes_are_described(tunekit_model* model) {
  const tunekit_axis *batch = toy_describe_axis(model, 0), *width = toy_describe_axis(model, 1);
  CHECK(toy_axes(model) == 2 && toy_axes(NULL) == 0);
  CHECK(!toy_describe_axis(model, 2) && !toy_describe_axis(model, -1));
  CHECK(strcmp(batch->name, "batch") == 0 && batch->count == 3 && !batch->padded);
  CHECK(strcmp(width->name, "width") == 0 && width->count == 2 && width->padded);
  CHECK(batch->sizes[2] == 4 && width->sizes[1] == 8);
  CHECK(toy_input_axis(model, 0, 0) == 0 && toy_input_axis(model, 0, 1) == 1);
  CHECK(toy_input_axis(model, 1, 0) == 0 && toy_input_axis(model, 1, 1) == -1);
  CHECK(toy_input_axis(model, 2, 0) == -1 && toy_input_axis(NULL, 0, 0) == -1);
  CHECK(toy_size(model, 0) == 1 && toy_size(model, 1) == 3 && toy_size(model, 2) == 0);
}

static void every_size_runs(tunekit_model* model, int bound) {
  const int64_t batches[] = {4, 1, 2}, widths[] = {8, 3, 5, 1, 2, 7};
  for (int b = 0; b < 3; b++) {
    for (int w = 0; w < 6; w++) {
      float start = (float)(10 * b + w + 1);
      CHECK(set(model, batches[b], widths[w]) == TUNEKIT_OK);
      CHECK(toy_describe_input(model, 0)->shape[1] == widths[w]);
      CHECK(toy_describe_output(model, 0)->bytes == (size_t)(batches[b] * widths[w]) * 4);
      CHECK(toy_describe_output(model, 3)->bytes == 4);
      bind_inputs(model, batches[b], widths[w], start);
      if (bound)
        CHECK(toy_bind_output(model, 0, y, (size_t)(batches[b] * widths[w]) * 4) == TUNEKIT_OK);
      check_run(model, batches[b], widths[w], start);
      check_run(model, batches[b], widths[w], start); /* the first has left its outputs */
      CHECK((toy_output(model, 0) == y) == bound);
    }
  }
}

static void sizes_that_are_not_there_are_listed(tunekit_model* model) {
  CHECK(set(model, 2, 5) == TUNEKIT_OK);
  CHECK(set(model, 3, 3) == TUNEKIT_NO_SIZE);
  CHECK(mentions(toy_error(model), "toy has no size for batch 3: there are 1, 2, 4"));
  CHECK(set(model, 5, 3) == TUNEKIT_NO_SIZE && set(model, 0, 3) == TUNEKIT_NO_SIZE);
  CHECK(set(model, 1, 9) == TUNEKIT_NO_SIZE);
  CHECK(mentions(toy_error(model), "width 9: there are 3, 8, and what is smaller"));
  CHECK(set(model, 1, 0) == TUNEKIT_NO_SIZE && set(model, 1, -4) == TUNEKIT_NO_SIZE);
  const int64_t one = 1;
  CHECK(toy_set_sizes(model, &one, 1) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "1 sizes are given, and toy has 2 axes"));
  CHECK(toy_set_sizes(model, NULL, 2) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_set_sizes(NULL, &one, 1) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_size(model, 0) == 2 && toy_size(model, 1) == 5);      /* what was set before still is */
  CHECK(toy_bind_input(model, 0, x, 24) == TUNEKIT_BAD_ARGUMENT); /* of which axis? */
  CHECK(mentions(toy_error(model), "has 40 bytes, not 24"));
}

static void what_was_bound_at_another_size_is_not_used(tunekit_model* model) {
  CHECK(set(model, 2, 3) == TUNEKIT_OK);
  bind_inputs(model, 2, 3, 1);
  CHECK(toy_bind_output(model, 0, y, 24) == TUNEKIT_OK);
  CHECK(set(model, 2, 3) == TUNEKIT_OK); /* the same */
  check_run(model, 2, 3, 1);
  CHECK(set(model, 1, 3) == TUNEKIT_OK);
  CHECK(toy_run(model) == TUNEKIT_NOT_BOUND);
  CHECK(mentions(toy_error(model), "input 0 (x) is bound at another size"));
  bind_inputs(model, 1, 3, 1);
  CHECK(toy_run(model) == TUNEKIT_NOT_BOUND);
  CHECK(mentions(toy_error(model), "output 0 (first) is bound at another size"));
  CHECK(toy_bind_output(model, 0, y, 12) == TUNEKIT_OK);
  check_run(model, 1, 3, 1);
}

static void the_self_test_runs_every_size_and_leaves_what_is_set(tunekit_model* model) {
  CHECK(set(model, 4, 7) == TUNEKIT_OK);
  bind_inputs(model, 4, 7, 2);
  CHECK(toy_bind_output(model, 0, y, 4 * 7 * 4) == TUNEKIT_OK);
  CHECK(toy_self_test(model) == TUNEKIT_OK);
  CHECK(toy_size(model, 0) == 4 && toy_size(model, 1) == 7);
  check_run(model, 4, 7, 2);
}

static tunekit_model* shared;

static void* held_self_test(void* argument) {
  CHECK(toy_self_test(shared) == TUNEKIT_OK);
  return argument;
}

/* While another thread is in the self test, at another size. */
static void the_child_of_a_fork_has_the_size_that_is_set(void) {
  tunekit_options options = {.threads = 2, .parallel_for = held_loop};
  shared = opened(&options);
  CHECK(set(shared, 4, 7) == TUNEKIT_OK);
  bind_inputs(shared, 4, 7, 2);
  CHECK(toy_bind_output(shared, 0, y, 4 * 7 * 4) == TUNEKIT_OK);
  pthread_t thread = begin_held(held_self_test);
  pid_t child = fork();
  if (child == 0) {
    let_it_go();
    CHECK(toy_size(shared, 0) == 4 && toy_size(shared, 1) == 7);
    check_run(shared, 4, 7, 2);
    CHECK(toy_describe_input(shared, 0)->shape[1] == 7 && toy_output(shared, 0) == y);
    toy_close(shared);
    _exit(0);
  }
  ends_well(child);
  let_it_go();
  pthread_join(thread, NULL);
  check_run(shared, 4, 7, 2);
  toy_close(shared);
}

int main(void) {
  for (int weights = TUNEKIT_WEIGHTS_SHARED; weights <= TUNEKIT_WEIGHTS_HUGE_PAGES; weights++) {
    tunekit_options options = {.threads = 2, .weights = weights};
    tunekit_model* model = opened(&options);
    axes_are_described(model);
    every_size_runs(model, 0);
    every_size_runs(model, 1);
    toy_close(model);
    model = opened(&options);
    sizes_that_are_not_there_are_listed(model);
    what_was_bound_at_another_size_is_not_used(model);
    the_self_test_runs_every_size_and_leaves_what_is_set(model);
    toy_close(model);
  }
  the_child_of_a_fork_has_the_size_that_is_set();
  puts("all is well");
  return 0;
}
