/* How far an output is from what was expected; for C and C++. */
#ifndef RELATIVE_ERROR_H
#define RELATIVE_ERROR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline double half_as_double(uint16_t half) {
  int exponent = half >> 10 & 31, fraction = half & 1023;
  double value = exponent == 31
                     ? (fraction ? (double)NAN : (double)INFINITY)
                     : ldexp(exponent ? fraction + 1024 : fraction, exponent ? exponent - 25 : -24);
  return half >> 15 ? -value : value;
}

/* Element number index of data. Types as DLPack codes them: 0 int, 1 uint, 2 float, 4 bfloat,
 * 6 bool; bits is a whole number of bytes, the least significant first. */
static inline double element_as_double(int code, int bits, const void* data, size_t index) {
  const unsigned char* bytes = (const unsigned char*)data + index * (size_t)(bits / 8);
  uint64_t word = 0;
  for (int i = 0; i < bits / 8; i++) word |= (uint64_t)bytes[i] << 8 * i;
  if (code == 2 && bits == 16) return half_as_double((uint16_t)word);
  if (code == 4 || (code == 2 && bits == 32)) {
    uint32_t single = (uint32_t)(code == 4 ? word << 16 : word);
    float value;
    memcpy(&value, &single, sizeof value);
    return (double)value;
  }
  if (code == 2) {
    double value;
    memcpy(&value, &word, sizeof value);
    return value;
  }
  if (code == 0) { /* the sign, in all bits above */
    uint64_t sign = (uint64_t)1 << (bits - 1);
    return (double)(int64_t)((word ^ sign) - sign);
  }
  return (double)word;
}

/* The largest difference over the largest value expected; infinite where NaN or infinity stand
 * elsewhere. */
static inline double relative_error(int code, int bits, size_t count, const void* expected,
                                    const void* given) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < count; i++) {
    double right = element_as_double(code, bits, expected, i);
    double value = element_as_double(code, bits, given, i);
    if (isfinite(right) && isfinite(value)) {
      difference = fmax(difference, fabs(right - value));
      largest = fmax(largest, fabs(right));
    } else if (isnan(right) ? !isnan(value) : !(right == value)) {
      return (double)INFINITY;
    }
  }
  return difference > 0 ? difference / largest : 0;
}

#endif
