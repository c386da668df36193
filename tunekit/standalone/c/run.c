/* Runs a model's kernels one after another, and gives them threads and memory. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "state.h"

/* What a thread is doing for which model: kernels ask for memory and threads, and cannot say for
 * whom. It is on the thread's stack, and found by a key: thread-local variables would need more
 * than the C library, or space that a library which is loaded late need not get. */
typedef struct {
  tunekit_model* model;
  unsigned char *workspace, *workspace_end;
  int in_task;
} activity;

static pthread_key_t current;
static uint32_t families = 1;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int ready;
/* The one that this runtime is linked with. */
static const tk_library* to_prepare;

/* Only the thread that forked is in the child. */
static void in_child(void) {
  if (++families == 0) families = 1;
}

uint32_t tk_family(void) { return families; }

static void* take_workspace(int device, int id, uint64_t bytes, int code, int bits) {
  activity* now = pthread_getspecific(current);
  unsigned char* memory = now->workspace;
  (void)device, (void)id, (void)code, (void)bits;
  bytes = tk_aligned(bytes);
  if (bytes > (uint64_t)(now->workspace_end - memory)) return NULL;
  now->workspace = memory + bytes;
  return memory;
}

static int give_workspace(int device, int id, void* memory) {
  activity* now = pthread_getspecific(current);
  (void)device, (void)id;
  now->workspace = memory;
  return 0;
}

/* How a kernel says why it gives up; declared by TVM's FFI. */
void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count);

void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count) {
  const activity* now = pthread_getspecific(current);
  char* error = now->model->error;
  /* Of the tasks of a loop the first that fails has the word. */
  if (now->in_task && __atomic_exchange_n(&now->model->explained, 1, __ATOMIC_RELAXED)) return;
  size_t length = (size_t)snprintf(error, TK_ERROR_BYTES, "%s: ", kind);
  for (int32_t i = 0; parts && i < count && length < TK_ERROR_BYTES; i++) {
    if (!parts[i]) continue;
    length += (size_t)snprintf(error + length, TK_ERROR_BYTES - length, "%s", parts[i]);
  }
}

typedef struct {
  tunekit_model* model;
  tk_lambda lambda;
  void* closure;
} parallel_loop;

static int run_task(int index, int count, void* data) {
  parallel_loop* loop = data;
  tunekit_model* model = loop->model;
  tk_group group = {NULL, count};
  const void* before = pthread_getspecific(current);
  activity task;
  task.model = model;
  task.workspace =
      model->workspace + model->kernel_workspace + (size_t)index * model->task_workspace;
  task.workspace_end = task.workspace + model->task_workspace;
  task.in_task = 1;
  pthread_setspecific(current, &task);
  int64_t begin_ns = model->events ? tk_now_ns() : 0;
  int code = loop->lambda(index, &group, loop->closure);
  if (model->events) tk_note(model, index, begin_ns);
  pthread_setspecific(current, before);
  return code;
}

static int launch(tk_lambda lambda, void* closure, int tasks) {
  const activity* now = pthread_getspecific(current);
  parallel_loop loop = {now->model, lambda, closure};
  tk_group group = {NULL, tasks > 0 ? tasks : 1};
  int code = 0;
  if (!now->in_task && tasks <= 0) return tk_pool_run(&loop.model->pool, run_task, &loop);
  for (int task = 0; task < group.num_task && code == 0; task++)
    code = lambda(task, &group, closure);
  return code;
}

static void prepare(void) {
  if (pthread_key_create(&current, NULL) != 0) return;
  if (pthread_atfork(NULL, NULL, in_child) != 0) return;
  const tk_library* library = __atomic_load_n(&to_prepare, __ATOMIC_RELAXED);
  for (uint32_t i = 0; i < library->program_count; i++)
    library->programs[i]->connect(launch, take_workspace, give_workspace);
  ready = 1;
}

int tk_prepare_process(const tk_library* library) {
  __atomic_store_n(&to_prepare, library, __ATOMIC_RELAXED);
  pthread_once(&once, prepare);
  return ready;
}

static int run_kernels(tunekit_model* model) {
  const tk_program* program = model->program;
  const void* before = pthread_getspecific(current);
  activity own;
  tk_any result = {0, 0, {0}};
  int code = TUNEKIT_OK;
  model->explained = 0;
  own.model = model;
  own.in_task = 0;
  own.workspace = model->workspace;
  own.workspace_end = model->workspace + model->kernel_workspace;
  pthread_setspecific(current, &own);
  tk_pool_begin(&model->pool);
  for (uint32_t i = 0; i < program->step_count && code == TUNEKIT_OK; i++) {
    const tk_step* step = &program->steps[i];
    int64_t begin_ns = model->events ? tk_now_ns() : 0;
    model->step = i;
    if (step->kernel(NULL, model->arguments + step->first, (int32_t)step->count, &result) != 0) {
      char reason[TK_ERROR_BYTES / 2];
      snprintf(reason, sizeof reason, "%.200s", model->error);
      code = tk_fail(model->error, TUNEKIT_FAILED, "kernel %s failed%s%s", step->name,
                     reason[0] ? ": " : ", and does not say why", reason);
    }
    if (model->events) tk_note(model, -1, begin_ns);
  }
  tk_pool_end(&model->pool);
  pthread_setspecific(current, before);
  return code;
}

int tk_run_entered(tunekit_model* model) {
  int code = model->rebound ? tk_apply_bindings(model) : TUNEKIT_OK;
  if (code != TUNEKIT_OK) return code;
  tk_copy_inputs(model);
  code = run_kernels(model);
  if (code == TUNEKIT_OK) tk_copy_outputs(model);
  return code;
}

int tk_run(tunekit_model* model) {
  if (!model) return TUNEKIT_BAD_ARGUMENT;
  int code = tk_enter(model);
  return code == TUNEKIT_OK ? tk_leave(model, tk_run_entered(model)) : code;
}
