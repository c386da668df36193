/* What the generated tables of a library hold, and what the runtime makes of them. Not shipped. */
#ifndef TUNEKIT_MODEL_H
#define TUNEKIT_MODEL_H

#include "tunekit.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error standalone libraries are for little-endian CPUs
#endif

/* TVM's calling convention: https://github.com/apache/tvm-ffi, c_api.h; DLPack's tensor. */
typedef struct {
  int32_t type_index;
  uint32_t zero_padding;
  union {
    int64_t integer;
    void* pointer;
  } value;
} tk_any;

#define TK_ANY_DLTENSOR 7

typedef struct {
  void* data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t code, bits;
  uint16_t lanes;
  const int64_t* shape;
  const int64_t* strides;
  uint64_t byte_offset;
} tk_dltensor;

#define TK_DEVICE_CPU 1

typedef struct {
  void* sync_handle;
  int32_t num_task;
} tk_group;

typedef int (*tk_lambda)(int task, tk_group* group, void* closure);
typedef int (*tk_kernel)(void* self, const tk_any* arguments, int32_t count, tk_any* result);
typedef int (*tk_launch_function)(tk_lambda lambda, void* closure, int tasks);
typedef void* (*tk_allocate_function)(int device, int id, uint64_t bytes, int code, int bits);
typedef int (*tk_free_function)(int device, int id, void* pointer);

/* Where a tensor's bytes are: at `offset` of the arena or of the weights, or those of an input or
 * output, whose number is then `offset`. */
enum { TK_ARENA, TK_WEIGHTS, TK_INPUT, TK_OUTPUT };

typedef struct {
  uint8_t place, code, bits, ndim;
  uint32_t shape; /* first of `ndim` sizes in the program's shapes */
  uint64_t offset;
} tk_tensor;

typedef struct {
  tk_kernel kernel;
  const char* name;
  uint32_t first, count; /* in the program's arguments: numbers of tensors */
} tk_step;

/* `copy` is where in the arena an input is copied to that kernels cannot read where it is. In the
 * self test its values are from low to high. `axes` has for each dimension the library's axis that
 * it is, or -1; NULL where the library has none. */
typedef struct {
  tunekit_tensor tensor;
  uint64_t copy;
  double low, high;
  const int8_t* axes;
} tk_input;

/* Where kernels write an output straight away (`direct`), that is its own place in the arena, at
 * `own`, or where it is bound to; else it is copied from `tensor` after the run. */
typedef struct {
  tunekit_tensor tensor;
  uint64_t own;
  uint32_t from;
  uint8_t direct;
  const int8_t* axes;
} tk_output;

/* A value of an output in the self test. */
typedef struct {
  uint32_t output;
  uint64_t element;
  double value, tolerance;
} tk_check;

/* One model for one kind of CPU, at one size. */
typedef struct {
  const char* const* features; /* that the CPU must have; NULL ends them */
  const int64_t* size;         /* of each of the library's axes */
  const tk_tensor* tensors;
  const tk_step* steps;
  const uint32_t* arguments;
  const int64_t* shapes;
  const tk_input* inputs;
  const tk_output* outputs;
  const tk_check* checks;
  uint32_t tensor_count, step_count, argument_count;
  uint32_t input_count, output_count, check_count;
  int32_t cores;      /* that its kernels were made for */
  int32_t huge_pages; /* whether activations are to be in huge pages */
  /* Whether the checks have values of the model's framework: nobody ran these kernels. */
  int32_t checked_by_framework;
  uint64_t arena_bytes;
  uint64_t kernel_workspace_bytes; /* that a kernel takes outside of its parallel loops */
  uint64_t task_workspace_bytes;   /* and inside, for each task */
  /* Puts the runtime's functions where the kernels look for them. */
  void (*connect)(tk_launch_function launch, tk_allocate_function allocate, tk_free_function free);
} tk_program;

typedef struct {
  const char* name;
  const char* manifest;
  const unsigned char* weights;
  uint64_t weights_bytes;
  const tk_program* const* programs; /* the best first, each at every size one after another */
  uint32_t program_count;
  uint32_t size_count, axis_count;
  const tunekit_axis* axes; /* the sizes of the last one go up fastest */
} tk_library;

int tk_open(const tk_library* library, tunekit_model** model, const tunekit_options* options);
void tk_close(tunekit_model* model);
int32_t tk_inputs(const tunekit_model* model);
int32_t tk_outputs(const tunekit_model* model);
const tunekit_tensor* tk_describe_input(const tunekit_model* model, int32_t index);
const tunekit_tensor* tk_describe_output(const tunekit_model* model, int32_t index);
int tk_bind_input(tunekit_model* model, int32_t index, const void* data, size_t bytes);
int tk_bind_output(tunekit_model* model, int32_t index, void* data, size_t bytes);
int tk_run(tunekit_model* model);
const void* tk_output_data(const tunekit_model* model, int32_t index);
int32_t tk_threads(const tunekit_model* model);
const char* tk_error(const tunekit_model* model);
int tk_self_test(tunekit_model* model);
int tk_cpu_ok(const tk_library* library);
int32_t tk_axes(const tunekit_model* model);
const tunekit_axis* tk_describe_axis(const tunekit_model* model, int32_t index);
int32_t tk_input_axis(const tunekit_model* model, int32_t index, int32_t dimension);
int tk_set_sizes(tunekit_model* model, const int64_t* sizes, int32_t count);
int64_t tk_size(const tunekit_model* model, int32_t axis);
int tk_trace(tunekit_model* model, tunekit_event* events, int32_t room, int32_t* count);

#endif
