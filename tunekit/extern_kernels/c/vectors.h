/* Eight numbers at once, by the vectors of GCC and Clang: one source for every CPU. */
#ifndef TUNEKIT_VECTORS_H
#define TUNEKIT_VECTORS_H

#include <stdint.h>
#include <string.h>

/* Nothing here is called across objects, so no ABI can change. */
#if defined(__clang__)
#if __has_warning("-Wpsabi")
#pragma clang diagnostic ignored "-Wpsabi"
#endif
#else
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

enum { TKX_LANES = 8 };

typedef float tkx_floats __attribute__((vector_size(32)));
typedef int32_t tkx_ints __attribute__((vector_size(32)));

#if defined(__clang__) || __GNUC__ >= 12
#define TKX_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TKX_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (tkx_ints){__VA_ARGS__})
#endif

static inline tkx_floats tkx_load(const float* from) {
  tkx_floats value;
  memcpy(&value, from, sizeof value);
  return value;
}

static inline void tkx_store(float* to, tkx_floats value) { memcpy(to, &value, sizeof value); }

/* The first numbers of eight, and zeros. */
static inline tkx_floats tkx_load_some(const float* from, int32_t count) {
  float some[TKX_LANES] = {0};
  memcpy(some, from, (size_t)(count < TKX_LANES ? count : TKX_LANES) * sizeof *some);
  return tkx_load(some);
}

static inline tkx_floats tkx_same(float value) {
  return (tkx_floats){value, value, value, value, value, value, value, value};
}

static inline tkx_floats tkx_where(tkx_ints mask, tkx_floats yes, tkx_floats no) {
  return (tkx_floats)(((tkx_ints)yes & mask) | ((tkx_ints)no & ~mask));
}

static inline int tkx_any(tkx_ints mask) {
  uint64_t parts[4];
  memcpy(parts, &mask, sizeof parts);
  return (parts[0] | parts[1] | parts[2] | parts[3]) != 0;
}

/* As C++ has them: where nothing is greater or less, such as NaN, the first. */
static inline tkx_floats tkx_greater(tkx_floats a, tkx_floats b) { return tkx_where(a < b, b, a); }
static inline tkx_floats tkx_less(tkx_floats a, tkx_floats b) { return tkx_where(b < a, b, a); }

/* The exponential function, to two units in the last place; zero below the least normal number. */
static inline tkx_floats tkx_exp(tkx_floats x) {
  tkx_floats high = tkx_same(88.72283f), low = tkx_same(-87.33654f);
  tkx_ints over = x > high, under = x < low, number = x == x;
  tkx_floats inside = tkx_where(over, high, tkx_where(under, low, x));
  inside = tkx_where(number, inside, tkx_same(0.0f));
  /* x = n ln 2 + r; adding 1.5 * 2^23 rounds n to a whole number. */
  tkx_floats shifted = inside * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
  tkx_floats r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;
  tkx_floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  /* 2^n in two factors, since n may be 128. */
  tkx_ints whole = __builtin_convertvector(n, tkx_ints), half = whole >> 1;
  tkx_floats first = (tkx_floats)((half + 127) << 23);
  tkx_floats second = (tkx_floats)((whole - half + 127) << 23);
  tkx_floats result = p * first * second;
  result = tkx_where(over, tkx_same(__builtin_inff()), tkx_where(under, tkx_same(0.0f), result));
  return tkx_where(number, result, x);
}

static inline tkx_floats tkx_sigmoid(tkx_floats x) { return 1.0f / (1.0f + tkx_exp(-x)); }

#endif
