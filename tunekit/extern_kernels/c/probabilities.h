/* Probabilities of logits. */
#ifndef TUNEKIT_PROBABILITIES_H
#define TUNEKIT_PROBABILITIES_H

#include "vectors.h"

/* The softmax of numbers; `result` has room for a multiple of eight. */
static inline void tkx_softmax(const float* numbers, int32_t count, float* result) {
  int32_t whole = (count + TKX_LANES - 1) / TKX_LANES * TKX_LANES;
  float greatest = -__builtin_inff(), sum = 0.0f;
  for (int32_t i = 0; i < count; i++) {
    result[i] = numbers[i];
    /* NaN spreads by itself: what it is subtracted from is NaN. */
    greatest = numbers[i] > greatest || numbers[i] != numbers[i] ? numbers[i] : greatest;
  }
  for (int32_t i = count; i < whole; i++) result[i] = -__builtin_inff();
  for (int32_t i = 0; i < whole; i += TKX_LANES)
    tkx_store(result + i, tkx_exp(tkx_load(result + i) - greatest));
  for (int32_t i = 0; i < count; i++) sum += result[i];
  for (int32_t i = 0; i < count; i++) result[i] /= sum;
}

#endif
