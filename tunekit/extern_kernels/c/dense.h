/* The detections of heads that look at every place of every level: RetinaNet and FCOS. */
#ifndef TUNEKIT_DENSE_H
#define TUNEKIT_DENSE_H

#include "boxes.h"
#include "candidates.h"

typedef struct {
  int32_t levels;
  const tkx_level *logits, *deltas, *centers; /* without centers, a score is a sigmoid */
  const float* const* anchors;
  int32_t topk;    /* how many boxes of a level are looked at */
  float threshold; /* of the score */
  float least;     /* a logit that is not greater has no such score */
  int32_t shares;  /* into how many shares a level is cut */
  int32_t linear;  /* deltas are distances to the sides: 1 in pixels, 2 in sizes */
  tkx_coder coder;
  /* Of each share, [levels * shares] and [levels * shares][room]. */
  int32_t room; /* more than topk */
  int32_t* counts;
  uint32_t *keys, *indices; /* by which they are ordered; where they are among all of a level */
  uint32_t *order, *spare;  /* [levels][shares * room], [levels][shares * room] */
} tkx_dense;

/* Looks for the best of a share of a level; tasks are levels times shares. */
void tkx_scan(const tkx_dense* dense, int32_t task);

/* Fills the level's part of the candidates with the best of all shares. */
void tkx_gather(const tkx_dense* dense, int32_t level, const tkx_candidates* all);

#endif
