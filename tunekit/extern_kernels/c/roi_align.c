#include "roi_align.h"

#include <math.h>

#include "selection.h"
#include "vectors.h"

/* Eight rows of eight numbers, turned. */
static inline void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  tkx_floats pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    tkx_floats even = tkx_load(from + i * from_stride),
               odd = tkx_load(from + (i + 1) * from_stride);
    pairs[i] = TKX_SHUFFLE(even, odd, 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = TKX_SHUFFLE(even, odd, 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; j++) {
      tkx_floats upper = pairs[i + j], lower = pairs[i + j + 2];
      fours[i + 2 * j] = TKX_SHUFFLE(upper, lower, 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * j + 1] = TKX_SHUFFLE(upper, lower, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; i++) {
    tkx_floats low = TKX_SHUFFLE(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    tkx_floats high = TKX_SHUFFLE(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    tkx_store(to + i * to_stride, low);
    tkx_store(to + (i + 4) * to_stride, high);
  }
}

void tkx_block_by_eight(const tkx_map* from, int32_t channels, float* to, int32_t task,
                        int32_t tasks) {
  int32_t width = from->width, block = from->block;
  int64_t places = (int64_t)from->height * width;
  for (int32_t first = 0; first < channels; first += TKX_LANES) {
    float* target = to + first * places;
    for (int32_t y = task; y < from->height; y += tasks) {
      int64_t i = (int64_t)y * width, end = i + width;
      if (block == 1 && channels - first >= TKX_LANES)
        for (; i + TKX_LANES <= end; i += TKX_LANES)
          transpose(from->data + first * places + i, places, target + i * TKX_LANES, TKX_LANES);
      for (; i < end; i++) {
        for (int32_t lane = 0; lane < TKX_LANES; lane++) {
          /* The lanes behind the last channel are of no meaning. */
          int32_t channel = first + lane < channels ? first + lane : first;
          const float* plane = from->data + channel / block * places * block + channel % block;
          target[i * TKX_LANES + lane] = plane[i * block];
        }
      }
    }
  }
}

/* The pixels of a direction: of each bin, as many as of any other. */
typedef struct {
  int32_t *count, *offsets;
  float* weights;
} axis;

/* Pixels that several points of a bin read are read once. */
static int32_t add_tap(int32_t* offsets, float* weights, int32_t count, int32_t offset,
                       float weight) {
  int32_t i = 0;
  while (i < count && offsets[i] != offset) i++;
  if (i == count) weights[i] = 0.0f;
  offsets[i] = offset;
  weights[i] += weight;
  return i == count ? count + 1 : count;
}

/* A point outside of the map adds nothing in torchvision: neither does it as a product of zero. */
static void find_taps(const tkx_pyramid* pyramid, float start, float end, int32_t extent,
                      int32_t stride, axis taps) {
  int32_t counts[TKX_MOST_BINS], room = 2 * pyramid->ratio;
  float length = end - start, share = 1.0f / (float)pyramid->ratio, bin_size;
  bin_size = (length < 1.0f ? 1.0f : length) / (float)pyramid->bins;
  *taps.count = 1;
  for (int32_t bin = 0; bin < pyramid->bins; bin++) {
    int32_t *offsets = taps.offsets + bin * room, count = 0;
    float* weights = taps.weights + bin * room;
    for (int32_t point = 0; point < pyramid->ratio; point++) {
      float inner = ((float)point + 0.5f) * bin_size / (float)pyramid->ratio;
      float at = start + (float)bin * bin_size + inner;
      if (!(at >= -1.0f && at <= (float)extent)) continue;
      if (at <= 0.0f) at = 0.0f;
      int32_t low = (int32_t)at, high = low + 1;
      if (low >= extent - 1) {
        low = high = extent - 1;
        at = (float)low;
      }
      float far = at - (float)low;
      count = add_tap(offsets, weights, count, low * stride, (1.0f - far) * share);
      count = add_tap(offsets, weights, count, high * stride, far * share);
    }
    counts[bin] = count;
    if (count > *taps.count) *taps.count = count;
  }
  for (int32_t bin = 0; bin < pyramid->bins; bin++) {
    for (int32_t i = counts[bin]; i < *taps.count; i++) {
      taps.offsets[bin * room + i] = i == 0 ? 0 : taps.offsets[bin * room + i - 1];
      taps.weights[bin * room + i] = 0.0f;
    }
  }
}

/* The level that a box is read from, as torchvision's LevelMapper has it; -1 if there is none. */
static int32_t level_of(const tkx_pyramid* pyramid, const float box[4]) {
  if (pyramid->levels == 1) return 0;
  float size = sqrtf((box[2] - box[0]) * (box[3] - box[1]));
  float level = (float)pyramid->canonical_level + log2f(size / pyramid->canonical_scale);
  level = floorf(level + 1e-6f);
  if (level != level) return -1;
  if (level < (float)pyramid->finest) return 0;
  if (level > (float)pyramid->coarsest) level = (float)pyramid->coarsest;
  return (int32_t)level - pyramid->finest;
}

static axis axis_of(const tkx_pyramid* pyramid, const tkx_readings* readings, int32_t row,
                    int32_t direction) {
  int32_t at = 2 * row + direction;
  int64_t first = (int64_t)at * pyramid->bins * 2 * pyramid->ratio;
  return (axis){readings->taps + at, readings->offsets + first, readings->weights + first};
}

void tkx_read_boxes(const tkx_pyramid* pyramid, const float* boxes, int32_t count,
                    const tkx_readings* readings, int32_t task, int32_t tasks) {
  for (int32_t i = task; i < count; i += tasks) {
    const float* box = boxes + 4 * (int64_t)i;
    int32_t level = level_of(pyramid, box);
    const tkx_map* map = &pyramid->maps[level < 0 ? 0 : level];
    readings->level[i] = level;
    readings->keys[i] = 0;
    if (level < 0) continue;
    find_taps(pyramid, box[1] * map->scale, box[3] * map->scale, map->height,
              map->width * map->block, axis_of(pyramid, readings, i, 0));
    find_taps(pyramid, box[0] * map->scale, box[2] * map->scale, map->width, map->block,
              axis_of(pyramid, readings, i, 1));
    /* By level, then by row. */
    readings->keys[i] = (uint32_t)level << 28 | (tkx_key(box[1]) >> 4);
  }
}

void tkx_order_boxes(const tkx_readings* readings, int32_t count) {
  for (int32_t i = 0; i < count; i++) readings->order[i] = (uint32_t)i;
  tkx_sort(readings->keys, readings->order, readings->spare, count);
}

/* Eight channels of a box: the mean of each bin's points, which is a sum over rows of sums over
   columns. `columns` is a constant wherever it matters. */
static inline __attribute__((always_inline)) void pool(const float* map, axis y, axis x,
                                                       int32_t bins, int32_t room, int32_t columns,
                                                       int32_t stride, float* out) {
  int32_t rows = *y.count;
  for (int32_t bin_y = 0; bin_y < bins; bin_y++) {
    const int32_t* down = y.offsets + bin_y * room;
    const float* heights = y.weights + bin_y * room;
    for (int32_t bin_x = 0; bin_x < bins; bin_x++) {
      const int32_t* across = x.offsets + bin_x * room;
      const float* widths = x.weights + bin_x * room;
      tkx_floats sum = tkx_same(0.0f);
      for (int32_t i = 0; i < rows; i++) {
        const float* row = map + down[i];
        tkx_floats part = widths[0] * tkx_load(row + across[0]);
        for (int32_t j = 1; j < columns; j++) part += widths[j] * tkx_load(row + across[j]);
        sum += heights[i] * part;
      }
      tkx_store(out + (bin_y * bins + bin_x) * stride, sum);
    }
  }
}

static void pool_eight(const float* map, axis y, axis x, int32_t bins, int32_t room, int32_t stride,
                       float* out) {
  switch (*x.count) {
    case 2:
      pool(map, y, x, bins, room, 2, stride, out);
      break;
    case 3:
      pool(map, y, x, bins, room, 3, stride, out);
      break;
    case 4:
      pool(map, y, x, bins, room, 4, stride, out);
      break;
    default:
      pool(map, y, x, bins, room, *x.count, stride, out);
  }
}

/* Takes eight channels of all places apart, into planes or smaller blocks. */
static void unblock(const float* tile, int32_t places, int32_t channel, int32_t channels,
                    int32_t block, float* row) {
  int32_t lanes = channels - channel < TKX_LANES ? channels - channel : TKX_LANES, place = 0;
  if (block == 1 && lanes == TKX_LANES)
    for (; place + TKX_LANES <= places; place += TKX_LANES)
      transpose(tile + place * TKX_LANES, TKX_LANES, row + (int64_t)channel * places + place,
                places);
  for (int32_t i = 0; i < lanes; i++) {
    int32_t to = channel + i;
    float* plane = row + (int64_t)(to / block) * places * block + to % block;
    for (int32_t j = place; j < places; j++) plane[j * block] = tile[j * TKX_LANES + i];
  }
}

/* Eight channels of a box, into its row. */
static void pool_box(const tkx_pyramid* pyramid, const tkx_readings* readings, int32_t box,
                     int32_t channel, int32_t block, float* tile, float* row) {
  const tkx_map* map = &pyramid->maps[readings->level[box]];
  int64_t plane = (int64_t)map->height * map->width * map->block;
  const float* from = map->data + channel / map->block * plane + channel % map->block;
  int32_t bins = pyramid->bins, places = bins * bins, room = 2 * pyramid->ratio;
  int32_t whole = block % TKX_LANES == 0;
  float* to = whole ? row + (int64_t)(channel / block) * places * block + channel % block : tile;
  pool_eight(from, axis_of(pyramid, readings, box, 0), axis_of(pyramid, readings, box, 1), bins,
             room, whole ? block : TKX_LANES, to);
  if (!whole) unblock(tile, places, channel, pyramid->channels, block, row);
}

void tkx_pool(const tkx_pyramid* pyramid, const tkx_readings* readings, int32_t count,
              const tkx_rois* rois, int32_t task, int32_t tasks) {
  float tile[TKX_MOST_BINS * TKX_MOST_BINS * TKX_LANES];
  int32_t places = pyramid->bins * pyramid->bins, together = pyramid->together;
  /* Blocks of the output may be longer than those of the maps. */
  int32_t given = (pyramid->channels + TKX_LANES - 1) / TKX_LANES * TKX_LANES;
  int32_t stored = (pyramid->channels + rois->block - 1) / rois->block * rois->block;
  for (int32_t first = task * together; first < stored; first += tasks * together) {
    int32_t last = first + together < stored ? first + together : stored;
    for (int32_t i = 0; i < rois->rows; i++) {
      int32_t box = i < count ? (int32_t)readings->order[i] : i;
      float* row = rois->data + (int64_t)box * stored * places;
      if (i >= count || readings->level[box] < 0) {
        memset(row + (int64_t)first * places, 0,
               (size_t)(last - first) * (size_t)places * sizeof *row);
        continue;
      }
      for (int32_t channel = first; channel < last && channel < given; channel += TKX_LANES)
        pool_box(pyramid, readings, box, channel, rois->block, tile, row);
    }
  }
}
