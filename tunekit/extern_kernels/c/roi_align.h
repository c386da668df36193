/* RoIAlign on the levels of a feature pyramid, whose channels lie in blocks of eight or more.

   Where each box is read is found first. Then a task takes some channels, and reads them for all
   boxes: these channels of all levels fit into a cache, which all channels of one box would only
   pass through. */
#ifndef TUNEKIT_ROI_ALIGN_H
#define TUNEKIT_ROI_ALIGN_H

#include <stdint.h>

enum { TKX_MOST_BINS = 32, TKX_MOST_RATIO = 4 };

typedef struct {
  const float* data; /* [channels / block][height][width][block] */
  int32_t height, width, block;
  float scale; /* its pixels for one of the picture */
} tkx_map;

typedef struct {
  const tkx_map* maps;
  int32_t levels, channels;
  int32_t together;         /* channels that a task takes at once: 8 or 16 */
  int32_t bins, ratio;      /* of each direction; points of each bin */
  int32_t finest, coarsest; /* what the first and the last level are called */
  int32_t canonical_level;  /* the level of boxes of the canonical scale */
  float canonical_scale;
} tkx_pyramid;

/* Where boxes are read: pixels of the level and their weights, of both directions, y first. */
typedef struct {
  int32_t* level;          /* [rows]; -1 where there is none */
  int32_t* taps;           /* [rows][2], how many pixels each bin reads */
  int32_t* offsets;        /* [rows][2][bins][2 * ratio] */
  float* weights;          /* [rows][2][bins][2 * ratio] */
  uint32_t* keys;          /* [rows], where in the pyramid a box lies */
  uint32_t *order, *spare; /* [rows] */
} tkx_readings;

/* Where pooled boxes go: [rows][channels / block][bins][bins][block]. */
typedef struct {
  float* data;
  int32_t rows, block;
} tkx_rois;

/* Copies a plain map, or one in other blocks, into blocks of eight; tasks share the rows. */
void tkx_block_by_eight(const tkx_map* from, int32_t channels, float* to, int32_t task,
                        int32_t tasks);

/* Finds where boxes are read; tasks share them. */
void tkx_read_boxes(const tkx_pyramid* pyramid, const float* boxes, int32_t count,
                    const tkx_readings* readings, int32_t task, int32_t tasks);

/* Puts boxes next to each other that lie so. */
void tkx_order_boxes(const tkx_readings* readings, int32_t count);

/* Pools `count` boxes into their rows, and zeros into the others; tasks share the channels. */
void tkx_pool(const tkx_pyramid* pyramid, const tkx_readings* readings, int32_t count,
              const tkx_rois* rois, int32_t task, int32_t tasks);

#endif
