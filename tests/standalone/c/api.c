/* What the functions of a library do with what an application gives them, right and wrong. */
#include <math.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "checks.h"

static arrays a;

static void null_is_an_error_not_a_crash(void) {
  tunekit_model* model;
  CHECK(toy_open(NULL, NULL) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(NULL), "somewhere to put"));
  CHECK(toy_open(&model, NULL) == TUNEKIT_OK);
  CHECK(strcmp(toy_error(NULL), "") == 0 && strcmp(toy_error(model), "") == 0);
  CHECK(toy_bind_input(model, 0, NULL, SIZE * sizeof(float)) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "input 0 (x): data is NULL"));
  CHECK(toy_bind_output(model, 2, NULL, 32) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "output 2 (third)"));
  toy_close(model);
  toy_close(NULL);
  CHECK(toy_run(NULL) == TUNEKIT_BAD_ARGUMENT && toy_self_test(NULL) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_bind_input(NULL, 0, a.x, 4) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_bind_output(NULL, 0, a.x, 4) == TUNEKIT_BAD_ARGUMENT);
  CHECK(toy_inputs(NULL) == 0 && toy_outputs(NULL) == 0 && toy_threads(NULL) == 0);
  CHECK(!toy_describe_input(NULL, 0) && !toy_describe_output(NULL, 0) && !toy_output(NULL, 0));
}

static void tensors_are_described(void) {
  tunekit_model* model = opened(NULL);
  CHECK(toy_inputs(model) == 2 && toy_outputs(model) == 3);
  const tunekit_tensor *x = toy_describe_input(model, 0), *third = toy_describe_output(model, 2);
  CHECK(strcmp(x->name, "x") == 0 && strcmp(x->dtype, "float32") == 0);
  CHECK(x->ndim == 2 && x->shape[0] == 32 && x->shape[1] == 32 && x->bytes == 4096);
  CHECK(strcmp(third->dtype, "int64") == 0 && third->code == 0 && third->bits == 64);
  CHECK(!toy_describe_input(model, -1) && !toy_describe_input(model, 2));
  CHECK(!toy_output(model, 3) && !toy_output(model, -1));
  CHECK(toy_cpu_ok() == TUNEKIT_OK && mentions(toy_manifest(), "toy"));
  toy_close(model);
}

static void refused(tunekit_options options, const char* word) {
  tunekit_model* model = (tunekit_model*)&a;
  CHECK(toy_open(&model, &options) == TUNEKIT_BAD_ARGUMENT && model == NULL);
  CHECK(mentions(toy_error(NULL), word));
}

static void* no_memory(size_t bytes, size_t alignment, void* context) {
  (void)bytes, (void)alignment, (void)context;
  return NULL;
}

static void options_are_checked(void) {
  refused((tunekit_options){.threads = -1}, "options.threads is -1; it may be 0 to 1024");
  refused((tunekit_options){.threads = 1025}, "options.threads");
  refused((tunekit_options){.pin = 4}, "options.pin");
  refused((tunekit_options){.weights = -1}, "options.weights");
  refused((tunekit_options){.reserved = 1}, "options.reserved");
  refused((tunekit_options){.allocate = no_memory}, "go together");
  refused((tunekit_options){.struct_bytes = 4}, "options.struct_bytes is 4");
  refused((tunekit_options){.struct_bytes = 1u << 30}, "options.struct_bytes");
  struct {
    tunekit_options known;
    int32_t later[4];
  } options = {{.struct_bytes = sizeof options, .threads = 1}, {0, 0, 0, 0}};
  toy_close(opened(&options.known));
  options.later[2] = 1;
  tunekit_model* model;
  CHECK(toy_open(&model, &options.known) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(NULL), "of a later version"));
}

static void inputs_have_to_be_bound_and_of_their_size(void) {
  tunekit_model* model = opened(NULL);
  CHECK(toy_run(model) == TUNEKIT_NOT_BOUND && mentions(toy_error(model), "input 0 (x)"));
  CHECK(toy_bind_input(model, 0, a.x, SIZE) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "input 0 (x) has 4096 bytes, not 1024"));
  CHECK(toy_bind_input(model, 2, a.x, SIZE) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "there is no input 2: the model has 2"));
  CHECK(toy_bind_output(model, -1, a.x, SIZE) == TUNEKIT_BAD_ARGUMENT);
  toy_close(model);
}

static void any_number_of_threads_gives_the_same(void) {
  static const int THREADS[] = {1, 2, 3, 8, 33};
  for (int i = 0; i < 5; i++) {
    for (int pin = 0; pin <= TUNEKIT_PIN_ALL; pin++) {
      tunekit_options options = {.threads = THREADS[i], .pin = pin, .spin_us = pin - 1};
      tunekit_model* model = opened(&options);
      CHECK(toy_threads(model) == THREADS[i]);
      bind(model, &a);
      for (int run = 0; run < 5; run++) {
        fill(&a, (float)run);
        CHECK(toy_run(model) == TUNEKIT_OK);
        check_outputs(model, (float)run);
      }
      toy_close(model);
    }
  }
}

static void callers_may_be_elsewhere_between_runs(void) {
  cpu_set_t before, after;
  tunekit_options options = {.threads = 2, .pin = TUNEKIT_PIN_ALL};
  tunekit_model* model = opened(&options);
  bind(model, &a);
  sched_getaffinity(0, sizeof before, &before);
  CHECK(toy_run(model) == TUNEKIT_OK);
  sched_getaffinity(0, sizeof after, &after);
  CHECK(CPU_EQUAL(&before, &after));
  toy_close(model);
}

static void unbound_outputs_stay_with_the_library(void) {
  tunekit_model* model = opened(NULL);
  fill(&a, 3);
  toy_bind_input(model, 0, a.x, 4096);
  toy_bind_input(model, 1, a.numbers, 32);
  CHECK(toy_run(model) == TUNEKIT_OK);
  check_outputs(model, 3);
  /* There an input would be overwritten. */
  CHECK(toy_bind_input(model, 0, toy_output(model, 0), 4096) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "own memory"));
  CHECK(toy_bind_output(model, 0, (void*)toy_output(model, 1), 4096) == TUNEKIT_BAD_ARGUMENT);
  void* own = (void*)toy_output(model, 0);
  CHECK(toy_bind_output(model, 0, a.y, 4096) == TUNEKIT_OK && toy_output(model, 0) == a.y);
  CHECK(toy_bind_output(model, 0, own, 4096) == TUNEKIT_OK && toy_run(model) == TUNEKIT_OK);
  check_outputs(model, 3);
  toy_close(model);
}

static void misaligned_tensors_are_copied(void) {
  tunekit_model* model = opened(NULL);
  bind(model, &a);
  fill(&a, 5);
  memmove(a.x + 1, a.x, 4096);
  CHECK(toy_bind_input(model, 0, a.x + 1, 4096) == TUNEKIT_OK);
  CHECK(toy_bind_output(model, 0, (char*)a.y + 2, 4096) == TUNEKIT_OK);
  CHECK(toy_bind_output(model, 1, a.copy + 3, 4096) == TUNEKIT_OK);
  CHECK(toy_run(model) == TUNEKIT_OK);
  check_outputs(model, 5);
  toy_close(model);
}

static void outputs_may_lie_on_inputs(void) {
  tunekit_model* model = opened(NULL);
  bind(model, &a);
  fill(&a, 7);
  CHECK(toy_bind_output(model, 0, a.x, 4096) == TUNEKIT_OK && toy_run(model) == TUNEKIT_OK);
  check_outputs(model, 7);
  /* Partly, so that what is written first would be read afterwards. */
  fill(&a, 8);
  CHECK(toy_bind_output(model, 0, a.x + 16, 4096) == TUNEKIT_OK && toy_run(model) == TUNEKIT_OK);
  check_outputs(model, 8);
  CHECK(toy_bind_output(model, 1, a.x, 4096) == TUNEKIT_OK);
  CHECK(toy_run(model) == TUNEKIT_BAD_ARGUMENT);
  CHECK(mentions(toy_error(model), "outputs 0 and 1 are bound to the same memory"));
  toy_close(model);
}

static void kernels_that_fail_say_why(void) {
  for (int threads = 1; threads <= 3; threads++) {
    tunekit_options options = {.threads = threads};
    tunekit_model* model = opened(&options);
    bind(model, &a);
    fill(&a, 1);
    a.x[0] = -INFINITY;
    CHECK(toy_run(model) == TUNEKIT_FAILED);
    CHECK(strcmp(toy_error(model), "kernel add failed: ValueError: x is below everything") == 0);
    a.x[0] = NAN;
    CHECK(toy_run(model) == TUNEKIT_FAILED);
    CHECK(strcmp(toy_error(model), "kernel add failed: ValueError: x is not a number") == 0);
    fill(&a, 1);
    CHECK(toy_run(model) == TUNEKIT_OK && strcmp(toy_error(model), "") == 0);
    check_outputs(model, 1);
    toy_close(model);
  }
}

/* An allocator that counts, and fails at one call. */
typedef struct {
  int calls, fails_at, held, off_by;
} allocator;

static void* take(size_t bytes, size_t alignment, void* context) {
  allocator* from = context;
  void* memory;
  if (++from->calls == from->fails_at) return NULL;
  if (posix_memalign(&memory, alignment, bytes + 64) != 0) return NULL;
  from->held++;
  memset(memory, 0xa5, bytes);
  return (char*)memory + from->off_by;
}

static void give(void* memory, size_t bytes, void* context) {
  allocator* to = context;
  (void)bytes;
  to->held--;
  free((char*)memory - to->off_by);
}

static void open_gives_back_all_when_memory_ends(void) {
  allocator memory = {0, 0, 0, 0};
  tunekit_options options = {.threads = 2,
                             .weights = TUNEKIT_WEIGHTS_HUGE_PAGES,
                             .allocate = take,
                             .release = give,
                             .context = &memory};
  tunekit_model* model;
  int code = TUNEKIT_NO_MEMORY;
  for (memory.fails_at = 1; code != TUNEKIT_OK; memory.fails_at++) {
    memory.calls = 0;
    code = toy_open(&model, &options);
    CHECK(code == TUNEKIT_OK || (code == TUNEKIT_NO_MEMORY && memory.held == 0 && !model));
    if (code != TUNEKIT_OK) CHECK(mentions(toy_error(NULL), "no memory for toy"));
  }
  CHECK(memory.fails_at > 4); /* the model, its arena and its weights */
  int calls = memory.calls;
  bind(model, &a);
  fill(&a, 2);
  CHECK(toy_run(model) == TUNEKIT_OK && toy_self_test(model) == TUNEKIT_OK);
  CHECK(memory.calls == calls); /* nothing but open takes memory */
  toy_close(model);
  CHECK(memory.held == 0);
  memory.off_by = 32;
  memory.fails_at = -1;
  CHECK(toy_open(&model, &options) == TUNEKIT_BAD_ARGUMENT && memory.held == 0);
  CHECK(mentions(toy_error(NULL), "options.allocate gave memory that does not begin at"));
}

static void the_self_test_leaves_what_is_bound(void) {
  tunekit_model* model = opened(NULL);
  CHECK(toy_self_test(model) == TUNEKIT_OK); /* without anything bound */
  bind(model, &a);
  fill(&a, 4);
  CHECK(toy_run(model) == TUNEKIT_OK && toy_self_test(model) == TUNEKIT_OK);
  check_outputs(model, 4);
  fill(&a, 6);
  CHECK(toy_run(model) == TUNEKIT_OK);
  check_outputs(model, 6);
  toy_close(model);
}

static int backwards(tunekit_task task, int count, void* data, void* context) {
  int code = 0;
  ++*(int*)context;
  for (int index = count - 1; index >= 0; index--) {
    int failed = task(index, count, data);
    if (failed) code = failed;
  }
  return code;
}

static void an_applications_threads_do_as_well(void) {
  int loops = 0;
  tunekit_options options = {.threads = 5, .parallel_for = backwards, .context = &loops};
  tunekit_model* model = opened(&options);
  bind(model, &a);
  fill(&a, 9);
  CHECK(toy_run(model) == TUNEKIT_OK && loops == 2);
  check_outputs(model, 9);
  a.x[0] = NAN;
  CHECK(toy_run(model) == TUNEKIT_FAILED && mentions(toy_error(model), "not a number"));
  toy_close(model);
}

static void log_line(const char* line, void* context) { strcat(context, line); }

static void open_says_what_it_decided(void) {
  char text[256] = "";
  tunekit_options options = {.threads = 2, .log = log_line, .context = text};
  toy_close(opened(&options));
  CHECK(mentions(text, "toy: 2 threads, ") && mentions(text, "weights shared"));
}

static void models_live_side_by_side(void) {
  static arrays b;
  tunekit_model *first = opened(NULL), *second = opened(NULL);
  bind(first, &a), bind(second, &b);
  fill(&a, 1), fill(&b, 2);
  CHECK(toy_run(first) == TUNEKIT_OK && toy_run(second) == TUNEKIT_OK);
  check_outputs(first, 1), check_outputs(second, 2);
  toy_close(first);
  fill(&b, 3);
  CHECK(toy_run(second) == TUNEKIT_OK);
  check_outputs(second, 3);
  toy_close(second);
}

/* A model that was open before a fork runs in parent, child and grandchild. */
static void forks_go_on(void) {
  tunekit_options options = {.threads = 3};
  tunekit_model* model = opened(&options);
  bind(model, &a);
  fill(&a, 1);
  CHECK(toy_run(model) == TUNEKIT_OK);
  pid_t idle = fork();
  if (idle == 0) {
    toy_close(model); /* its threads are not in the child */
    _exit(0);
  }
  ends_well(idle);
  pid_t child = fork();
  if (child == 0) {
    fill(&a, 2);
    CHECK(toy_run(model) == TUNEKIT_OK);
    check_outputs(model, 2);
    pid_t grandchild = fork();
    if (grandchild == 0) {
      fill(&a, 3);
      CHECK(toy_run(model) == TUNEKIT_OK && toy_self_test(model) == TUNEKIT_OK);
      check_outputs(model, 3);
      toy_close(model);
      _exit(0);
    }
    ends_well(grandchild);
    toy_close(model);
    toy_close(opened(&options));
    _exit(0);
  }
  ends_well(child);
  CHECK(toy_run(model) == TUNEKIT_OK);
  check_outputs(model, 1);
  toy_close(model);
}

static unsigned long mapped_pages(void) {
  unsigned long pages = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  CHECK(file && fscanf(file, "%lu", &pages) == 1);
  fclose(file);
  return pages;
}

/* Lets this process have so many bytes more than it has, or any number of them. */
static void limit_memory(long bytes) {
  struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
  unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
  if (bytes >= 0) limit.rlim_cur = mapped_pages() * page + (unsigned long)bytes;
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void a_process_without_memory_gets_an_error(void) {
  tunekit_model* model = NULL;
  tunekit_options options = {.threads = 64};
  limit_memory(0);
  CHECK(toy_open(&model, &options) == TUNEKIT_NO_MEMORY && !model);
  CHECK(mentions(toy_error(NULL), "no memory for toy: it needs "));
  limit_memory(4 << 20); /* for the model, and the stack of a thread */
  CHECK(toy_open(&model, &options) == TUNEKIT_NO_THREADS && !model);
  CHECK(mentions(toy_error(NULL), "63 threads could not be started"));
  limit_memory(-1);
  toy_close(opened(&options));
}

static void a_child_may_try_again_to_start_threads(void) {
  tunekit_options options = {.threads = 64};
  tunekit_model* model = opened(&options);
  bind(model, &a);
  pid_t child = fork();
  if (child == 0) {
    /* Which takes the stacks that the parent's threads have left behind. */
    tunekit_model* other = opened(&options);
    limit_memory(0);
    for (int i = 0; i < 2; i++) {
      CHECK(toy_run(model) == TUNEKIT_NO_THREADS);
      CHECK(mentions(toy_error(model), "63 threads could not be started after a fork"));
    }
    limit_memory(-1);
    fill(&a, 5);
    CHECK(toy_run(model) == TUNEKIT_OK && strcmp(toy_error(model), "") == 0);
    check_outputs(model, 5);
    toy_close(model), toy_close(other);
    _exit(0);
  }
  ends_well(child);
  toy_close(model);
}

static void close_gives_back_all(void) {
  unsigned long before = 0;
  for (int round = 0; round < 300; round++) {
    tunekit_options options = {.threads = 1 + round % 3,
                               .weights = 1 + round % 2}; /* both places of the weights */
    tunekit_model* model = opened(&options);
    CHECK(toy_self_test(model) == TUNEKIT_OK);
    toy_close(model);
    if (round == 50) before = mapped_pages();
  }
  CHECK(mapped_pages() <= before + 16);
}

/* An argument says that the program is emulated: emulators have memory of their own, and cannot
 * start threads after a fork. Sanitizers have theirs, too. */
int main(int argc, char** argv) {
  (void)argv;
  fill(&a, 0);
  callers_may_be_elsewhere_between_runs();
  null_is_an_error_not_a_crash();
  tensors_are_described();
  options_are_checked();
  inputs_have_to_be_bound_and_of_their_size();
  any_number_of_threads_gives_the_same();
  unbound_outputs_stay_with_the_library();
  misaligned_tensors_are_copied();
  outputs_may_lie_on_inputs();
  kernels_that_fail_say_why();
  open_gives_back_all_when_memory_ends();
  the_self_test_leaves_what_is_bound();
  an_applications_threads_do_as_well();
  open_says_what_it_decided();
  models_live_side_by_side();
  if (argc == 1) forks_go_on();
  if (argc == 1 && !SANITIZED) {
    a_process_without_memory_gets_an_error();
    a_child_may_try_again_to_start_threads();
    close_gives_back_all();
  }
  puts("all is well");
  return 0;
}
