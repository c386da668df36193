/* The detections of SSD. */
#ifndef TUNEKIT_SSD_H
#define TUNEKIT_SSD_H

#include "boxes.h"
#include "candidates.h"

typedef struct {
  int32_t levels, anchors_in_all;
  const tkx_level *logits, *deltas;
  const float* const* anchors;
  int32_t topk;    /* how many boxes of a label are looked at */
  float threshold; /* of the probability */
  tkx_coder coder;
  float* probabilities;    /* [tasks][classes rounded up to 8] */
  uint32_t* keys;          /* [classes][anchors in all]; 0 of those below the threshold */
  uint32_t *order, *spare; /* [classes][anchors in all] */
} tkx_ssd;

/* Rates a share of the anchors. */
void tkx_rate_anchors(const tkx_ssd* ssd, int32_t task, int32_t tasks);

/* Fills the part of a label but the background, with the best boxes of it. */
void tkx_pick_label(const tkx_ssd* ssd, int32_t label, const tkx_candidates* all);

#endif
