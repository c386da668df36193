#include "candidates.h"

#include "selection.h"
#include "vectors.h"

int32_t tkx_add(const tkx_candidates* all, int32_t part, const float box[4], float score,
                uint32_t key, int32_t label) {
  int32_t at = part * all->room + all->counts[part]++;
  memcpy(all->boxes + 4 * (int64_t)at, box, 4 * sizeof *box);
  all->scores[at] = score;
  all->keys[at] = key;
  all->label[at] = label;
  return at;
}

void tkx_group_at(const tkx_candidates* all, float distance) {
  int32_t* starts = all->starts;
  int32_t labels = all->labels, sum = 0;
  *all->distance = distance;
  memset(starts, 0, ((size_t)labels + 1) * sizeof *starts);
  for (int32_t part = 0; part < all->parts; part++)
    for (int32_t i = 0; i < all->counts[part]; i++)
      starts[all->together ? 0 : all->label[part * all->room + i]]++;
  for (int32_t label = 0; label <= labels; label++) {
    int32_t number = starts[label];
    starts[label] = sum;
    sum += number;
  }
  /* Filling a label moves its start to that of the next one. */
  for (int32_t part = 0; part < all->parts; part++) {
    for (int32_t i = 0; i < all->counts[part]; i++) {
      int32_t at = part * all->room + i;
      all->order[starts[all->together ? 0 : all->label[at]]++] = (uint32_t)at;
    }
  }
  memmove(starts + 1, starts, (size_t)labels * sizeof *starts);
  starts[0] = 0;
}

void tkx_group(const tkx_candidates* all, int32_t few) {
  int32_t sum = 0;
  float greatest = -__builtin_inff();
  for (int32_t part = 0; part < all->parts; part++) sum += all->counts[part];
  if (sum == 0 || sum > few) {
    tkx_group_at(all, 0.0f);
    return;
  }
  for (int32_t part = 0; part < all->parts; part++) {
    const float* boxes = all->boxes + 4 * (int64_t)part * all->room;
    for (int32_t i = 0; i < 4 * all->counts[part]; i++) /* NaN is greater than all. */
      greatest = boxes[i] > greatest || boxes[i] != boxes[i] ? boxes[i] : greatest;
  }
  tkx_group_at(all, greatest + 1.0f);
}

/* Whether one of the boxes that are kept overlaps a box too much. Rounding, and what becomes of
   NaN, are those of torchvision, whose first box is the one that is kept. */
static int is_suppressed(const float* const kept[5], int32_t count, const float box[4], float area,
                         float threshold) {
  enum { AT_ONCE = 4 * TKX_LANES };
  tkx_floats zero = tkx_same(0.0f);
  for (int32_t start = 0; start < count; start += AT_ONCE) {
    tkx_ints hits = {0};
    int32_t end = start + AT_ONCE < count ? start + AT_ONCE : count;
    for (int32_t i = start; i < end; i += TKX_LANES) {
      tkx_floats left = tkx_greater(tkx_load(kept[0] + i), tkx_same(box[0]));
      tkx_floats top = tkx_greater(tkx_load(kept[1] + i), tkx_same(box[1]));
      tkx_floats right = tkx_less(tkx_load(kept[2] + i), tkx_same(box[2]));
      tkx_floats bottom = tkx_less(tkx_load(kept[3] + i), tkx_same(box[3]));
      tkx_floats shared = tkx_greater(zero, right - left) * tkx_greater(zero, bottom - top);
      hits |= shared / (tkx_load(kept[4] + i) + area - shared) > threshold;
    }
    if (tkx_any(hits)) return 1;
  }
  return 0;
}

void tkx_suppress(const tkx_candidates* all, int32_t label) {
  int32_t start = all->starts[label], count = all->starts[label + 1] - start, number = 0;
  int64_t row = (int64_t)all->parts * all->room + TKX_LANES * all->labels;
  uint32_t* order = all->order + start;
  float* kept[5];
  /* The lanes behind the last one are zeros, which overlap nothing. */
  for (int i = 0; i < 5; i++)
    kept[i] = all->kept + i * row + (start / TKX_LANES + label) * (int64_t)TKX_LANES;
  tkx_sort(all->keys, order, all->spare + start, count);
  for (int32_t i = 0; i < count; i++) {
    const float* given = all->boxes + 4 * (int64_t)order[i];
    float apart = (float)all->label[order[i]] * *all->distance, box[4], area;
    for (int side = 0; side < 4; side++) box[side] = given[side] + apart;
    area = (box[2] - box[0]) * (box[3] - box[1]);
    if (number == all->most || i >= all->first ||
        is_suppressed((const float* const*)kept, number, box, area, all->threshold)) {
      all->keys[order[i]] = 0;
      continue;
    }
    for (int side = 0; side < 5; side++) {
      if (number % TKX_LANES == 0) tkx_store(kept[side] + number, tkx_same(0.0f));
      kept[side][number] = side < 4 ? box[side] : area;
    }
    number++;
  }
}

void tkx_collect(const tkx_candidates* all, const tkx_found* found) {
  int32_t room = all->parts * all->room, left = 0, number;
  uint32_t *keys = all->left, *where = all->left + room, *best = all->order;
  for (int32_t part = 0; part < all->parts; part++) {
    for (int32_t i = 0; i < all->counts[part]; i++) {
      int32_t at = part * all->room + i;
      keys[left] = all->keys[at];
      where[left] = (uint32_t)at;
      left += all->keys[at] != 0;
    }
  }
  number = tkx_select(keys, left, all->most, best, all->spare);
  for (int32_t i = 0; i < all->most; i++) {
    uint32_t at = i < number ? where[best[i]] : 0;
    for (int32_t side = 0; side < 4; side++)
      found->boxes[4 * i + side] = i < number ? all->boxes[4 * (int64_t)at + side] : 0.0f;
    if (found->scores) found->scores[i] = i < number ? all->scores[at] : 0.0f;
    if (found->labels) found->labels[i] = i < number ? all->label[at] : 0;
  }
  *found->count = number;
}
