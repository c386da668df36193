/* The detections that the box head of an R-CNN makes of proposals. */
#ifndef TUNEKIT_BOX_HEAD_H
#define TUNEKIT_BOX_HEAD_H

#include "boxes.h"
#include "candidates.h"

typedef struct {
  const float *logits, *deltas, *proposals; /* [rows][classes], [rows][classes][4], [rows][4] */
  const int32_t* count;                     /* of the rows that are proposals */
  int32_t rows, classes;
  float score_threshold, min_size;
  tkx_coder coder;
  float* exponentials; /* [parts][classes rounded up to 8] */
} tkx_box_head;

/* Fills a part of the candidates with the likely boxes of an equal part of the proposals. */
void tkx_rate_boxes(const tkx_box_head* head, int32_t part, const tkx_candidates* all);

#endif
