/* Many threads, each with a model of its own or all with one. */
#include <pthread.h>
#include <unistd.h>

#include "checks.h"
#include "held.h"

enum { THREADS = 4, RUNS = 60 };

/* What thread-local variables of an application take comes off the stacks of workers. */
#ifndef THREAD_LOCAL_BYTES
#define THREAD_LOCAL_BYTES (1 << 20)
#endif
static __thread volatile char large[THREAD_LOCAL_BYTES];

static void* own_models(void* argument) {
  static arrays all[THREADS];
  int number = *(int*)argument;
  arrays* a = &all[number];
  tunekit_options options = {.threads = 1 + number % 3, .spin_us = number % 2 ? -1 : 50};
  tunekit_options wrong = {.threads = -1 - number};
  tunekit_model* none;
  char word[32];
  large[number]++;
  snprintf(word, sizeof word, "options.threads is %d;", wrong.threads);
  for (int round = 0; round < 3; round++) {
    tunekit_model* model = opened(&options);
    bind(model, a);
    for (int run = 0; run < RUNS; run++) {
      fill(a, (float)(number + run));
      CHECK(toy_run(model) == TUNEKIT_OK);
      check_outputs(model, (float)(number + run));
      if (run % 8 == 0) usleep(500); /* workers fall asleep */
    }
    /* Each thread has its own words. */
    CHECK(toy_open(&none, &wrong) == TUNEKIT_BAD_ARGUMENT && mentions(toy_error(NULL), word));
    toy_close(model);
  }
  return NULL;
}

static void threads_have_models_of_their_own(void) {
  pthread_t threads[THREADS];
  int numbers[THREADS];
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i;
    CHECK(pthread_create(&threads[i], NULL, own_models, &numbers[i]) == 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static void* fail_to_open(void* argument) {
  tunekit_options wrong = {.threads = -9};
  tunekit_model* model;
  CHECK(strcmp(toy_error(NULL), "") == 0);
  CHECK(toy_open(&model, &wrong) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(NULL), "options.threads is -9"));
  return argument;
}

static void why_open_failed_is_told_to_the_thread_that_tried(void) {
  tunekit_options wrong = {.threads = -7};
  tunekit_model* model;
  pthread_t thread;
  CHECK(toy_open(&model, &wrong) == TUNEKIT_BAD_ARGUMENT);
  CHECK(pthread_create(&thread, NULL, fail_to_open, NULL) == 0);
  pthread_join(thread, NULL);
  CHECK(mentions(toy_error(NULL), "options.threads is -7"));
}

static void threads_that_ended_leave_room_for_the_words_of_others(void) {
  tunekit_options wrong = {.threads = -7};
  tunekit_model* model;
  pthread_t thread;
  CHECK(toy_open(&model, &wrong) == TUNEKIT_BAD_ARGUMENT);
  for (int i = 0; i < 100; i++) {
    CHECK(pthread_create(&thread, NULL, fail_to_open, NULL) == 0);
    pthread_join(thread, NULL);
  }
  CHECK(mentions(toy_error(NULL), "options.threads is -7"));
}

/* One thread is in this model. */
static tunekit_model* shared;
static tunekit_event written[64];

static void* held_run(void* argument) {
  CHECK(toy_run(shared) == TUNEKIT_OK);
  return argument;
}

static void* held_self_test(void* argument) {
  CHECK(toy_self_test(shared) == TUNEKIT_OK);
  return argument;
}

static void* held_trace(void* argument) {
  int32_t count;
  CHECK(toy_trace(shared, written, sizeof written / sizeof *written, &count) == TUNEKIT_OK);
  CHECK(count > 0 && written[0].kernel);
  return argument;
}

static pthread_t begin_with(void* (*use)(void*), arrays* a) {
  tunekit_options options = {.threads = 2, .parallel_for = held_loop};
  shared = opened(&options);
  bind(shared, a);
  fill(a, 1);
  return begin_held(use);
}

static void* let_it_go_soon(void* argument) {
  usleep(50000);
  let_it_go();
  return argument;
}

static void a_second_thread_is_told_that_the_model_is_busy(void) {
  static arrays a;
  pthread_t thread = begin_with(held_run, &a);
  CHECK(toy_run(shared) == TUNEKIT_BUSY);
  CHECK(strcmp(toy_error(shared), "another thread is running this model") == 0);
  CHECK(toy_bind_input(shared, 0, a.x, 4096) == TUNEKIT_BUSY);
  CHECK(toy_self_test(shared) == TUNEKIT_BUSY);
  let_it_go();
  pthread_join(thread, NULL);
  fill(&a, 2);
  CHECK(toy_run(shared) == TUNEKIT_OK && strcmp(toy_error(shared), "") == 0);
  check_outputs(shared, 2);
  toy_close(shared);
}

static void close_waits_for_a_run(void) {
  static arrays a;
  pthread_t thread = begin_with(held_run, &a), other;
  CHECK(pthread_create(&other, NULL, let_it_go_soon, NULL) == 0);
  toy_close(shared);
  CHECK(a.y[0] == 2 && a.y[1] == 6); /* it came to its end */
  pthread_join(thread, NULL);
  pthread_join(other, NULL);
}

/* Whatever another thread is at, with what that has bound, and written to. */
static void the_child_of_a_fork_has_the_model_to_itself(void* (*use)(void*)) {
  static arrays a;
  pthread_t thread = begin_with(use, &a);
  pid_t child = fork();
  if (child == 0) {
    let_it_go();
    memset(written, 0, sizeof written);
    fill(&a, 4);
    CHECK(toy_output(shared, 0) == a.y);
    CHECK(toy_run(shared) == TUNEKIT_OK);
    CHECK(toy_output(shared, 0) == a.y);
    check_outputs(shared, 4);
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) CHECK(!written[i].kernel);
    toy_close(shared);
    _exit(0);
  }
  ends_well(child);
  let_it_go();
  pthread_join(thread, NULL);
  fill(&a, 5);
  CHECK(toy_run(shared) == TUNEKIT_OK);
  check_outputs(shared, 5);
  toy_close(shared);
}

static void a_trace_says_what_each_thread_did(void) {
  enum { ROOM = 64, THREADS = 3 };
  static arrays a;
  tunekit_event events[ROOM];
  int32_t count = 0, again = 0, kernels = 0, tasks = 0;
  tunekit_options options = {.threads = THREADS};
  tunekit_model* model = opened(&options);
  CHECK(toy_trace(model, events, ROOM, &count) == TUNEKIT_NOT_BOUND);
  bind(model, &a);
  fill(&a, 2);
  CHECK(toy_trace(model, events, ROOM, &count) == TUNEKIT_OK && count <= ROOM);
  check_outputs(model, 2);
  for (int32_t i = 0; i < count; i++) {
    CHECK(events[i].begin_ns <= events[i].end_ns && events[i].thread > 0);
    if (events[i].task >= 0) {
      CHECK(events[i].task < THREADS && events[i].step == kernels);
      tasks++;
      continue;
    }
    /* Events come when they end: the tasks of a kernel before the kernel itself. */
    CHECK(events[i].step == kernels++ && strlen(events[i].kernel) > 0);
    for (int32_t j = 0; j < i; j++) {
      if (events[j].step != events[i].step) continue;
      CHECK(events[i].begin_ns <= events[j].begin_ns && events[j].end_ns <= events[i].end_ns);
    }
  }
  CHECK(kernels > 1 && tasks > 0 && tasks % THREADS == 0);
  /* What does not fit is counted. */
  CHECK(toy_trace(model, events, 1, &again) == TUNEKIT_OK && again == count);
  CHECK(toy_trace(model, NULL, 0, &again) == TUNEKIT_OK && again == count);
  CHECK(toy_trace(NULL, events, ROOM, &again) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_trace(model, NULL, 1, &again) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_trace(model, events, -1, &again) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_trace(model, events, ROOM, NULL) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "room for events"));
  CHECK(toy_run(model) == TUNEKIT_OK);
  toy_close(model);
}

/* An argument says that the program is emulated. */
int main(int argc, char** argv) {
  (void)argv;
  threads_have_models_of_their_own();
  why_open_failed_is_told_to_the_thread_that_tried();
  threads_that_ended_leave_room_for_the_words_of_others();
  a_second_thread_is_told_that_the_model_is_busy();
  a_trace_says_what_each_thread_did();
  close_waits_for_a_run();
  if (argc == 1) {
    the_child_of_a_fork_has_the_model_to_itself(held_run);
    the_child_of_a_fork_has_the_model_to_itself(held_self_test);
    the_child_of_a_fork_has_the_model_to_itself(held_trace);
  }
  puts("all is well");
  return 0;
}
