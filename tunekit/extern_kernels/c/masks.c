#include "masks.h"

#include "chunks.h"
#include "vectors.h"

enum { PADDING = 1 };

const float* tkx_channel(const tkx_head* head, int32_t count, int32_t detection, int32_t channel,
                         int32_t* apart) {
  int32_t row;
  const tkx_piece* piece = &head->pieces[tkx_chunk_of(head->limit, count, detection, &row)];
  int32_t block = piece->block, blocks = (head->channels + block - 1) / block;
  int64_t places = (int64_t)head->size * head->size;
  *apart = block;
  return piece->data + ((int64_t)row * blocks + channel / block) * places * block + channel % block;
}

void tkx_select_masks(const tkx_head* head, const int64_t* labels, int32_t count, float* masks,
                      int32_t task, int32_t tasks) {
  int32_t places = head->size * head->size;
  for (int32_t i = tkx_first(task, tasks); i < head->limit; i += tasks) {
    float* mask = masks + (int64_t)i * places;
    if (i >= count) {
      memset(mask, 0, (size_t)places * sizeof *mask);
      continue;
    }
    int32_t apart;
    const float* logits = tkx_channel(head, count, i, (int32_t)labels[i], &apart);
    for (int32_t place = 0; place < places; place += TKX_LANES) {
      int32_t lanes = places - place < TKX_LANES ? places - place : TKX_LANES;
      float some[TKX_LANES] = {0};
      for (int32_t j = 0; j < lanes; j++) some[j] = logits[(int64_t)(place + j) * apart];
      tkx_store(some, tkx_sigmoid(tkx_load(some)));
      memcpy(mask + place, some, (size_t)lanes * sizeof *some);
    }
  }
}

/* A side of a box around its centre, in whole pixels, as torchvision's `expand_boxes` has it. */
static void expand(float from, float to, float scale, int64_t* low, int64_t* high) {
  float half = (to - from) * 0.5f * scale, centre = (to + from) * 0.5f;
  float sides[2] = {centre - half, centre + half};
  int64_t* whole[2] = {low, high};
  for (int i = 0; i < 2; i++) /* What is no box anyway must not be undefined either. */
    *whole[i] = sides[i] > -1e9f && sides[i] < 1e9f ? (int64_t)sides[i] : 0;
}

/* Which two of `from` numbers an element of `to` numbers lies between, and how far behind the
   first: torch's linear interpolation. */
static int32_t between(int64_t at, int64_t from, int64_t to, float* far) {
  float scale = (float)from / (float)to, place = scale * ((float)at + 0.5f) - 0.5f;
  if (place < 0.0f) place = 0.0f;
  int32_t low = (int32_t)place < (int32_t)from - 1 ? (int32_t)place : (int32_t)from - 1;
  *far = place - (float)low;
  return low;
}

/* A row of the mask with its padding, between two rows. */
static void blend_rows(const float* mask, int32_t size, int32_t low, float far, float* row) {
  int32_t first = low - PADDING, second = low + 1 - PADDING;
  row[0] = row[size + 1] = row[size + 2] = 0.0f;
  for (int32_t i = 0; i < size; i++) {
    float upper = first >= 0 && first < size ? mask[first * size + i] : 0.0f;
    float lower = second >= 0 && second < size ? mask[second * size + i] : 0.0f;
    row[i + PADDING] = (1.0f - far) * upper + far * lower;
  }
}

static void paste(const tkx_pasting* pasting, const float* mask, const float* box, float* picture,
                  float* row, int32_t* columns, float* weights) {
  int32_t size = pasting->size, whole = size + 2 * PADDING;
  float scale = (float)((double)whole / (double)size), far;
  int64_t left, top, right, bottom;
  expand(box[0], box[2], scale, &left, &right);
  expand(box[1], box[3], scale, &top, &bottom);
  int64_t width = right - left + 1 > 1 ? right - left + 1 : 1;
  int64_t height = bottom - top + 1 > 1 ? bottom - top + 1 : 1;
  int64_t x = left > 0 ? left : 0, y = top > 0 ? top : 0;
  int64_t end_x = right + 1 < pasting->width ? right + 1 : pasting->width;
  int64_t end_y = bottom + 1 < pasting->height ? bottom + 1 : pasting->height;
  for (int64_t i = x; i < end_x; i++) columns[i] = between(i - left, whole, width, &weights[i]);
  for (int64_t j = y; j < end_y; j++) {
    int32_t low = between(j - top, whole, height, &far);
    float* target = picture + j * pasting->width;
    blend_rows(mask, size, low, far, row);
    for (int64_t i = x; i < end_x; i++)
      target[i] = (1.0f - weights[i]) * row[columns[i]] + weights[i] * row[columns[i] + 1];
  }
}

void tkx_paste_masks(const tkx_pasting* pasting, int32_t count, float* pictures, int32_t task,
                     int32_t tasks) {
  int64_t places = (int64_t)pasting->height * pasting->width, size = pasting->size;
  for (int32_t i = tkx_first(task, tasks); i < pasting->limit; i += tasks) {
    float* picture = pictures + i * places;
    memset(picture, 0, (size_t)places * sizeof *picture);
    if (i < count)
      paste(pasting, pasting->masks + i * size * size, pasting->boxes + 4 * (int64_t)i, picture,
            pasting->rows + task * (size + 3), pasting->columns + (int64_t)task * pasting->width,
            pasting->weights + (int64_t)task * pasting->width);
  }
}
