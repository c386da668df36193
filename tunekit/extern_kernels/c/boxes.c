#include "boxes.h"

#include <math.h>

void tkx_values(const tkx_level* level, int32_t anchor, float values[4]) {
  int32_t place = anchor / level->anchors, one = anchor % level->anchors;
  for (int32_t i = 0; i < 4; i++) values[i] = *tkx_at(level, place, one, i);
}

/* One side of a box and the other: each step is rounded as torch rounds it. */
static void decode_axis(float delta, float change, float clip, float from, float to, float most,
                        float* low, float* high) {
  float size = to - from, centre = from + 0.5f * size;
  float moved = delta * size + centre;
  float half = 0.5f * (expf(change > clip ? clip : change) * size);
  *low = tkx_clipped(moved - half, most);
  *high = tkx_clipped(moved + half, most);
}

void tkx_decode(const tkx_coder* coder, const float deltas[4], const float anchor[4],
                float box[4]) {
  const float* weights = coder->weights;
  decode_axis(deltas[0] / weights[0], deltas[2] / weights[2], coder->clip, anchor[0], anchor[2],
              coder->width, &box[0], &box[2]);
  decode_axis(deltas[1] / weights[1], deltas[3] / weights[3], coder->clip, anchor[1], anchor[3],
              coder->height, &box[1], &box[3]);
}
