/* An open model, and what the files of the runtime do for each other. */
#ifndef TUNEKIT_STATE_H
#define TUNEKIT_STATE_H

#include "model.h"
#include "pool.h"

#define TK_ERROR_BYTES 512

/* What an input or output is bound to. */
typedef struct {
  unsigned char* data;
  uint8_t copied; /* before the run, or after it: kernels cannot use it where it is */
} tk_binding;

struct tunekit_model {
  tk_pool pool;
  const tk_library* library;
  const tk_program* program;
  tunekit_options options;
  tk_dltensor* tensors;
  tk_any* arguments;
  tk_binding *inputs, *outputs, *kept;
  unsigned char *memory, *arena, *workspace, *copied_weights;
  size_t memory_bytes, arena_bytes;
  size_t task_workspace, kernel_workspace;
  uint32_t holder;    /* the process, by tk_family, of the thread that has entered; 0 if none has */
  uint32_t family;    /* the process that has the pool's threads */
  uint32_t explained; /* a kernel has said why this run fails */
  uint8_t rebound;    /* since the tensors were pointed to what is bound */
  char error[TK_ERROR_BYTES];
};

/* Writes why something failed, and gives the code back. */
int tk_fail(char* error, int code, const char* format, ...) __attribute__((format(printf, 3, 4)));
/* Where to write why the calling thread cannot enter a model, or, with NULL, cannot open one. */
char* tk_remark(const tunekit_model* model);
/* What was written there no longer holds. */
void tk_forget_remark(const tunekit_model* model);
/* Begins what only one thread may do with a model at a time, and ends it. */
int tk_enter(tunekit_model* model);
int tk_leave(tunekit_model* model, int code);
/* Begins the end of a model, when nobody is in it any more. */
void tk_enter_last(tunekit_model* model);
/* The tensors that are inputs or outputs, and what is bound. */
int tk_apply_bindings(tunekit_model* model);
void tk_copy_inputs(tunekit_model* model);
void tk_copy_outputs(tunekit_model* model);
/* One inference, by whoever has entered. */
int tk_run_entered(tunekit_model* model);
/* Connects a library's kernels with this runtime, once in a process; 0 where that cannot be. */
int tk_prepare_process(const tk_library* library);
/* The number of this process among those that come of each other by fork: the threads of a model
 * that was opened before one are not in the child. Never 0. */
uint32_t tk_family(void);

#endif
