#include "ssd.h"

#include "probabilities.h"
#include "selection.h"

/* The level of an anchor among those of all levels, and its number there. */
static int32_t level_of(const tkx_ssd* ssd, int32_t* anchor) {
  int32_t level = 0;
  while (*anchor >= tkx_anchors(&ssd->logits[level])) *anchor -= tkx_anchors(&ssd->logits[level++]);
  return level;
}

void tkx_rate_anchors(const tkx_ssd* ssd, int32_t task, int32_t tasks) {
  int32_t classes = ssd->logits->values, count = ssd->anchors_in_all;
  int32_t share = (count + tasks - 1) / tasks;
  int32_t end = (task + 1) * share < count ? (task + 1) * share : count;
  float* numbers =
      ssd->probabilities + (int64_t)task * ((classes + TKX_LANES - 1) / TKX_LANES * TKX_LANES);
  for (int32_t i = task * share; i < end; i++) {
    int32_t anchor = i;
    const tkx_level* logits = &ssd->logits[level_of(ssd, &anchor)];
    for (int32_t label = 0; label < classes; label++)
      numbers[label] = *tkx_at(logits, anchor / logits->anchors, anchor % logits->anchors, label);
    tkx_softmax(numbers, classes, numbers);
    for (int32_t label = 1; label < classes; label++)
      ssd->keys[(int64_t)label * count + i] =
          numbers[label] > ssd->threshold ? tkx_key(numbers[label]) : 0;
  }
}

void tkx_pick_label(const tkx_ssd* ssd, int32_t label, const tkx_candidates* all) {
  int64_t first = (int64_t)label * ssd->anchors_in_all;
  uint32_t *keys = ssd->keys + first, *order = ssd->order + first, *spare = ssd->spare + first;
  int32_t part = label - 1, count;
  all->counts[part] = 0;
  count = tkx_select(keys, ssd->anchors_in_all, ssd->topk, order, spare);
  for (int32_t i = 0; i < count && keys[order[i]] != 0; i++) {
    int32_t anchor = (int32_t)order[i], level = level_of(ssd, &anchor);
    float values[4], box[4];
    tkx_values(&ssd->deltas[level], anchor, values);
    tkx_decode(&ssd->coder, values, ssd->anchors[level] + 4 * (int64_t)anchor, box);
    tkx_add(all, part, box, tkx_number(keys[order[i]]), keys[order[i]], label);
  }
}
