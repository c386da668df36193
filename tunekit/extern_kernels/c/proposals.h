/* The proposals of a region proposal network. */
#ifndef TUNEKIT_PROPOSALS_H
#define TUNEKIT_PROPOSALS_H

#include "boxes.h"
#include "candidates.h"

typedef struct {
  const tkx_level *objectness, *deltas;
  const float* const* anchors;
  int32_t pre_nms_top_n;
  float score_threshold, min_size;
  tkx_coder coder;
  uint32_t *keys, *indices, *spare; /* for all anchors of all levels, one after another */
} tkx_proposals;

/* Fills the level's part of the candidates with its best boxes. */
void tkx_propose(const tkx_proposals* from, int32_t level, const tkx_candidates* all);

#endif
