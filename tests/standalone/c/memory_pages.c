/* Memory in huge pages, and weights that are copied there from a file's pages. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

#define CHECK(condition)                                     \
  do {                                                       \
    if (!(condition)) {                                      \
      fprintf(stderr, "%d: not %s\n", __LINE__, #condition); \
      abort();                                               \
    }                                                        \
  } while (0)

static const tunekit_options NONE = {0};

static void memory_is_zeroed_and_aligned(void) {
  static const size_t SIZES[] = {0, 1, 4096, TK_HUGE_PAGE - 1, TK_HUGE_PAGE, 5 * TK_HUGE_PAGE + 7};
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    for (int huge = 0; huge < 2; huge++) {
      unsigned char* memory = tk_take(&NONE, SIZES[i], huge, NULL);
      CHECK(memory && (uintptr_t)memory % TK_ALIGNMENT == 0);
      if (huge && SIZES[i] >= TK_HUGE_PAGE) CHECK((uintptr_t)memory % TK_HUGE_PAGE == 0);
      for (size_t byte = 0; byte < SIZES[i]; byte += 1021) CHECK(memory[byte] == 0);
      memset(memory, 1, SIZES[i]);
      tk_give(&NONE, memory, SIZES[i]);
    }
  }
  CHECK(tk_take(&NONE, SIZE_MAX, 0, NULL) == NULL);
  CHECK(tk_take(&NONE, SIZE_MAX - 4096, 1, NULL) == NULL);
  tk_give(&NONE, NULL, 5);
}

/* What is beside the weights in their first and last page stays as it is. */
static void weights_are_copied_from_anywhere(const char* path) {
  size_t bytes = 2 * TK_HUGE_PAGE + 5000, offset = 1000;
  int file = open(path, O_RDWR | O_CREAT, 0600);
  CHECK(file >= 0 && ftruncate(file, (off_t)(bytes + 2 * offset)) == 0);
  unsigned char* from =
      mmap(NULL, bytes + 2 * offset, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  CHECK(from != MAP_FAILED);
  from[0] = from[offset - 1] = from[offset + bytes] = 7; /* private: gone with their page */
  CHECK(pwrite(file, "weights", 7, (off_t)(offset + TK_HUGE_PAGE)) == 7);
  unsigned char* to = tk_take(&NONE, bytes, 1, NULL);
  tk_copy_weights(to, from + offset, bytes);
  CHECK(memcmp(to + TK_HUGE_PAGE, "weights", 7) == 0 && to[0] == 0 && to[bytes - 1] == 0);
  CHECK(from[0] == 7 && from[offset - 1] == 7 && from[offset + bytes] == 7);
  tk_give(&NONE, to, bytes);
  munmap(from, bytes + 2 * offset);
  close(file);
  unlink(path);
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  memory_is_zeroed_and_aligned();
  weights_are_copied_from_anywhere(argv[1]);
  puts("all is well");
  return 0;
}
