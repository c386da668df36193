/* The detections of YOLO's heads. */
#ifndef TUNEKIT_YOLO_H
#define TUNEKIT_YOLO_H

#include "candidates.h"

/* Fills a part of the candidates with the likely ones of an equal part of `count` boxes, which
   are given as [4 + classes][count]: centre, width and height, and probabilities. */
void tkx_pick_boxes(const float* predictions, int32_t classes, int32_t count, float threshold,
                    int32_t part, const tkx_candidates* all);

#endif
