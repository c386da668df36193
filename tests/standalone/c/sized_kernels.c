/* Kernels as TVM writes them, of a model of several sizes: x[batch][width] and n[batch] in,
 *
 *     first  = x * w      straight to where it is bound
 *     second = n + 1      in a parallel loop
 *     third  = x          a copy of the input
 *     total  = the sum of all that the kernels see of x
 */
#include "model.h"

tk_launch_function __TVMBackendParallelLaunch;

typedef struct {
  const int64_t* n;
  int64_t* y;
  int64_t count;
} closure;

static tk_dltensor* tensor(const tk_any* arguments, int index) {
  return arguments[index].value.pointer;
}

static int64_t count(const tk_dltensor* of) {
  int64_t elements = 1;
  for (int i = 0; i < of->ndim; i++) elements *= of->shape[i];
  return elements;
}

int __tvm_ffi_scale(void* self, const tk_any* arguments, int32_t given, tk_any* result);
int __tvm_ffi_next(void* self, const tk_any* arguments, int32_t given, tk_any* result);
int __tvm_ffi_sum(void* self, const tk_any* arguments, int32_t given, tk_any* result);

int __tvm_ffi_scale(void* self, const tk_any* arguments, int32_t given, tk_any* result) {
  const float *x = tensor(arguments, 0)->data, *w = tensor(arguments, 1)->data;
  float* y = tensor(arguments, 2)->data;
  (void)self, (void)given, (void)result;
  for (int64_t i = 0; i < count(tensor(arguments, 0)); i++) y[i] = x[i] * w[0];
  return 0;
}

static int next_task(int task, tk_group* group, void* data) {
  const closure* c = data;
  for (int64_t i = task; i < c->count; i += group->num_task) c->y[i] = c->n[i] + 1;
  return 0;
}

int __tvm_ffi_next(void* self, const tk_any* arguments, int32_t given, tk_any* result) {
  const tk_dltensor* n = tensor(arguments, 0);
  closure c = {n->data, tensor(arguments, 1)->data, count(n)};
  (void)self, (void)given, (void)result;
  return __TVMBackendParallelLaunch(next_task, &c, 0);
}

int __tvm_ffi_sum(void* self, const tk_any* arguments, int32_t given, tk_any* result) {
  const float* x = tensor(arguments, 0)->data;
  float* y = tensor(arguments, 1)->data;
  (void)self, (void)given, (void)result;
  y[0] = 0;
  for (int64_t i = 0; i < count(tensor(arguments, 0)); i++) y[0] += x[i];
  return 0;
}
