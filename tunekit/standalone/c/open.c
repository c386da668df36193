/* Opens models: chooses, takes memory, starts threads. And closes them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "memory.h"
#include "state.h"

/* How long workers stay awake after a run; benchmarks/thread_policies.py. */
#ifndef SPIN_US
#define SPIN_US 200
#endif
/* No version will have more. */
#define MOST_OPTIONS_BYTES 4096

static void say(const tunekit_options* options, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const tunekit_options* options, const char* format, ...) {
  char line[256];
  va_list arguments;
  if (!options->log) return;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  options->log(line, options->context);
}

/* The programs of this CPU, one for each size. */
static const tk_program* const* fitting_programs(const tk_library* library, const char** missing) {
  for (uint32_t i = 0; i < library->program_count; i += library->size_count) {
    *missing = tk_missing_feature(library->programs[i]->features);
    if (!*missing) return library->programs + i;
  }
  return NULL;
}

static int wrong_cpu(const tk_library* library, const char* missing) {
  return tk_fail(tk_remark(NULL), TUNEKIT_WRONG_CPU,
                 "%s was compiled for CPUs with %s, which this one lacks", library->name, missing);
}

/* What an application wants, as this version of the library knows it. Later versions have options
 * behind these, which are left to the library where they are 0; there is no earlier one. */
static int read_options(tunekit_options* options, const tunekit_options* wanted) {
  size_t bytes = wanted->struct_bytes ? wanted->struct_bytes : sizeof *options;
  if (bytes < sizeof *options || bytes > MOST_OPTIONS_BYTES) {
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT,
                   "options.struct_bytes is %zu, and this library knows options of %zu bytes",
                   bytes, sizeof *options);
  }
  for (size_t i = sizeof *options; i < bytes; i++) {
    if (((const unsigned char*)wanted)[i] == 0) continue;
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT,
                   "the options are of a later version, and set byte %zu, which this library does "
                   "not know: compile the model again, or leave that option out",
                   i);
  }
  memcpy(options, wanted, sizeof *options);
  return TUNEKIT_OK;
}

static int check_options(const tunekit_options* options) {
  if (options->threads < 0 || options->threads > TK_MOST_THREADS) {
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT,
                   "options.threads is %d; it may be 0 to %d", (int)options->threads,
                   TK_MOST_THREADS);
  }
  if (options->pin < 0 || options->pin > TUNEKIT_PIN_ALL) {
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT, "options.pin is none of TUNEKIT_PIN_...");
  }
  if (options->weights < 0 || options->weights > TUNEKIT_WEIGHTS_HUGE_PAGES) {
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT,
                   "options.weights is none of TUNEKIT_WEIGHTS_...");
  }
  if (options->reserved != 0) {
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT, "options.reserved has to be 0");
  }
  if (!options->allocate != !options->release) {
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT,
                   "options.allocate and options.release go together");
  }
  return TUNEKIT_OK;
}

static int32_t threads_for(const tk_program* program, const tunekit_options* options) {
  int usable = tk_usable_cpus();
  if (options->threads) return options->threads;
  return program->cores < usable ? program->cores : usable;
}

/* The parts of one piece of memory, in turn. */
static void* part(unsigned char** next, size_t bytes) {
  void* memory = *next;
  *next += tk_aligned(bytes);
  return memory;
}

/* Bytes of a model's arena, behind which lies its workspace. */
static uint64_t arena_of(const tk_program* program, int32_t threads) {
  return tk_aligned(program->arena_bytes) + tk_aligned(program->kernel_workspace_bytes) +
         (uint64_t)threads * tk_aligned(program->task_workspace_bytes);
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* A program that needs as much of everything as any of these. */
static tk_program most_of(const tk_program* const* programs, uint32_t count) {
  tk_program most = *programs[0];
  for (uint32_t i = 1; i < count; i++) {
    const tk_program* one = programs[i];
    most.tensor_count = (uint32_t)larger(most.tensor_count, one->tensor_count);
    most.argument_count = (uint32_t)larger(most.argument_count, one->argument_count);
    most.arena_bytes = larger(most.arena_bytes, one->arena_bytes);
    most.kernel_workspace_bytes = larger(most.kernel_workspace_bytes, one->kernel_workspace_bytes);
    most.task_workspace_bytes = larger(most.task_workspace_bytes, one->task_workspace_bytes);
  }
  return most;
}

/* Dimensions of all inputs and outputs; none where no size is to be set. */
static size_t dimensions_of(const tk_library* library, const tk_program* program) {
  size_t count = 0;
  if (library->axis_count == 0) return 0;
  for (uint32_t i = 0; i < program->input_count; i++)
    count += (size_t)program->inputs[i].tensor.ndim;
  for (uint32_t i = 0; i < program->output_count; i++)
    count += (size_t)program->outputs[i].tensor.ndim;
  return count;
}

/* Takes all memory of a model whose programs need at most what `program` does; 0 where there is not
 * enough, or the application's is `misaligned`. */
static int take_memory(tunekit_model** result, const tk_library* library, const tk_program* program,
                       const tunekit_options* options, int32_t threads, int* misaligned) {
  size_t tensors = program->tensor_count * sizeof(tk_dltensor);
  size_t arguments = program->argument_count * sizeof(tk_any);
  size_t inputs = program->input_count * sizeof(tk_binding);
  size_t outputs = program->output_count * sizeof(tk_binding);
  size_t seats = (size_t)threads * sizeof(tk_seat);
  size_t sizes = library->axis_count * sizeof(int64_t);
  size_t shapes = dimensions_of(library, program) * sizeof(int64_t);
  size_t described = (program->input_count + program->output_count) * sizeof(tunekit_tensor);
  size_t bytes = (size_t)(tk_aligned(sizeof(tunekit_model)) + tk_aligned(tensors) +
                          tk_aligned(arguments) + 2 * tk_aligned(inputs) +
                          2 * tk_aligned(outputs) + tk_aligned(seats) + 2 * tk_aligned(sizes) +
                          tk_aligned(shapes) + tk_aligned(described));
  unsigned char* memory = tk_take(options, bytes, 0, misaligned);
  if (!memory) return 0;
  unsigned char* next = memory;
  tunekit_model* model = part(&next, sizeof *model);
  *result = model;
  model->library = library;
  model->options = *options;
  model->memory = memory;
  model->memory_bytes = bytes;
  model->tensors = part(&next, tensors);
  model->arguments = part(&next, arguments);
  for (int i = 0; i < 2; i++) {
    tk_settings* settings = i ? &model->tested : &model->own;
    settings->inputs = part(&next, inputs);
    settings->outputs = part(&next, outputs);
    settings->sizes = part(&next, sizes);
  }
  tk_use(model, &model->own);
  model->pool.seats = part(&next, seats);
  model->shapes = part(&next, shapes);
  model->described = library->axis_count ? part(&next, described) : NULL;
  model->pool.threads = threads;
  uint64_t arena = arena_of(program, threads);
  if (arena > SIZE_MAX / 2) return 0;
  model->arena_bytes = (size_t)arena;
  model->arena = tk_take(options, model->arena_bytes, program->huge_pages, misaligned);
  if (!model->arena) return 0;
  model->workspace = model->arena + tk_aligned(program->arena_bytes);
  model->kernel_workspace = (size_t)tk_aligned(program->kernel_workspace_bytes);
  model->task_workspace = (size_t)tk_aligned(program->task_workspace_bytes);
  if (options->weights != TUNEKIT_WEIGHTS_HUGE_PAGES || library->weights_bytes == 0) return 1;
  if (library->weights_bytes > SIZE_MAX / 2) return 0;
  model->copied_weights = tk_take(options, (size_t)library->weights_bytes, 1, misaligned);
  if (!model->copied_weights) return 0;
  tk_copy_weights(model->copied_weights, library->weights, (size_t)library->weights_bytes);
  return 1;
}

static void give_memory(tunekit_model* model) {
  tunekit_options options = model->options;
  tk_give(&options, model->copied_weights, (size_t)model->library->weights_bytes);
  tk_give(&options, model->arena, model->arena_bytes);
  tk_give(&options, model->memory, model->memory_bytes);
}

static void set_up_pool(tk_pool* pool, const tunekit_options* options) {
  pool->spin_us = options->spin_us < 0 ? 0 : options->spin_us ? options->spin_us : SPIN_US;
  pool->pin = options->pin ? options->pin : TUNEKIT_PIN_NONE;
  pool->parallel_for = options->parallel_for;
  pool->parallel_for_context = options->context;
}

int tk_open(const tk_library* library, tunekit_model** result, const tunekit_options* wanted) {
  tunekit_options options = {0};
  tunekit_model* model = NULL;
  const char* missing = NULL;
  if (!result)
    return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT, "open needs somewhere to put the model");
  *result = NULL;
  if (wanted && read_options(&options, wanted) != TUNEKIT_OK) return TUNEKIT_BAD_ARGUMENT;
  if (check_options(&options) != TUNEKIT_OK) return TUNEKIT_BAD_ARGUMENT;
  const tk_program* const* programs = fitting_programs(library, &missing);
  if (!programs) return wrong_cpu(library, missing);
  if (!tk_prepare_process(library)) {
    return tk_fail(tk_remark(NULL), TUNEKIT_NO_MEMORY, "this process has no thread keys left");
  }
  tk_program most = most_of(programs, library->size_count);
  int32_t threads = threads_for(&most, &options);
  int misaligned = 0;
  if (!take_memory(&model, library, &most, &options, threads, &misaligned)) {
    if (model) give_memory(model);
    if (misaligned) {
      return tk_fail(tk_remark(NULL), TUNEKIT_BAD_ARGUMENT,
                     "options.allocate gave memory that does not begin at a multiple of the "
                     "alignment, %d",
                     TK_ALIGNMENT);
    }
    return tk_fail(tk_remark(NULL), TUNEKIT_NO_MEMORY,
                   "no memory for %s: it needs %llu bytes besides its weights", library->name,
                   (unsigned long long)arena_of(&most, threads));
  }
  model->programs = programs;
  model->program = programs[0];
  if (library->axis_count) {
    tk_use_sizes(model, programs[0]->size);
  } else {
    tk_set_up_tensors(model);
  }
  set_up_pool(&model->pool, &options);
  model->family = tk_family();
  if (tk_pool_start(&model->pool) != TUNEKIT_OK) {
    give_memory(model);
    return tk_fail(tk_remark(NULL), TUNEKIT_NO_THREADS, "%d threads could not be started",
                   (int)threads - 1);
  }
  say(&options, "%s: %d threads, %llu bytes of activations, weights %s", library->name,
      (int)threads, (unsigned long long)model->arena_bytes,
      model->copied_weights ? "copied" : "shared");
  tk_forget_remark(NULL);
  *result = model;
  return TUNEKIT_OK;
}

void tk_close(tunekit_model* model) {
  if (!model) return;
  tk_enter_last(model);
  tk_forget_remark(model);
  /* In the child of a fork that never ran it, its threads are the parent's. */
  if (model->family == tk_family()) tk_pool_stop(&model->pool);
  give_memory(model);
}

int tk_cpu_ok(const tk_library* library) {
  const char* missing = NULL;
  if (!fitting_programs(library, &missing)) return wrong_cpu(library, missing);
  tk_forget_remark(NULL);
  return TUNEKIT_OK;
}

int32_t tk_threads(const tunekit_model* model) { return model ? model->pool.threads : 0; }
