#include "sorting.h"

#include <string.h>

#include "selection.h"

static uint64_t key_of_double(double number) {
  uint64_t bits;
  number += 0.0; /* makes of a negative zero a positive one */
  memcpy(&bits, &number, sizeof bits);
  if (number != number) return UINT64_MAX;
  return bits ^ (bits >> 63 ? UINT64_MAX : (uint64_t)1 << 63);
}

/* By the lower halves, then, keeping their order, by the upper ones. */
static void sort_wide(const tkx_row* row) {
  for (int32_t i = 0; i < row->count; i++) row->indices[i] = (uint32_t)i;
  tkx_sort(row->low_keys, row->indices, row->spare, row->count);
  tkx_sort(row->keys, row->indices, row->spare, row->count);
}

#define RANK(name, type, key)                                                             \
  void tkx_rank_##name(const type* numbers, int descending, int32_t most,                 \
                       const tkx_row* row) {                                              \
    uint32_t flip = descending ? 0 : UINT32_MAX;                                          \
    for (int32_t i = 0; i < row->count; i++) {                                            \
      type number = numbers[i];                                                           \
      row->keys[i] = (key) ^ flip;                                                        \
    }                                                                                     \
    tkx_select(row->keys, row->count, most, row->indices, row->spare);                    \
  }

#define RANK_WIDE(name, type, key)                                                        \
  void tkx_rank_##name(const type* numbers, int descending, int32_t most,                 \
                       const tkx_row* row) {                                              \
    uint64_t flip = descending ? 0 : UINT64_MAX;                                          \
    (void)most;                                                                           \
    for (int32_t i = 0; i < row->count; i++) {                                            \
      type number = numbers[i];                                                           \
      uint64_t whole = (key) ^ flip;                                                      \
      row->keys[i] = (uint32_t)(whole >> 32);                                             \
      row->low_keys[i] = (uint32_t)whole;                                                 \
    }                                                                                     \
    sort_wide(row);                                                                       \
  }

#define ABOVE_ALL 0x80000000u

RANK(float32, float, tkx_key(number))
RANK(int8, int8_t, (uint32_t)(int32_t)number ^ ABOVE_ALL)
RANK(int16, int16_t, (uint32_t)(int32_t)number ^ ABOVE_ALL)
RANK(int32, int32_t, (uint32_t)number ^ ABOVE_ALL)
RANK(uint8, uint8_t, (uint32_t)number)
RANK(uint16, uint16_t, (uint32_t)number)
RANK(uint32, uint32_t, number)
RANK_WIDE(float64, double, key_of_double(number))
RANK_WIDE(int64, int64_t, (uint64_t)number ^ (uint64_t)1 << 63)
RANK_WIDE(uint64, uint64_t, number)
