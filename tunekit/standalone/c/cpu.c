/* Which instructions this CPU has, and the operating system lets it use. */
#include "cpu.h"

#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };

/* LLVM's names; leaf, subleaf, register and bit of CPUID: Intel's manual, volume 2A, and AMD's
 * volume 3, appendix E. `state` are the bits of XCR0 that the registers need. */
static const struct {
  const char* name;
  uint32_t leaf, subleaf;
  uint8_t place, bit;
  uint32_t state;
} KNOWN[] = {
    {"sse3", 1, 0, ECX, 0, 0},
    {"ssse3", 1, 0, ECX, 9, 0},
    {"fma", 1, 0, ECX, 12, 0x06},
    {"cx16", 1, 0, ECX, 13, 0},
    {"sse4.1", 1, 0, ECX, 19, 0},
    {"sse4.2", 1, 0, ECX, 20, 0},
    {"movbe", 1, 0, ECX, 22, 0},
    {"popcnt", 1, 0, ECX, 23, 0},
    {"avx", 1, 0, ECX, 28, 0x06},
    {"f16c", 1, 0, ECX, 29, 0x06},
    {"bmi", 7, 0, EBX, 3, 0},
    {"avx2", 7, 0, EBX, 5, 0x06},
    {"bmi2", 7, 0, EBX, 8, 0},
    {"avx512f", 7, 0, EBX, 16, 0xe6},
    {"avx512dq", 7, 0, EBX, 17, 0xe6},
    {"adx", 7, 0, EBX, 19, 0},
    {"avx512ifma", 7, 0, EBX, 21, 0xe6},
    {"avx512er", 7, 0, EBX, 27, 0xe6},
    {"avx512cd", 7, 0, EBX, 28, 0xe6},
    {"avx512bw", 7, 0, EBX, 30, 0xe6},
    {"avx512vl", 7, 0, EBX, 31, 0xe6},
    {"avx512vbmi", 7, 0, ECX, 1, 0xe6},
    {"avx512vbmi2", 7, 0, ECX, 6, 0xe6},
    {"gfni", 7, 0, ECX, 8, 0},
    {"avx512vnni", 7, 0, ECX, 11, 0xe6},
    {"avx512bitalg", 7, 0, ECX, 12, 0xe6},
    {"avx512vpopcntdq", 7, 0, ECX, 14, 0xe6},
    {"avx512vp2intersect", 7, 0, EDX, 8, 0xe6},
    {"avx512fp16", 7, 0, EDX, 23, 0xe6},
    {"amx-bf16", 7, 0, EDX, 22, 0x60000},
    {"amx-tile", 7, 0, EDX, 24, 0x60000},
    {"amx-int8", 7, 0, EDX, 25, 0x60000},
    {"avxvnni", 7, 1, EAX, 4, 0x06},
    {"avx512bf16", 7, 1, EAX, 5, 0xe6},
    {"avxifma", 7, 1, EAX, 23, 0x06},
    {"avxvnniint8", 7, 1, EDX, 4, 0x06},
    {"avxneconvert", 7, 1, EDX, 5, 0x06},
    {"avxvnniint16", 7, 1, EDX, 10, 0x06},
    {"lzcnt", 0x80000001, 0, ECX, 5, 0},
    {"sse4a", 0x80000001, 0, ECX, 6, 0},
    {"xop", 0x80000001, 0, ECX, 11, 0x06},
    {"fma4", 0x80000001, 0, ECX, 16, 0x06},
    {"tbm", 0x80000001, 0, ECX, 21, 0},
};

static int state_is_kept(uint32_t state) {
  uint32_t eax, ebx, ecx, edx;
  if (state == 0) return 1;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx >> 27 & 1)) return 0;
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (eax & state) == state;
}

static int has(const char* name) {
  for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
    uint32_t registers[4];
    if (strcmp(KNOWN[i].name, name) != 0) continue;
    return __get_cpuid_count(KNOWN[i].leaf, KNOWN[i].subleaf, &registers[EAX], &registers[EBX],
                             &registers[ECX], &registers[EDX]) &&
           (registers[KNOWN[i].place] >> KNOWN[i].bit & 1) && state_is_kept(KNOWN[i].state);
  }
  return 0;
}

#elif defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>

/* LLVM's names; bits of AT_HWCAP (word 0) and AT_HWCAP2 (1): Linux, arch/arm64 and arch/arm,
 * uapi/asm/hwcap.h. */
static const struct {
  const char* name;
  uint8_t word, bit;
} KNOWN[] = {
#if defined(__aarch64__)
    {"neon", 0, 1}, {"fullfp16", 0, 10}, {"dotprod", 0, 20}, {"sve", 0, 22},
    {"sve2", 1, 1}, {"i8mm", 1, 13},     {"bf16", 1, 14},    {"sme", 1, 23},
#else
    {"neon", 0, 12}, {"fullfp16", 0, 23}, {"dotprod", 0, 24}, {"bf16", 0, 26}, {"i8mm", 0, 27},
#endif
};

static int has(const char* name) {
  for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
    unsigned long word = getauxval(KNOWN[i].word ? AT_HWCAP2 : AT_HWCAP);
    if (strcmp(KNOWN[i].name, name) == 0) return word >> KNOWN[i].bit & 1;
  }
  return 0;
}

#elif defined(__riscv)
#include <sys/auxv.h>

/* Extensions of one letter have that letter's bit of AT_HWCAP. */
static int has(const char* name) {
  if (name[0] < 'a' || name[0] > 'z' || name[1] != '\0') return 0;
  return getauxval(AT_HWCAP) >> (name[0] - 'a') & 1;
}

#else

static int has(const char* name) {
  (void)name;
  return 0;
}

#endif

const char* tk_missing_feature(const char* const* features) {
  for (; *features; features++) {
    if (!has(*features)) return *features;
  }
  return NULL;
}
