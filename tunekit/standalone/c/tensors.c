/* A model's inputs and outputs: what they are, and where the application has them. */
#include <string.h>

#include "memory.h"
#include "state.h"

int32_t tk_inputs(const tunekit_model* model) {
  return model ? (int32_t)model->program->input_count : 0;
}

int32_t tk_outputs(const tunekit_model* model) {
  return model ? (int32_t)model->program->output_count : 0;
}

const tunekit_tensor* tk_describe_input(const tunekit_model* model, int32_t index) {
  if (index < 0 || index >= tk_inputs(model)) return NULL;
  return tk_input_now(model, (uint32_t)index);
}

const tunekit_tensor* tk_describe_output(const tunekit_model* model, int32_t index) {
  if (index < 0 || index >= tk_outputs(model)) return NULL;
  return tk_output_now(model, (uint32_t)index);
}

/* Makes a model the calling thread's, whose process is `family`; 0 where another thread has it. */
static int take_hold(tunekit_model* model, uint32_t family) {
  uint32_t holder = 0;
  while (!__atomic_compare_exchange_n(&model->holder, &holder, family, 0, __ATOMIC_ACQUIRE,
                                      __ATOMIC_RELAXED)) {
    /* A holder of another number was in it when this process was forked, and is in the parent. */
    if (holder == family) return 0;
  }
  return 1;
}

int tk_enter(tunekit_model* model) {
  uint32_t family = tk_family();
  if (!take_hold(model, family)) {
    return tk_fail(tk_remark(model), TUNEKIT_BUSY, "another thread is running this model");
  }
  tk_forget_remark(model);
  model->error[0] = '\0';
  if (model->family == family) return TUNEKIT_OK;
  /* After a fork, when the pool's threads are in the parent, and so is a thread that was at a self
   * test, a trace or a change of sizes. */
  model->events = NULL;
  tk_use_own(model);
  if (tk_pool_start(&model->pool) == TUNEKIT_OK) {
    model->family = family;
    return TUNEKIT_OK;
  }
  return tk_leave(
      model, tk_fail(model->error, TUNEKIT_NO_THREADS,
                     "%d threads could not be started after a fork", (int)model->pool.threads - 1));
}

int tk_leave(tunekit_model* model, int code) {
  __atomic_store_n(&model->holder, 0, __ATOMIC_RELEASE);
  return code;
}

void tk_enter_last(tunekit_model* model) {
  while (!take_hold(model, tk_family())) sched_yield();
}

static int overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  return (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

/* `place` is in the model's own memory, where an output may be. */
static int check_binding(tunekit_model* model, const char* what, const tunekit_tensor* tensor,
                         int32_t index, int32_t count, const void* data, size_t bytes,
                         const void* place) {
  if (!tensor) {
    return tk_fail(model->error, TUNEKIT_BAD_ARGUMENT, "there is no %s %d: the model has %d", what,
                   (int)index, (int)count);
  }
  if (!data) {
    return tk_fail(model->error, TUNEKIT_BAD_ARGUMENT, "%s %d (%s): data is NULL", what, (int)index,
                   tensor->name);
  }
  if (bytes != tensor->bytes) {
    return tk_fail(model->error, TUNEKIT_BAD_ARGUMENT, "%s %d (%s) has %zu bytes, not %zu", what,
                   (int)index, tensor->name, tensor->bytes, bytes);
  }
  /* There its bytes would be overwritten by the run that is to read them. */
  if (data != place && overlap(data, bytes, model->arena, model->arena_bytes)) {
    return tk_fail(model->error, TUNEKIT_BAD_ARGUMENT,
                   "%s %d (%s) would lie in the model's own memory: bind outputs that are inputs "
                   "again to memory of your own",
                   what, (int)index, tensor->name);
  }
  return TUNEKIT_OK;
}

int tk_bind_input(tunekit_model* model, int32_t index, const void* data, size_t bytes) {
  if (!model) return TUNEKIT_BAD_ARGUMENT;
  int code = tk_enter(model);
  if (code != TUNEKIT_OK) return code;
  const tunekit_tensor* tensor = tk_describe_input(model, index);
  int64_t size;
  if (tensor && data && bytes != tensor->bytes && tk_sizes_of_bytes(model, index, bytes, &size) &&
      !tk_use_sizes(model, &size)) {
    return tk_leave(model, TUNEKIT_NO_SIZE);
  }
  code = check_binding(model, "input", tensor, index, tk_inputs(model), data, bytes, NULL);
  if (code == TUNEKIT_OK) {
    model->inputs[index].data = (unsigned char*)(uintptr_t)data;
    model->inputs[index].bound = 1;
    model->inputs[index].stale = 0;
    model->rebound = 1;
  }
  return tk_leave(model, code);
}

int tk_bind_output(tunekit_model* model, int32_t index, void* data, size_t bytes) {
  if (!model) return TUNEKIT_BAD_ARGUMENT;
  int code = tk_enter(model);
  if (code != TUNEKIT_OK) return code;
  const tunekit_tensor* tensor = tk_describe_output(model, index);
  code = check_binding(model, "output", tensor, index, tk_outputs(model), data, bytes,
                       tensor ? model->arena + model->program->outputs[index].own : NULL);
  if (code == TUNEKIT_OK) {
    model->outputs[index].data = data;
    model->outputs[index].bound = 1;
    model->outputs[index].stale = 0;
    model->rebound = 1;
  }
  return tk_leave(model, code);
}

const void* tk_output_data(const tunekit_model* model, int32_t index) {
  if (index < 0 || index >= tk_outputs(model)) return NULL;
  return model->own.outputs[index].data;
}

/* Whether kernels cannot read an input where it is bound: it is not aligned as they expect, it is
 * smaller than they expect, or an output is to be written there. */
static int needs_copy(const tunekit_model* model, uint32_t index) {
  const tk_program* program = model->program;
  const unsigned char* data = model->inputs[index].data;
  size_t bytes = tk_input_now(model, index)->bytes;
  if ((uintptr_t)data % TK_ALIGNMENT || bytes != program->inputs[index].tensor.bytes) return 1;
  for (uint32_t i = 0; i < program->output_count; i++) {
    if (overlap(data, bytes, model->outputs[i].data, tk_output_now(model, i)->bytes)) return 1;
  }
  return 0;
}

/* Outputs that overlap would overwrite each other. */
static int check_apart(tunekit_model* model) {
  const tk_program* program = model->program;
  for (uint32_t i = 0; i < program->output_count; i++) {
    for (uint32_t j = 0; j < i; j++) {
      if (overlap(model->outputs[i].data, tk_output_now(model, i)->bytes, model->outputs[j].data,
                  tk_output_now(model, j)->bytes)) {
        return tk_fail(model->error, TUNEKIT_BAD_ARGUMENT,
                       "outputs %u and %u are bound to the same memory", (unsigned)j, (unsigned)i);
      }
    }
  }
  return TUNEKIT_OK;
}

static int not_bound(tunekit_model* model, const char* what, uint32_t index, const char* name,
                     const tk_binding* binding) {
  return tk_fail(model->error, TUNEKIT_NOT_BOUND, "%s %u (%s) is %s", what, (unsigned)index, name,
                 binding->stale ? "bound at another size: bind it again" : "not bound");
}

/* Points the tensors that are inputs or outputs to what is bound. */
int tk_apply_bindings(tunekit_model* model) {
  const tk_program* program = model->program;
  for (uint32_t i = 0; i < program->input_count; i++) {
    tk_binding* input = &model->inputs[i];
    if (!input->data || input->stale)
      return not_bound(model, "input", i, program->inputs[i].tensor.name, input);
    input->copied = (uint8_t)needs_copy(model, i);
  }
  for (uint32_t i = 0; i < program->output_count; i++) {
    tk_binding* output = &model->outputs[i];
    if (output->stale)
      return not_bound(model, "output", i, program->outputs[i].tensor.name, output);
    output->copied = !program->outputs[i].direct ||
                     tk_output_now(model, i)->bytes != program->outputs[i].tensor.bytes ||
                     (uintptr_t)output->data % TK_ALIGNMENT != 0;
  }
  if (check_apart(model) != TUNEKIT_OK) return TUNEKIT_BAD_ARGUMENT;
  for (uint32_t i = 0; i < program->tensor_count; i++) {
    const tk_tensor* from = &program->tensors[i];
    if (from->place == TK_INPUT) {
      const tk_binding* input = &model->inputs[from->offset];
      model->tensors[i].data =
          input->copied ? model->arena + program->inputs[from->offset].copy : input->data;
    } else if (from->place == TK_OUTPUT) {
      const tk_binding* output = &model->outputs[from->offset];
      model->tensors[i].data =
          output->copied ? model->arena + program->outputs[from->offset].own : output->data;
    }
  }
  model->rebound = 0;
  return TUNEKIT_OK;
}

void tk_copy_inputs(tunekit_model* model) {
  const tk_program* program = model->program;
  for (uint32_t i = 0; i < program->input_count; i++) {
    const tunekit_tensor *now = tk_input_now(model, i), *whole = &program->inputs[i].tensor;
    unsigned char* to = model->arena + program->inputs[i].copy;
    /* They are the same in the self test. */
    if (!model->inputs[i].copied || model->inputs[i].data == to) continue;
    if (now->bytes != whole->bytes) memset(to, 0, whole->bytes);
    tk_move_box(to, whole->shape, model->inputs[i].data, now->shape, whole->ndim, whole->bits / 8);
  }
}

void tk_copy_outputs(tunekit_model* model) {
  const tk_program* program = model->program;
  for (uint32_t i = 0; i < program->output_count; i++) {
    const tunekit_tensor *now = tk_output_now(model, i), *whole = &program->outputs[i].tensor;
    const unsigned char* from = model->tensors[program->outputs[i].from].data;
    if (!model->outputs[i].copied) continue;
    if (from == model->outputs[i].data && now->bytes == whole->bytes) continue;
    tk_move_box(model->outputs[i].data, now->shape, from, whole->shape, whole->ndim,
                whole->bits / 8);
  }
}
