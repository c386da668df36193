/* Files as inputs of a model: raw bytes, or pictures in PNM. */
#ifndef READ_INPUT_H
#define READ_INPUT_H

#include "tunekit.h"

/* What a picture's values (0 to 1) become: (value - mean) / deviation, for red, green and blue. */
typedef struct {
  double mean[3], deviation[3];
} normalization;

/* Memory for a tensor from an address that is a multiple of 64, so that the library need not copy;
 * NULL where there is none. Given back with free. */
void* memory_for(const tunekit_tensor* tensor);

/* Reads a file into a tensor's memory: a picture (PGM or PPM, 8 bits) where it is one and the
 * tensor can hold it, else bytes as they are, of which there have to be as many as the tensor has.
 * Gives 0; or 1, after it has said on standard error what is wrong. */
int read_input(const char* path, const tunekit_tensor* tensor, const normalization* picture,
               void* memory);

#endif
