#include "numbers.h"

#include <string.h>

/* A hash whose every bit depends on all of the number's: the finalizer of MurmurHash3. */
static uint32_t mixed(uint32_t value) {
  value ^= value >> 16;
  value *= 0x85ebca6bu;
  value ^= value >> 13;
  value *= 0xc2b2ae35u;
  return value ^ value >> 16;
}

double tk_sample(uint32_t input, uint64_t element, int code, double low, double high) {
  uint32_t number = mixed((uint32_t)element + mixed(input + 1));
  if (code == TK_FLOAT || code == TK_BFLOAT)
    return low + (high - low) * ((number >> 8) / 16777216.0);
  return low + (double)(uint64_t)((number / 4294967296.0) * (high - low + 1.0));
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The upper half of a float32, to the nearest, to even. */
static uint16_t to_bfloat(float value) {
  uint32_t bits = bits_of(value);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static double power_of_two(int exponent) {
  double power = 1.0;
  for (; exponent > 0; exponent--) power *= 2.0;
  for (; exponent < 0; exponent++) power *= 0.5;
  return power;
}

static double from_half(uint16_t half) {
  double sign = half >> 15 ? -1.0 : 1.0;
  int exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 31)
    return fraction ? (double)float_of(0x7fc00000u) : sign * (double)float_of(0x7f800000u);
  if (exponent == 0) return sign * fraction * power_of_two(-24);
  return sign * (1024 + fraction) * power_of_two(exponent - 25);
}

/* The nearest half, to even. */
static uint16_t to_half(float value) {
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00);
  if (magnitude < 0x38800000u) {
    /* Adding a half makes the float's unit that of a denormal half, rounded as floats are. */
    return (uint16_t)(sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f)));
  }
  magnitude += 0xfff + (magnitude >> 13 & 1);
  return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

void tk_write_number(void* data, size_t element, int code, int bits, double value) {
  unsigned char* to = (unsigned char*)data + element * (size_t)(bits / 8);
  float real = (float)value;
  uint16_t half;
  if (code == TK_FLOAT && bits == 64) {
    memcpy(to, &value, 8);
  } else if (code == TK_FLOAT && bits == 32) {
    memcpy(to, &real, 4);
  } else if (code == TK_FLOAT || code == TK_BFLOAT) {
    half = code == TK_FLOAT ? to_half(real) : to_bfloat(real);
    memcpy(to, &half, 2);
  } else {
    /* The low bytes of a little-endian number. */
    uint64_t whole = value < 0 ? (uint64_t)(int64_t)value : (uint64_t)value;
    memcpy(to, &whole, (size_t)(bits / 8));
  }
}

double tk_read_number(const void* data, size_t element, int code, int bits) {
  const unsigned char* from = (const unsigned char*)data + element * (size_t)(bits / 8);
  uint64_t whole = 0;
  double value;
  memcpy(&whole, from, (size_t)(bits / 8));
  if (code == TK_FLOAT && bits == 64) {
    memcpy(&value, from, 8);
    return value;
  }
  if (code == TK_FLOAT && bits == 32) return float_of((uint32_t)whole);
  if (code == TK_FLOAT) return from_half((uint16_t)whole);
  if (code == TK_BFLOAT) return float_of((uint32_t)whole << 16);
  if (code == TK_INT && bits < 64 && whole >> (bits - 1)) whole |= ~(uint64_t)0 << bits;
  return code == TK_INT ? (double)(int64_t)whole : (double)whole;
}
