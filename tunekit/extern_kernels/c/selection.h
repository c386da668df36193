/* The best of many, by keys that are ordered as their numbers are. */
#ifndef TUNEKIT_SELECTION_H
#define TUNEKIT_SELECTION_H

#include <stdint.h>
#include <string.h>

/* A number's place in the order of all; NaN is above all, and zeros are equal. Never 0. */
static inline uint32_t tkx_key(float number) {
  uint32_t bits;
  number += 0.0f; /* makes of a negative zero a positive one */
  memcpy(&bits, &number, sizeof bits);
  if (number != number) return 0xffffffffu;
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

/* The number of a key. */
static inline float tkx_number(uint32_t key) {
  uint32_t bits = key ^ (key >> 31 ? 0x80000000u : 0xffffffffu);
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

/* Sorts indices by their keys, the greatest first; of equal keys, the order stays.
   `spare` has as much room. */
void tkx_sort(const uint32_t* keys, uint32_t* indices, uint32_t* spare, int32_t count);

/* Writes the indices of the greatest keys, the greatest first, of equal ones the lower index
   first. `indices` and `spare` have room for all. Returns how many, at most `most`. */
int32_t tkx_select(const uint32_t* keys, int32_t count, int32_t most, uint32_t* indices,
                   uint32_t* spare);

#endif
