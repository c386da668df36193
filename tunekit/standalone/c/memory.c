#include "memory.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t mapped_bytes(size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

/* Pages that nobody has written yet, beginning at a multiple of `alignment`. */
static void* map(size_t bytes, size_t alignment) {
  size_t size = mapped_bytes(bytes), page = (size_t)sysconf(_SC_PAGESIZE);
  size_t more = alignment > page ? alignment : 0;
  unsigned char* start =
      mmap(NULL, size + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return NULL;
  size_t before = more ? (alignment - (uintptr_t)start % alignment) % alignment : 0;
  if (before) munmap(start, before);
  if (more - before) munmap(start + before + size, more - before);
  return start + before;
}

void* tk_take(const tunekit_options* options, size_t bytes, int in_huge_pages, int* misaligned) {
  void* memory;
  if (bytes == 0) bytes = 1;
  if (bytes > SIZE_MAX / 2) return NULL;
  if (options->allocate) {
    memory = options->allocate(bytes, TK_ALIGNMENT, options->context);
    if (memory && (uintptr_t)memory % TK_ALIGNMENT) {
      options->release(memory, bytes, options->context);
      *misaligned = 1;
      return NULL;
    }
    if (memory) memset(memory, 0, bytes);
    return memory;
  }
  in_huge_pages = in_huge_pages && bytes >= TK_HUGE_PAGE;
  memory = map(bytes, in_huge_pages ? TK_HUGE_PAGE : 0);
  if (memory && in_huge_pages) madvise(memory, mapped_bytes(bytes), MADV_HUGEPAGE);
  return memory;
}

void tk_give(const tunekit_options* options, void* pointer, size_t bytes) {
  if (!pointer) return;
  if (bytes == 0) bytes = 1;
  if (options->release) {
    options->release(pointer, bytes, options->context);
  } else {
    munmap(pointer, mapped_bytes(bytes));
  }
}

void tk_copy_weights(unsigned char* to, const unsigned char* from, size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t done = 0; done < bytes; done += TK_HUGE_PAGE) {
    size_t part = bytes - done < TK_HUGE_PAGE ? bytes - done : TK_HUGE_PAGE;
    memcpy(to + done, from + done, part);
    /* Only whole pages: the other part of one that is not may be no weights. */
    uintptr_t first = ((uintptr_t)from + done + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)from + done + part) / page * page;
    if (end > first) madvise((void*)first, end - first, MADV_DONTNEED);
  }
}
