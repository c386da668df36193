/* Boxes that may be kept, and which of them are: the best, if none that is better overlaps. */
#ifndef TUNEKIT_CANDIDATES_H
#define TUNEKIT_CANDIDATES_H

#include <stdint.h>

/* Those who find boxes write them in parts, each from its start on. The order of all, in which
   equal scores stay, is that of the parts and of the places in them. */
typedef struct {
  int32_t parts, room; /* how many parts, and for how many boxes each has room */
  int32_t labels;      /* labels are less */
  int32_t together;    /* whether boxes of all labels are compared with each other */
  int32_t first;       /* how many boxes of a label are looked at */
  int32_t most;        /* how many are kept */
  float threshold;     /* of the overlap: whoever has more is suppressed */
  int32_t* counts;     /* [parts] */
  float* boxes;        /* [parts * room][4] */
  float* scores;       /* [parts * room] */
  uint32_t* keys;      /* [parts * room], by which they are sorted; 0 of the suppressed */
  int32_t* label;      /* [parts * room] */
  uint32_t* order;     /* [parts * room]: by label, where boxes are */
  uint32_t* spare;     /* [parts * room] */
  int32_t* starts;     /* [labels + 1], of each label in the order */
  float* distance;     /* [1]: how far labels are moved apart */
  uint32_t* left;      /* [2 * parts * room]: those that are not suppressed */
  float* kept;         /* [5][parts * room + 8 * labels]: those that suppress, by label */
} tkx_candidates;

/* What is found: [most][4], [most], [most], [1]; scores and labels may be null. */
typedef struct {
  float *boxes, *scores;
  int64_t* labels;
  int32_t* count;
} tkx_found;

/* Appends a box to a part; returns its place. */
int32_t tkx_add(const tkx_candidates* all, int32_t part, const float box[4], float score,
                uint32_t key, int32_t label);

/* After all parts are filled: sorts by label. Where `few` boxes or less are left, labels are moved
   apart by their greatest coordinate and one, else not at all, as torchvision does. */
void tkx_group(const tkx_candidates* all, int32_t few);

/* The same with a given distance between labels. */
void tkx_group_at(const tkx_candidates* all, float distance);

/* Suppresses boxes of a label, or of all labels for label 0 if they are together. */
void tkx_suppress(const tkx_candidates* all, int32_t label);

/* Writes what is left, the best first, and zeros behind it. */
void tkx_collect(const tkx_candidates* all, const tkx_found* found);

#endif
