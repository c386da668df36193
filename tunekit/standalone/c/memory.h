/* Memory for models: the application's or Linux's, in huge pages where that pays. */
#ifndef TUNEKIT_MEMORY_H
#define TUNEKIT_MEMORY_H

#include "tunekit.h"

#define TK_ALIGNMENT 64
#define TK_HUGE_PAGE ((size_t)2 << 20)

/* Of `bytes`, zeroed, aligned to TK_ALIGNMENT at least; NULL where there is no memory. `options`
 * names the application's functions, if it has any: the same when it is given back. What these give
 * is not used where it is not aligned, and *misaligned is 1 then; without them that may be NULL. */
void* tk_take(const tunekit_options* options, size_t bytes, int in_huge_pages, int* misaligned);
void tk_give(const tunekit_options* options, void* pointer, size_t bytes);
/* `from`, which is mapped from a file, copied to `to`: the pages that were read are let go. */
void tk_copy_weights(unsigned char* to, const unsigned char* from, size_t bytes);

static inline uint64_t tk_aligned(uint64_t bytes) {
  return (bytes + TK_ALIGNMENT - 1) / TK_ALIGNMENT * TK_ALIGNMENT;
}

#endif
