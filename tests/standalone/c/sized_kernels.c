/* Kernels as TVM writes them, of a model of several sizes: x[batch][width] and n[batch] in,
 *
 *     first  = x * w      straight to where it is bound
 *     second = n + 1
 *     third  = x          a copy of the input
 *     total  = the sum of all that the kernels see of x
 */
#include "model.h"

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

int __tvm_ffi_next(void* self, const tk_any* arguments, int32_t given, tk_any* result) {
  const int64_t* n = tensor(arguments, 0)->data;
  int64_t* y = tensor(arguments, 1)->data;
  (void)self, (void)given, (void)result;
  for (int64_t i = 0; i < count(tensor(arguments, 0)); i++) y[i] = n[i] + 1;
  return 0;
}

int __tvm_ffi_sum(void* self, const tk_any* arguments, int32_t given, tk_any* result) {
  const float* x = tensor(arguments, 0)->data;
  float* y = tensor(arguments, 1)->data;
  (void)self, (void)given, (void)result;
  y[0] = 0;
  for (int64_t i = 0; i < count(tensor(arguments, 0)); i++) y[0] += x[i];
  return 0;
}
