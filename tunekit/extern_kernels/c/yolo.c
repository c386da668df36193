#include "yolo.h"

#include "selection.h"
#include "vectors.h"

/* The most likely class of up to eight boxes, of equal ones the first; NaN is above all. */
static void best_classes(const float* scores, int32_t classes, int64_t stride, int32_t boxes,
                         float best[TKX_LANES], int32_t labels[TKX_LANES]) {
  tkx_floats greatest = tkx_same(-__builtin_inff());
  tkx_ints number = {0};
  for (int32_t label = 0; label < classes; label++) {
    const float* from = scores + label * stride;
    tkx_floats score = boxes < TKX_LANES ? tkx_load_some(from, boxes) : tkx_load(from);
    tkx_ints greater = (greatest < score) | (score != score);
    greatest = tkx_where(greater, score, greatest);
    number = (number & ~greater) | (label & greater);
  }
  tkx_store(best, greatest);
  memcpy(labels, &number, sizeof number);
}

void tkx_pick_boxes(const float* predictions, int32_t classes, int32_t count, float threshold,
                    int32_t part, const tkx_candidates* all) {
  int32_t end = (part + 1) * all->room < count ? (part + 1) * all->room : count;
  all->counts[part] = 0;
  for (int32_t i = part * all->room; i < end; i += TKX_LANES) {
    const float* first = predictions + i;
    float best[TKX_LANES];
    int32_t labels[TKX_LANES], boxes = end - i < TKX_LANES ? end - i : TKX_LANES;
    best_classes(first + 4 * (int64_t)count, classes, count, boxes, best, labels);
    for (int32_t lane = 0; lane < boxes; lane++) {
      if (!(best[lane] > threshold)) continue;
      float values[4];
      for (int32_t j = 0; j < 4; j++) values[j] = first[(int64_t)j * count + lane];
      float across = values[2] / 2.0f, down = values[3] / 2.0f;
      float box[4] = {values[0] - across, values[1] - down, values[0] + across, values[1] + down};
      tkx_add(all, part, box, best[lane], tkx_key(best[lane]), labels[lane]);
    }
  }
}
