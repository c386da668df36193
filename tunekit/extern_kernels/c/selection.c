#include "selection.h"

enum { BYTES = 4, VALUES = 256 };

/* By the digits of the inverted keys, from the last one on, each pass keeping the order of equal
   digits. */
void tkx_sort(const uint32_t* keys, uint32_t* indices, uint32_t* spare, int32_t count) {
  int32_t starts[BYTES][VALUES] = {{0}};
  uint32_t *from = indices, *to = spare;
  for (int32_t i = 0; i < count; i++) {
    uint32_t key = ~keys[indices[i]];
    for (int byte = 0; byte < BYTES; byte++) starts[byte][key >> (8 * byte) & 255]++;
  }
  for (int byte = 0; byte < BYTES; byte++) {
    int32_t *start = starts[byte], sum = 0, one_value = 0;
    for (int value = 0; value < VALUES; value++) {
      int32_t number = start[value];
      one_value |= number == count;
      start[value] = sum;
      sum += number;
    }
    if (one_value) continue;
    for (int32_t i = 0; i < count; i++) {
      uint32_t index = from[i];
      to[start[~keys[index] >> (8 * byte) & 255]++] = index;
    }
    uint32_t* other = from;
    from = to;
    to = other;
  }
  if (from != indices) memcpy(indices, from, (size_t)count * sizeof *indices);
}

/* Narrows down which key is the last to be taken, digit by digit from the first one on: what is
   above its digit is taken, what is in it is looked at again. */
int32_t tkx_select(const uint32_t* keys, int32_t count, int32_t most, uint32_t* indices,
                   uint32_t* spare) {
  static const struct {
    int shift, values;
  } digits[] = {{21, 2048}, {10, 2048}, {0, 1024}};
  uint32_t last = 0;
  int32_t left = most, candidates = count;
  if (count <= most) {
    for (int32_t i = 0; i < count; i++) indices[i] = (uint32_t)i;
    tkx_sort(keys, indices, spare, count);
    return count;
  }
  if (most <= 0) return 0;
  for (int digit = 0; digit < 3; digit++) {
    int32_t numbers[2048] = {0}, kept = 0;
    int shift = digits[digit].shift, value = digits[digit].values;
    uint32_t mask = (uint32_t)value - 1;
    if (digit == 0)
      for (int32_t i = 0; i < count; i++) numbers[keys[i] >> shift & mask]++;
    else
      for (int32_t i = 0; i < candidates; i++) numbers[keys[spare[i]] >> shift & mask]++;
    while (numbers[--value] < left) left -= numbers[value];
    last |= (uint32_t)value << shift;
    for (int32_t i = 0; i < candidates; i++) {
      uint32_t index = digit == 0 ? (uint32_t)i : spare[i];
      spare[kept] = index;
      kept += (keys[index] >> shift) == (last >> shift);
    }
    candidates = kept;
  }
  int32_t taken = 0;
  for (int32_t i = 0; i < count && taken < most; i++) {
    /* Of those that are equal to the last one, the first ones. */
    int equal = keys[i] == last, takes = keys[i] > last || (equal && left > 0);
    indices[taken] = (uint32_t)i;
    taken += takes;
    left -= equal;
  }
  tkx_sort(keys, indices, spare, taken);
  return taken;
}
