/* The masks of detections, small and in the picture. */
#ifndef TUNEKIT_MASKS_H
#define TUNEKIT_MASKS_H

#include <stdint.h>

/* A piece of what a head says of detections: [rows][channels / block][size][size][block]. */
typedef struct {
  const float* data;
  int32_t block;
} tkx_piece;

typedef struct {
  const tkx_piece* pieces;
  int32_t limit; /* how many detections there may be */
  int32_t channels, size;
} tkx_head;

/* Where a task begins that takes every so many: neighbours, which one thread runs, are far apart,
   since the first rows have most of the work. Tasks are a power of two. */
static inline int32_t tkx_first(int32_t task, int32_t tasks) {
  int32_t turned = 0;
  for (; tasks > 1; tasks >>= 1, task >>= 1) turned = turned << 1 | (task & 1);
  return turned;
}

/* A channel of a detection; its places lie `*apart` numbers apart. */
const float* tkx_channel(const tkx_head* head, int32_t count, int32_t detection, int32_t channel,
                         int32_t* apart);

/* Writes the mask of each detection's label, and zeros behind them; tasks share the detections. */
void tkx_select_masks(const tkx_head* head, const int64_t* labels, int32_t count, float* masks,
                      int32_t task, int32_t tasks);

typedef struct {
  const float *masks, *boxes; /* [limit][size][size], [limit][4] */
  int32_t limit, size, height, width;
  float* rows;      /* [tasks][size + 3] */
  int32_t* columns; /* [tasks][width] */
  float* weights;   /* [tasks][width] */
} tkx_pasting;

/* Writes each mask where its box is, and zeros elsewhere; tasks share the detections. */
void tkx_paste_masks(const tkx_pasting* pasting, int32_t count, float* pictures, int32_t task,
                     int32_t tasks);

#endif
