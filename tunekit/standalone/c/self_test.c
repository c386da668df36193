/* Whether a library computes what it, or the model's framework, did where it was made. */
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
                     "element %llu of output %u (%s) is %g, and %s %g where the library was made",
                     (unsigned long long)check->element, (unsigned)check->output, tensor->name,
                     value, program->checked_by_framework ? "the model's framework gave" : "was",
                     check->value);
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
  int code = TUNEKIT_OK;
  tk_use(model, &model->tested);
  memset(model->inputs, 0, program->input_count * sizeof(tk_binding));
  memset(model->outputs, 0, program->output_count * sizeof(tk_binding));
  if (library->axis_count == 0) code = test_size(model);
  for (uint32_t i = 0; library->axis_count && i < library->size_count && code == TUNEKIT_OK; i++) {
    tk_use_sizes(model, model->programs[i]->size);
    code = test_size(model);
  }
  tk_use_own(model);
  return code;
}

int tk_self_test(tunekit_model* model) {
  if (!model) return TUNEKIT_BAD_ARGUMENT;
  int code = tk_enter(model);
  return code == TUNEKIT_OK ? tk_leave(model, self_test(model)) : code;
}
