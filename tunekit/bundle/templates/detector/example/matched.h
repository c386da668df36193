/* Whether two runs of a detector found the same: rows are matched, not compared by their places, as
 * two that score nearly alike may change places, and a score at its threshold may be above it in
 * one run and below it in the other. */
#ifndef MATCHED_H
#define MATCHED_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tunekit.h"

/* Of a box with its partner; a box of a few pixels may be off by a part of one. */
#define LEAST_OVERLAP 0.99
#define SMALL_PIXELS 0.05
#define MOST_SCORE 1e-3
/* Pixels of a mask on the other side of one half: so many, or this share. */
#define MASK_PIXELS 2
#define MASK_SHARE 0.01
/* Without a partner, of those that were expected; one is always excused. */
#define EXCUSED_SHARE 0.02

typedef struct {
  const float *boxes, *scores, *masks; /* rows of 4, of 1, of mask_pixels; masks may be NULL */
  const int64_t* labels;
  size_t mask_pixels;
  int count, limit;
} detector_rows;

/* The outputs by their names; 0 where one is missing. */
static inline int read_rows(const tunekit_tensor* const* tensors, void* const* outputs,
                            int32_t count, detector_rows* rows) {
  const int32_t* found = NULL;
  memset(rows, 0, sizeof *rows);
  for (int32_t i = 0; i < count; i++) {
    const tunekit_tensor* tensor = tensors[i];
    if (strcmp(tensor->name, "boxes") == 0) rows->boxes = outputs[i];
    if (strcmp(tensor->name, "scores") == 0) {
      rows->scores = outputs[i];
      rows->limit = (int)tensor->shape[0];
    }
    if (strcmp(tensor->name, "labels") == 0) rows->labels = outputs[i];
    if (strcmp(tensor->name, "count") == 0) found = outputs[i];
    if (strcmp(tensor->name, "masks") == 0 && tensor->code == 2 && tensor->bits == 32) {
      rows->masks = outputs[i];
      rows->mask_pixels = tensor->bytes / sizeof(float) / (size_t)tensor->shape[0];
    }
  }
  if (found) rows->count = *found;
  return rows->boxes && rows->scores && rows->labels && found && rows->count >= 0 &&
         rows->count <= rows->limit;
}

static inline int same_box(const float* one, const float* other) {
  double common = 1, areas[2] = {1, 1}, moved = 0;
  for (int axis = 0; axis < 2; axis++) {
    double low = fmax((double)one[axis], (double)other[axis]);
    double high = fmin((double)one[axis + 2], (double)other[axis + 2]);
    common *= fmax(high - low, 0);
    areas[0] *= (double)one[axis + 2] - (double)one[axis];
    areas[1] *= (double)other[axis + 2] - (double)other[axis];
  }
  for (int i = 0; i < 4; i++) moved = fmax(moved, fabs((double)one[i] - (double)other[i]));
  return common >= LEAST_OVERLAP * (areas[0] + areas[1] - common) || moved <= SMALL_PIXELS;
}

static inline int same_mask(const float* one, const float* other, size_t pixels) {
  size_t apart = 0, either = 0;
  for (size_t i = 0; i < pixels; i++) {
    int inside = one[i] > 0.5f, also = other[i] > 0.5f;
    apart += inside != also;
    either += inside || also;
  }
  return apart <= MASK_PIXELS || (double)apart <= MASK_SHARE * (double)either;
}

static inline int same_row(const detector_rows* expected, int row, const detector_rows* given,
                           int other) {
  double score = fabs((double)expected->scores[row] - (double)given->scores[other]);
  return expected->labels[row] == given->labels[other] && score <= MOST_SCORE &&
         same_box(expected->boxes + 4 * row, given->boxes + 4 * other) &&
         (!expected->masks ||
          same_mask(expected->masks + expected->mask_pixels * (size_t)row,
                    given->masks + given->mask_pixels * (size_t)other, expected->mask_pixels));
}

/* How many rows have a partner each; -1 where there is no memory. */
static inline int matched_rows(const detector_rows* expected, const detector_rows* given) {
  char* taken = calloc((size_t)given->count + 1, 1);
  int matched = taken ? 0 : -1;
  for (int row = 0; taken && row < expected->count; row++) {
    for (int other = 0; other < given->count; other++) {
      if (taken[other] || !same_row(expected, row, given, other)) continue;
      taken[other] = 1;
      matched++;
      break;
    }
  }
  free(taken);
  return matched;
}

/* Says how many match; 0 where those are enough, and something was to be found. */
static inline int check_rows(int sample, const detector_rows* expected,
                             const detector_rows* given) {
  int matched = matched_rows(expected, given);
  int most = expected->count > given->count ? expected->count : given->count;
  int excused = (int)(EXCUSED_SHARE * expected->count);
  int fits = expected->count > 0 && most - matched <= (excused > 1 ? excused : 1);
  printf("sample %d: %d of %d detections have a partner among %d%s\n", sample, matched,
         expected->count, given->count, fits ? "" : ": WRONG");
  return !fits;
}

#endif
