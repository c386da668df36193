#include "keypoints.h"

#include <math.h>

#include "vectors.h"

enum { TAPS = 4 };

/* The greatest number so far, and where it is; of equal ones, the first by rows. */
typedef struct {
  float score;
  int32_t x, y;
} peak;

/* Which four of `from` numbers make an element of `to` numbers, and their weights: torch's cubic
   interpolation. */
static void cubic(int32_t at, int32_t from, int32_t to, int32_t numbers[TAPS],
                  float weights[TAPS]) {
  const float a = -0.75f;
  float scale = (float)from / (float)to, place = scale * ((float)at + 0.5f) - 0.5f;
  float low = floorf(place), t = place - low, u = 1.0f - t, t1 = t + 1.0f, u1 = u + 1.0f;
  weights[0] = ((a * t1 - 5.0f * a) * t1 + 8.0f * a) * t1 - 4.0f * a;
  weights[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
  weights[2] = ((a + 2.0f) * u - (a + 3.0f)) * u * u + 1.0f;
  weights[3] = ((a * u1 - 5.0f * a) * u1 + 8.0f * a) * u1 - 4.0f * a;
  for (int32_t i = 0; i < TAPS; i++) {
    int32_t number = (int32_t)low - 1 + i;
    numbers[i] = number < 0 ? 0 : number >= from ? from - 1 : number;
  }
}

/* Columns of a heatmap in the width of a box. */
static void widen(const float* heat, int32_t size, int32_t block, int32_t first, int32_t columns,
                  int32_t width, float* strip) {
  for (int32_t x = 0; x < TKX_STRIP; x++) {
    int32_t from[TAPS];
    float weights[TAPS];
    /* Those behind the last one repeat it. */
    cubic(first + (x < columns ? x : columns - 1), size, width, from, weights);
    for (int32_t y = 0; y < size; y++) {
      const float* row = heat + (int64_t)y * size * block;
      float sum = weights[0] * row[from[0] * block];
      for (int32_t i = 1; i < TAPS; i++) sum += weights[i] * row[from[i] * block];
      strip[y * TKX_STRIP + x] = sum;
    }
  }
}

/* Looks for a peak in a row of the box, which four rows of the strip make. */
static void climb(const float* const rows[TAPS], const float weights[TAPS], int32_t first,
                  int32_t columns, int32_t y, peak* best) {
  for (int32_t x = 0; x < columns; x += TKX_LANES) {
    float some[TKX_LANES];
    tkx_floats sum = weights[0] * tkx_load(rows[0] + x);
    for (int32_t i = 1; i < TAPS; i++) sum += weights[i] * tkx_load(rows[i] + x);
    if (!tkx_any(sum >= best->score)) continue;
    tkx_store(some, sum);
    for (int32_t lane = 0; lane < TKX_LANES && x + lane < columns; lane++) {
      int earlier = y < best->y || (y == best->y && first + x + lane < best->x);
      if (some[lane] > best->score || (some[lane] == best->score && earlier))
        *best = (peak){some[lane], first + x + lane, y};
    }
  }
}

static peak find_peak(const float* heat, int32_t size, int32_t block, int32_t width, int32_t height,
                      float* strip) {
  peak best = {-INFINITY, 0, 0};
  for (int32_t first = 0; first < width; first += TKX_STRIP) {
    int32_t columns = width - first < TKX_STRIP ? width - first : TKX_STRIP;
    widen(heat, size, block, first, columns, width, strip);
    for (int32_t y = 0; y < height; y++) {
      int32_t from[TAPS];
      float weights[TAPS];
      const float* rows[TAPS];
      cubic(y, size, height, from, weights);
      for (int32_t i = 0; i < TAPS; i++) rows[i] = strip + from[i] * TKX_STRIP;
      climb(rows, weights, first, columns, y, &best);
    }
  }
  return best;
}

/* A size in whole pixels, at least one. */
static float at_least_one(float size) { return size > 1.0f ? size : 1.0f; }

void tkx_find_keypoints(const tkx_head* head, const float* boxes, int32_t count, float* places,
                        float* scores, float* strips, int32_t task, int32_t tasks) {
  float* strip = strips + (int64_t)task * head->size * TKX_STRIP;
  for (int32_t i = tkx_first(task, tasks); i < head->limit; i += tasks) {
    const float* box = boxes + 4 * (int64_t)i;
    float width = at_least_one(box[2] - box[0]), height = at_least_one(box[3] - box[1]);
    int32_t across = (int32_t)ceilf(width), down = (int32_t)ceilf(height);
    for (int32_t channel = 0; channel < head->channels; channel++) {
      int32_t at = i * head->channels + channel, apart;
      peak best = {0};
      if (i < count) {
        const float* heat = tkx_channel(head, count, i, channel, &apart);
        best = find_peak(heat, head->size, apart, across, down, strip);
      }
      places[3 * at] = i < count ? ((float)best.x + 0.5f) * (width / (float)across) + box[0] : 0;
      places[3 * at + 1] = i < count ? ((float)best.y + 0.5f) * (height / (float)down) + box[1] : 0;
      places[3 * at + 2] = i < count;
      scores[at] = best.score;
    }
  }
}
