/* Which instructions this CPU has, and the operating system lets it use. */
#ifndef TUNEKIT_CPU_H
#define TUNEKIT_CPU_H

#include <stddef.h>
#include <stdint.h>

/* The first of these features (LLVM's names, NULL ends them) that is not here; NULL if all are. A
 * feature that is not known counts as missing. */
const char* tk_missing_feature(const char* const* features);

#endif
