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
  uint8_t bound;  /* by the application, and not the library's own place */
  uint8_t stale;  /* bound while another size was set */
} tk_binding;

/* What inputs and outputs are bound to and, of a library with axes, the sizes that are set. */
typedef struct {
  tk_binding *inputs, *outputs;
  int64_t* sizes;
} tk_settings;

struct tunekit_model {
  tk_pool pool;
  const tk_library* library;
  const tk_program* const* programs; /* that this CPU runs, one for each size */
  const tk_program* program;         /* of the size that is set */
  tunekit_options options;
  tk_dltensor* tensors;
  tk_any* arguments;
  /* Those in use: the application's own, or the self test's while it runs, which never writes to
   * the application's. The child of a fork in the midst of it has these whole. */
  tk_binding *inputs, *outputs;
  int64_t* sizes;
  tk_settings own, tested;
  /* Of a library with axes: inputs and outputs at the sizes in use, and their shapes. */
  tunekit_tensor* described;
  int64_t* shapes;
  unsigned char *memory, *arena, *workspace, *copied_weights;
  size_t memory_bytes, arena_bytes;
  size_t task_workspace, kernel_workspace;
  uint32_t holder;    /* the process, by tk_family, of the thread that has entered; 0 if none has */
  uint32_t family;    /* the process that has the pool's threads */
  uint32_t explained; /* a kernel has said why this run fails */
  uint8_t rebound;    /* since the tensors were pointed to what is bound */
  /* What is written down of a run that is traced: `events` is NULL in others. */
  tunekit_event* events;
  int32_t event_room, event_count;
  uint32_t step; /* the kernel that runs */
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
/* Sets a size that the library has, or that is padded: 0 where there is none, and why. */
int tk_use_sizes(tunekit_model* model, const int64_t* sizes);
/* Takes bindings and sizes into use. */
static inline void tk_use(tunekit_model* model, const tk_settings* settings) {
  model->inputs = settings->inputs;
  model->outputs = settings->outputs;
  model->sizes = settings->sizes;
}
/* Takes the application's into use, and makes everything else what belongs to them. */
void tk_use_own(tunekit_model* model);
/* The sizes at which an input has so many bytes, if only they can be meant; else 0. */
int tk_sizes_of_bytes(const tunekit_model* model, int32_t input, size_t bytes, int64_t* sizes);
/* Points all tensors that are no inputs and outputs to where they are, and these to the model's own
 * memory where nothing is bound. */
void tk_set_up_tensors(tunekit_model* model);
/* An input or output at the size that is set. */
const tunekit_tensor* tk_input_now(const tunekit_model* model, uint32_t index);
const tunekit_tensor* tk_output_now(const tunekit_model* model, uint32_t index);
/* Copies what two tensors of so many dimensions have in common, rows to rows. They may be the same
 * memory if `to` is the smaller one. */
void tk_move_box(unsigned char* to, const int64_t* to_shape, const unsigned char* from,
                 const int64_t* from_shape, int32_t ndim, size_t element);
/* The tensors that are inputs or outputs, and what is bound. */
int tk_apply_bindings(tunekit_model* model);
void tk_copy_inputs(tunekit_model* model);
void tk_copy_outputs(tunekit_model* model);
/* Writes down what the calling thread did since `begin_ns`: a task of the kernel that runs, or all
 * of it (-1). */
void tk_note(tunekit_model* model, int32_t task, int64_t begin_ns);
/* One inference, by whoever has entered. */
int tk_run_entered(tunekit_model* model);
/* Connects a library's kernels with this runtime, once in a process; 0 where that cannot be. */
int tk_prepare_process(const tk_library* library);
/* The number of this process among those that come of each other by fork: the threads of a model
 * that was opened before one are not in the child. Never 0. */
uint32_t tk_family(void);

#endif
