/* How detections are cut into pieces that a head computes: of eight, and of two for the rest.
   `chunks.py` of the operators is the same in Python. */
#ifndef TUNEKIT_CHUNKS_H
#define TUNEKIT_CHUNKS_H

#include <stdint.h>

enum { TKX_EIGHT = 8, TKX_TWO = 2, TKX_MOST_TWOS = 3 };

/* How many pieces of eight up to `limit` detections may need. */
static inline int32_t tkx_most_eights(int32_t limit) { return (limit + 1) / TKX_EIGHT; }

/* How many pieces of eight detections need: at most one place of all pieces stays empty. */
static inline int32_t tkx_eights(int32_t count) {
  return count / TKX_EIGHT + (count % TKX_EIGHT > TKX_TWO * TKX_MOST_TWOS);
}

/* The first detection of a piece, and how many it holds: none where it is not needed. */
static inline int32_t tkx_chunk(int32_t limit, int32_t count, int32_t chunk, int32_t* held) {
  int32_t small = chunk - tkx_most_eights(limit), eights = tkx_eights(count);
  int32_t start = small < 0 ? TKX_EIGHT * chunk : TKX_EIGHT * eights + TKX_TWO * small;
  int32_t rows = small < 0 ? TKX_EIGHT : TKX_TWO, left = count - start;
  *held = left < 0 || (small < 0 && chunk >= eights) ? 0 : left < rows ? left : rows;
  return start;
}

/* The piece that holds a detection, and its row there. */
static inline int32_t tkx_chunk_of(int32_t limit, int32_t count, int32_t detection, int32_t* row) {
  int32_t rest = detection - TKX_EIGHT * tkx_eights(count);
  if (rest < 0) {
    *row = detection % TKX_EIGHT;
    return detection / TKX_EIGHT;
  }
  *row = rest % TKX_TWO;
  return tkx_most_eights(limit) + rest / TKX_TWO;
}

#endif
