#include "proposals.h"

#include <math.h>

#include "selection.h"

/* Keys of all anchors of a level, in the anchors' order. */
static void write_keys(const tkx_level* level, uint32_t* keys) {
  int32_t places = level->height * level->width;
  for (int32_t anchor = 0; anchor < level->anchors; anchor++) {
    const float* from = tkx_at(level, 0, anchor, 0);
    for (int32_t place = 0; place < places; place++)
      keys[place * level->anchors + anchor] = tkx_key(from[(int64_t)place * level->block]);
  }
}

void tkx_propose(const tkx_proposals* from, int32_t level, const tkx_candidates* all) {
  const tkx_level *objectness = &from->objectness[level], *deltas = &from->deltas[level];
  int64_t before = 0;
  for (int32_t i = 0; i < level; i++) before += tkx_anchors(&from->objectness[i]);
  uint32_t *keys = from->keys + before, *best = from->indices + before;
  all->counts[level] = 0;
  write_keys(objectness, keys);
  int32_t count =
      tkx_select(keys, tkx_anchors(objectness), from->pre_nms_top_n, best, from->spare + before);
  for (int32_t i = 0; i < count; i++) {
    int32_t anchor = (int32_t)best[i];
    float logit =
        *tkx_at(objectness, anchor / objectness->anchors, anchor % objectness->anchors, 0);
    float deltas_of[4], box[4];
    /* NaN is no probability. */
    if (!(1.0f / (1.0f + expf(-logit)) >= from->score_threshold)) continue;
    tkx_values(deltas, anchor, deltas_of);
    tkx_decode(&from->coder, deltas_of, from->anchors[level] + 4 * (int64_t)anchor, box);
    if (box[2] - box[0] >= from->min_size && box[3] - box[1] >= from->min_size)
      tkx_add(all, level, box, logit, keys[anchor], level);
  }
}
