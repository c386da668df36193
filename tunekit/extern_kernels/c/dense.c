#include "dense.h"

#include <math.h>

#include "selection.h"
#include "vectors.h"

enum { AT_ONCE = 4 * TKX_LANES };

/* The best of what was found, by index where they are equal, whatever the order of finding. */
static int32_t narrow(uint32_t* keys, uint32_t* indices, int32_t count, int32_t most,
                      uint32_t* order, uint32_t* spare) {
  /* By index: the greatest inverse first. */
  for (int32_t i = 0; i < count; i++) {
    indices[i] = ~indices[i];
    order[i] = (uint32_t)i;
  }
  tkx_sort(indices, order, spare, count);
  for (int32_t i = 0; i < count; i++) spare[i] = ~indices[order[i]];
  memcpy(indices, spare, (size_t)count * sizeof *indices);
  for (int32_t i = 0; i < count; i++) spare[i] = keys[order[i]];
  memcpy(keys, spare, (size_t)count * sizeof *keys);
  return tkx_select(keys, count, most, order, spare);
}

static float sigmoid(float number) { return 1.0f / (1.0f + expf(-number)); }

/* The score of a logit, of an anchor's class. */
static float rate(const tkx_dense* dense, int32_t level, int32_t place, int32_t channel,
                  float logit) {
  const tkx_level* logits = &dense->logits[level];
  float score = sigmoid(logit);
  if (!dense->centers) return score;
  return sqrtf(score *
               sigmoid(*tkx_at(&dense->centers[level], place, channel / logits->values, 0)));
}

void tkx_scan(const tkx_dense* dense, int32_t task) {
  int32_t level = task / dense->shares, share = task % dense->shares, count = 0;
  const tkx_level* logits = &dense->logits[level];
  int32_t channels = logits->anchors * logits->values, block = logits->block;
  int64_t places = (int64_t)logits->height * logits->width;
  int64_t size = (channels + block - 1) / block * block * places;
  int64_t part = (size / dense->shares + TKX_LANES) / TKX_LANES * TKX_LANES;
  int64_t at = share * part, end = at + part < size ? at + part : size;
  uint32_t *keys = dense->keys + (int64_t)task * dense->room, least = 0;
  uint32_t* indices = dense->indices + (int64_t)task * dense->room;
  uint32_t* order = dense->order + (int64_t)task * dense->room;
  uint32_t* spare = dense->spare + (int64_t)task * dense->room;
  for (; at < end; at += AT_ONCE) {
    const float* some = logits->data + at;
    int64_t last = end - at < AT_ONCE ? end : at + AT_ONCE;
    if (last == at + AT_ONCE &&
        !tkx_any((tkx_load(some) > dense->least) | (tkx_load(some + TKX_LANES) > dense->least) |
                 (tkx_load(some + 2 * TKX_LANES) > dense->least) |
                 (tkx_load(some + 3 * TKX_LANES) > dense->least)))
      continue;
    for (int64_t i = at; i < last; i++) {
      float logit = logits->data[i];
      if (!(logit > dense->least)) continue;
      int32_t place = (int32_t)(i / block % places);
      int32_t channel = (int32_t)(i / block / places * block + i % block);
      /* Lanes behind the last channel are of no meaning. */
      if (channel >= channels) continue;
      float score = rate(dense, level, place, channel, logit);
      uint32_t key = tkx_key(dense->centers ? score : logit);
      if (!(score > dense->threshold) || key < least) continue;
      if (count == dense->room) {
        count = narrow(keys, indices, count, dense->topk, order, spare);
        for (int32_t j = 0; j < count; j++) spare[j] = indices[order[j]];
        for (int32_t j = 0; j < count; j++) order[j] = keys[order[j]];
        memcpy(indices, spare, (size_t)count * sizeof *indices);
        memcpy(keys, order, (size_t)count * sizeof *keys);
        least = keys[count - 1];
      }
      keys[count] = key;
      indices[count++] = (uint32_t)place * (uint32_t)channels + (uint32_t)channel;
    }
  }
  dense->counts[task] = count;
}

/* The box of distances to its sides, as torchvision's BoxLinearCoder has it. */
static void decode_linear(const tkx_dense* dense, const float distances[4], const float anchor[4],
                          float box[4]) {
  for (int axis = 0; axis < 2; axis++) {
    float centre = 0.5f * (anchor[axis] + anchor[axis + 2]);
    float size = dense->linear == 2 ? anchor[axis + 2] - anchor[axis] : 1.0f;
    float most = axis == 0 ? dense->coder.width : dense->coder.height;
    box[axis] = tkx_clipped(centre - distances[axis] * size, most);
    box[axis + 2] = tkx_clipped(centre + distances[axis + 2] * size, most);
  }
}

void tkx_gather(const tkx_dense* dense, int32_t level, const tkx_candidates* all) {
  const tkx_level* logits = &dense->logits[level];
  int64_t first = (int64_t)level * dense->shares * dense->room;
  uint32_t *keys = dense->keys + first, *indices = dense->indices + first;
  uint32_t* order = dense->order + first;
  int32_t count = 0;
  all->counts[level] = 0;
  for (int32_t share = 0; share < dense->shares; share++) {
    int32_t found = dense->counts[level * dense->shares + share];
    memmove(keys + count, keys + share * dense->room, (size_t)found * sizeof *keys);
    memmove(indices + count, indices + share * dense->room, (size_t)found * sizeof *indices);
    count += found;
  }
  count = narrow(keys, indices, count, dense->topk, order, dense->spare + first);
  for (int32_t i = 0; i < count; i++) {
    int32_t channels = logits->anchors * logits->values;
    int32_t place = (int32_t)indices[order[i]] / channels;
    int32_t channel = (int32_t)indices[order[i]] % channels;
    int32_t anchor = place * logits->anchors + channel / logits->values;
    const float* from = dense->anchors[level] + 4 * (int64_t)anchor;
    uint32_t key = keys[order[i]];
    float values[4], box[4], score = tkx_number(key);
    tkx_values(&dense->deltas[level], anchor, values);
    if (dense->linear)
      decode_linear(dense, values, from, box);
    else
      tkx_decode(&dense->coder, values, from, box);
    tkx_add(all, level, box, dense->centers ? score : sigmoid(score), key,
            channel % logits->values);
  }
}
