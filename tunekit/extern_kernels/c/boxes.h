/* Boxes as numbers of pixels: two corners, x before y. */
#ifndef TUNEKIT_BOXES_H
#define TUNEKIT_BOXES_H

#include <stdint.h>

/* How boxes are made of anchors. */
typedef struct {
  float weights[4];    /* what deltas are divided by */
  float clip;          /* the greatest logarithm of a change of size */
  float height, width; /* of the picture, which boxes are clipped to */
} tkx_coder;

/* A level's tensor of (1, anchors * values, height, width), in blocks of channels. */
typedef struct {
  const float* data;
  int32_t anchors, values, height, width, block;
} tkx_level;

/* Where a value of an anchor is; anchors are counted by place first. */
static inline const float* tkx_at(const tkx_level* level, int32_t place, int32_t anchor,
                                  int32_t value) {
  int32_t channel = anchor * level->values + value, block = level->block;
  int32_t places = level->height * level->width;
  return level->data + ((int64_t)(channel / block) * places + place) * block + channel % block;
}

static inline int32_t tkx_anchors(const tkx_level* level) {
  return level->height * level->width * level->anchors;
}

/* NaN stays. */
static inline float tkx_clipped(float value, float most) {
  return value < 0.0f ? 0.0f : value > most ? most : value;
}

/* The four values of a level for an anchor. */
void tkx_values(const tkx_level* level, int32_t anchor, float values[4]);

/* The box that deltas make of an anchor, clipped to the picture. */
void tkx_decode(const tkx_coder* coder, const float deltas[4], const float anchor[4], float box[4]);

#endif
