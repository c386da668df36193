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
  const tk_library* library;
  const tk_program* program;
  tunekit_options options;
  tk_dltensor* tensors;
  tk_any* arguments;
  tk_binding *inputs, *outputs;
  unsigned char *memory, *arena, *workspace, *copied_weights;
  size_t memory_bytes, arena_bytes;
  size_t task_workspace, kernel_workspace;
  tk_pool pool;
  uint32_t busy, family;
  uint8_t rebound; /* since the tensors were pointed to what is bound */
  char error[TK_ERROR_BYTES];
};

/* Writes why something failed, and gives the code back. */
int tk_fail(char* error, int code, const char* format, ...);
/* Begins what only one thread may do with a model at a time, and ends it. */
int tk_enter(tunekit_model* model);
int tk_leave(tunekit_model* model, int code);
/* The tensors that are inputs or outputs, and what is bound. */
int tk_apply_bindings(tunekit_model* model);
void tk_copy_inputs(tunekit_model* model);
void tk_copy_outputs(tunekit_model* model);
/* One inference, by whoever has entered. */
int tk_run_entered(tunekit_model* model);
/* Connects a program's kernels with this runtime; 0 where the process cannot. */
int tk_prepare_kernels(const tk_program* program);
/* Counts forks: the threads of a model that was opened before one are not in the child. */
uint32_t tk_family(void);

#endif
