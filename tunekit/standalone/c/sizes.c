/* Libraries of several sizes: which one is set, and what inputs and outputs are there. */
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "state.h"

#define LIST_BYTES 256

int32_t tk_axes(const tunekit_model* model) {
  return model ? (int32_t)model->library->axis_count : 0;
}

const tunekit_axis* tk_describe_axis(const tunekit_model* model, int32_t index) {
  if (index < 0 || index >= tk_axes(model)) return NULL;
  return &model->library->axes[index];
}

int64_t tk_size(const tunekit_model* model, int32_t axis) {
  if (axis < 0 || axis >= tk_axes(model)) return 0;
  return model->own.sizes[axis];
}

int32_t tk_input_axis(const tunekit_model* model, int32_t index, int32_t dimension) {
  if (index < 0 || index >= tk_inputs(model) || tk_axes(model) == 0) return -1;
  const tk_input* input = &model->program->inputs[index];
  if (dimension < 0 || dimension >= input->tensor.ndim) return -1;
  return input->axes[dimension];
}

/* The sizes of an axis, for people. */
static const char* listed(const tunekit_axis* axis, char* text) {
  size_t length = 0;
  text[0] = '\0';
  for (int32_t i = 0; i < axis->count && length < LIST_BYTES; i++) {
    length += (size_t)snprintf(text + length, LIST_BYTES - length, "%s%lld", i ? ", " : "",
                               (long long)axis->sizes[i]);
  }
  return text;
}

/* The number of the program for these sizes; -1 where there is none, and why. */
static int32_t find(tunekit_model* model, const int64_t* sizes) {
  int32_t number = 0;
  for (uint32_t i = 0; i < model->library->axis_count; i++) {
    const tunekit_axis* axis = &model->library->axes[i];
    int32_t place = 0;
    while (place < axis->count && axis->sizes[place] < sizes[i]) place++;
    if (sizes[i] < 1 || place == axis->count || (!axis->padded && axis->sizes[place] != sizes[i])) {
      char text[LIST_BYTES];
      tk_fail(model->error, TUNEKIT_NO_SIZE, "%s has no size for %s %lld: there %s %s%s",
              model->library->name, axis->name, (long long)sizes[i],
              axis->count == 1 ? "is" : "are", listed(axis, text),
              axis->padded ? ", and what is smaller" : "");
      return -1;
    }
    number = number * axis->count + place;
  }
  return number;
}

static void describe(tunekit_model* model, tunekit_tensor* now, const tunekit_tensor* whole,
                     const int8_t* axes, int64_t** shapes) {
  *now = *whole;
  now->shape = *shapes;
  now->bytes = whole->bits / 8;
  for (int32_t i = 0; i < whole->ndim; i++) {
    (*shapes)[i] = axes[i] < 0 ? whole->shape[i] : model->sizes[axes[i]];
    now->bytes *= (size_t)(*shapes)[i];
  }
  *shapes += whole->ndim;
}

/* Takes the program of the sizes that are set, and describes inputs and outputs. */
static void take_program(tunekit_model* model, const tk_program* program) {
  int64_t* shapes = model->shapes;
  for (uint32_t i = 0; i < program->input_count; i++) {
    const tk_input* input = &program->inputs[i];
    describe(model, &model->described[i], &input->tensor, input->axes, &shapes);
  }
  for (uint32_t i = 0; i < program->output_count; i++) {
    const tk_output* output = &program->outputs[i];
    describe(model, &model->described[program->input_count + i], &output->tensor, output->axes,
             &shapes);
  }
  model->program = program;
  tk_set_up_tensors(model);
}

int tk_use_sizes(tunekit_model* model, const int64_t* sizes) {
  int32_t number = find(model, sizes);
  if (number < 0) return 0;
  const tk_program* program = model->programs[number];
  for (uint32_t i = 0; i < program->input_count; i++)
    model->inputs[i].stale = model->inputs[i].bound;
  for (uint32_t i = 0; i < program->output_count; i++)
    model->outputs[i].stale = model->outputs[i].bound;
  /* The child of a fork in the midst of this never has new sizes with what is bound for the old. */
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  memcpy(model->sizes, sizes, model->library->axis_count * sizeof *sizes);
  take_program(model, program);
  return 1;
}

void tk_use_own(tunekit_model* model) {
  tk_use(model, &model->own);
  if (model->library->axis_count) {
    int32_t number = find(model, model->sizes);
    if (number < 0) { /* a thread of the parent was writing them at the fork */
      number = 0;
      model->error[0] = '\0';
      memcpy(model->sizes, model->programs[0]->size,
             model->library->axis_count * sizeof *model->sizes);
    }
    take_program(model, model->programs[number]);
  }
  model->rebound = 1;
}

int tk_set_sizes(tunekit_model* model, const int64_t* sizes, int32_t count) {
  if (!model) return TUNEKIT_BAD_ARGUMENT;
  int code = tk_enter(model);
  if (code != TUNEKIT_OK) return code;
  size_t bytes = model->library->axis_count * sizeof *sizes;
  if (count != tk_axes(model) || (count > 0 && !sizes)) {
    code = tk_fail(model->error, TUNEKIT_BAD_ARGUMENT, "%d sizes are given, and %s has %d axes",
                   sizes ? (int)count : 0, model->library->name, (int)tk_axes(model));
  } else if (count > 0 && memcmp(sizes, model->sizes, bytes) != 0 && !tk_use_sizes(model, sizes)) {
    code = TUNEKIT_NO_SIZE;
  }
  return tk_leave(model, code);
}

int tk_sizes_of_bytes(const tunekit_model* model, int32_t input, size_t bytes, int64_t* sizes) {
  const tk_input* planned = &model->program->inputs[input];
  int times = 0;
  if (model->library->axis_count != 1) return 0;
  for (int32_t i = 0; i < planned->tensor.ndim; i++) times += planned->axes[i] == 0;
  if (times != 1) return 0;
  size_t one = planned->tensor.bytes / (size_t)model->program->size[0];
  if (one == 0 || bytes == 0 || bytes % one || bytes / one > INT64_MAX) return 0;
  sizes[0] = (int64_t)(bytes / one);
  return 1;
}

const tunekit_tensor* tk_input_now(const tunekit_model* model, uint32_t index) {
  return model->described ? &model->described[index] : &model->program->inputs[index].tensor;
}

const tunekit_tensor* tk_output_now(const tunekit_model* model, uint32_t index) {
  if (!model->described) return &model->program->outputs[index].tensor;
  return &model->described[model->program->input_count + index];
}

void tk_set_up_tensors(tunekit_model* model) {
  const tk_program* program = model->program;
  const unsigned char* weights =
      model->copied_weights ? model->copied_weights : model->library->weights;
  for (uint32_t i = 0; i < program->tensor_count; i++) {
    const tk_tensor* from = &program->tensors[i];
    tk_dltensor* tensor = &model->tensors[i];
    tensor->device_type = TK_DEVICE_CPU;
    tensor->ndim = from->ndim;
    tensor->code = from->code;
    tensor->bits = from->bits;
    tensor->lanes = 1;
    tensor->shape = program->shapes + from->shape;
    if (from->place == TK_ARENA) tensor->data = model->arena + from->offset;
    if (from->place == TK_WEIGHTS) tensor->data = (void*)(weights + from->offset);
  }
  for (uint32_t i = 0; i < program->argument_count; i++) {
    model->arguments[i].type_index = TK_ANY_DLTENSOR;
    model->arguments[i].value.pointer = &model->tensors[program->arguments[i]];
  }
  for (uint32_t i = 0; i < program->output_count; i++) {
    if (!model->outputs[i].bound) model->outputs[i].data = model->arena + program->outputs[i].own;
  }
  model->rebound = 1;
}

void tk_move_box(unsigned char* to, const int64_t* to_shape, const unsigned char* from,
                 const int64_t* from_shape, int32_t ndim, size_t element) {
  size_t to_row = element, from_row = element;
  if (ndim == 0) {
    memmove(to, from, element);
    return;
  }
  for (int32_t i = 1; i < ndim; i++) {
    to_row *= (size_t)to_shape[i];
    from_row *= (size_t)from_shape[i];
  }
  size_t rows = (size_t)(to_shape[0] < from_shape[0] ? to_shape[0] : from_shape[0]);
  if (memcmp(to_shape + 1, from_shape + 1, (size_t)(ndim - 1) * sizeof *to_shape) == 0) {
    memmove(to, from, rows * to_row);
    return;
  }
  for (size_t row = 0; row < rows; row++) {
    tk_move_box(to + row * to_row, to_shape + 1, from + row * from_row, from_shape + 1, ndim - 1,
                element);
  }
}
