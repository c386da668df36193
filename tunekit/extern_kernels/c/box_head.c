#include "box_head.h"

#include "probabilities.h"
#include "selection.h"

void tkx_rate_boxes(const tkx_box_head* head, int32_t part, const tkx_candidates* all) {
  int32_t classes = head->classes, rows = (head->rows + all->parts - 1) / all->parts;
  int32_t end = (part + 1) * rows < *head->count ? (part + 1) * rows : *head->count;
  int32_t whole = (classes + TKX_LANES - 1) / TKX_LANES * TKX_LANES;
  float* probabilities = head->exponentials + (int64_t)part * whole;
  all->counts[part] = 0;
  for (int32_t row = part * rows; row < end; row++) {
    tkx_softmax(head->logits + (int64_t)row * classes, classes, probabilities);
    for (int32_t label = 1; label < classes; label++) {
      float score = probabilities[label], box[4];
      if (!(score > head->score_threshold)) continue;
      tkx_decode(&head->coder, head->deltas + ((int64_t)row * classes + label) * 4,
                 head->proposals + 4 * (int64_t)row, box);
      if (box[2] - box[0] >= head->min_size && box[3] - box[1] >= head->min_size)
        tkx_add(all, part, box, score, tkx_key(score), label);
    }
  }
}
