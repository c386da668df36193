/* Rows of numbers in order. NaN is above all numbers, and of equal ones the order stays. */
#ifndef TUNEKIT_SORTING_H
#define TUNEKIT_SORTING_H

#include <stdint.h>

/* What a row is sorted with: `count` keys each, of which numbers of 64 bits have a second one, of
   their lower half. */
typedef struct {
  int32_t count;
  uint32_t *keys, *low_keys;
  uint32_t *indices, *spare;
} tkx_row;

/* Each writes the indices of the `most` numbers that come first. */
void tkx_rank_float32(const float* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_float64(const double* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_int8(const int8_t* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_int16(const int16_t* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_int32(const int32_t* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_int64(const int64_t* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_uint8(const uint8_t* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_uint16(const uint16_t* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_uint32(const uint32_t* numbers, int descending, int32_t most, const tkx_row* row);
void tkx_rank_uint64(const uint64_t* numbers, int descending, int32_t most, const tkx_row* row);

#endif
