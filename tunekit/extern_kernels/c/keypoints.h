/* The keypoints of detections. */
#ifndef TUNEKIT_KEYPOINTS_H
#define TUNEKIT_KEYPOINTS_H

#include "masks.h"

/* How many columns of an enlarged heatmap are made at once. */
enum { TKX_STRIP = 64 };

/* Writes where the heatmap of each keypoint of each detection is greatest, and zeros behind them:
   [limit][channels][3] and [limit][channels]; tasks share the detections. Each task has a part of
   `strips`, [tasks][size][TKX_STRIP]. */
void tkx_find_keypoints(const tkx_head* head, const float* boxes, int32_t count, float* places,
                        float* scores, float* strips, int32_t task, int32_t tasks);

#endif
