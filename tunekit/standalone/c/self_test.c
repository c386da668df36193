/* Whether a library computes what it did where it was made. */
#include <string.h>

#include "numbers.h"
#include "state.h"

/* Inputs of the self test, made where inputs are copied to. */
static void make_inputs(tunekit_model* model) {
  const tk_program* program = model->program;
  for (uint32_t i = 0; i < program->input_count; i++) {
    const tk_input* input = &program->inputs[i];
    const tunekit_tensor* tensor = &input->tensor;
    size_t count = tensor->bytes / (tensor->bits / 8);
    model->inputs[i].data = model->arena + input->copy;
    for (size_t element = 0; element < count; element++) {
      tk_write_number(model->inputs[i].data, element, tensor->code, tensor->bits,
                      tk_sample(i, element, tensor->code, input->low, input->high));
    }
  }
  for (uint32_t i = 0; i < program->output_count; i++) {
    model->outputs[i].data = model->arena + program->outputs[i].own;
  }
}

static int check_outputs(tunekit_model* model) {
  const tk_program* program = model->program;
  for (uint32_t i = 0; i < program->check_count; i++) {
    const tk_check* check = &program->checks[i];
    const tunekit_tensor* tensor = &program->outputs[check->output].tensor;
    double value = tk_read_number(model->outputs[check->output].data, check->element, tensor->code,
                                  tensor->bits);
    double off = value > check->value ? value - check->value : check->value - value;
    int both_nan = value != value && check->value != check->value;
    if (!(off <= check->tolerance) && value != check->value && !both_nan) {
      return tk_fail(model->error, TUNEKIT_DAMAGED,
                     "element %llu of output %u (%s) is %g, and was %g where the library was made",
                     (unsigned long long)check->element, (unsigned)check->output, tensor->name,
                     value, check->value);
    }
  }
  return TUNEKIT_OK;
}

/* Tests the size that is set. */
static int test_size(tunekit_model* model) {
  make_inputs(model);
  model->rebound = 1;
  int code = tk_run_entered(model);
  return code == TUNEKIT_OK ? check_outputs(model) : code;
}

static int self_test(tunekit_model* model) {
  const tk_program* program = model->program;
  const tk_library* library = model->library;
  /* What is bound comes back afterwards, and the size. */
  size_t inputs = program->input_count * sizeof(tk_binding);
  size_t outputs = program->output_count * sizeof(tk_binding);
  int code = TUNEKIT_OK;
  memcpy(model->kept, model->inputs, inputs);
  memcpy(model->kept + program->input_count, model->outputs, outputs);
  memset(model->inputs, 0, inputs);
  memset(model->outputs, 0, outputs);
  if (library->axis_count == 0) code = test_size(model);
  memcpy(model->kept_sizes, model->sizes, library->axis_count * sizeof(int64_t));
  for (uint32_t i = 0; library->axis_count && i < library->size_count && code == TUNEKIT_OK; i++) {
    tk_use_sizes(model, model->programs[i]->size);
    code = test_size(model);
  }
  if (library->axis_count) tk_use_sizes(model, model->kept_sizes);
  memcpy(model->inputs, model->kept, inputs);
  memcpy(model->outputs, model->kept + program->input_count, outputs);
  model->rebound = 1;
  return code;
}

int tk_self_test(tunekit_model* model) {
  if (!model) return TUNEKIT_BAD_ARGUMENT;
  int code = tk_enter(model);
  return code == TUNEKIT_OK ? tk_leave(model, self_test(model)) : code;
}
