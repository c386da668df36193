/* Many threads, each with a model of its own or all with one. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checks.h"

enum { THREADS = 4, RUNS = 60 };

/* More than workers have for their stacks. */
static __thread char large[1 << 20];

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

/* One thread is in a run, in the midst of a parallel loop, until it is let go. */
static tunekit_model* shared;
static int began, let_go;

static int held_loop(tunekit_task task, int count, void* data, void* context) {
  int code = 0;
  (void)context;
  __atomic_store_n(&began, 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&let_go, __ATOMIC_ACQUIRE)) usleep(1000);
  for (int index = 0; index < count; index++) code |= task(index, count, data);
  return code;
}

static void* held_run(void* argument) {
  CHECK(toy_run(shared) == TUNEKIT_OK);
  return argument;
}

static pthread_t begin_held_run(arrays* a) {
  pthread_t thread;
  tunekit_options options = {.threads = 2, .parallel_for = held_loop};
  shared = opened(&options);
  bind(shared, a);
  fill(a, 1);
  began = let_go = 0;
  CHECK(pthread_create(&thread, NULL, held_run, NULL) == 0);
  while (!__atomic_load_n(&began, __ATOMIC_ACQUIRE)) usleep(1000);
  return thread;
}

static void let_it_go(void) { __atomic_store_n(&let_go, 1, __ATOMIC_RELEASE); }

static void* let_it_go_soon(void* argument) {
  usleep(50000);
  let_it_go();
  return argument;
}

static void a_second_thread_is_told_that_the_model_is_busy(void) {
  static arrays a;
  pthread_t thread = begin_held_run(&a);
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
  pthread_t thread = begin_held_run(&a), other;
  CHECK(pthread_create(&other, NULL, let_it_go_soon, NULL) == 0);
  toy_close(shared);
  CHECK(a.y[0] == 2 && a.y[1] == 6); /* it came to its end */
  pthread_join(thread, NULL);
  pthread_join(other, NULL);
}

static void the_child_of_a_fork_in_a_run_has_the_model_to_itself(void) {
  static arrays a;
  int status;
  pthread_t thread = begin_held_run(&a);
  pid_t child = fork();
  if (child == 0) {
    let_it_go();
    fill(&a, 4);
    CHECK(toy_run(shared) == TUNEKIT_OK);
    check_outputs(shared, 4);
    toy_close(shared);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  let_it_go();
  pthread_join(thread, NULL);
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
  a_second_thread_is_told_that_the_model_is_busy();
  a_trace_says_what_each_thread_did();
  close_waits_for_a_run();
  if (argc == 1) the_child_of_a_fork_in_a_run_has_the_model_to_itself();
  puts("all is well");
  return 0;
}
