/* Elements of any type as doubles, for the self test. */
#ifndef TUNEKIT_NUMBERS_H
#define TUNEKIT_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

enum { TK_INT, TK_UINT, TK_FLOAT, TK_BFLOAT = 4, TK_BOOL = 6 };

/* The value of an element of an input in the self test: of reals, multiples of 2^-24 of the way
 * from low to high; of the others, whole numbers, both ends included. emit.py makes the same. */
double tk_sample(uint32_t input, uint64_t element, int code, double low, double high);
void tk_write_number(void* data, size_t element, int code, int bits, double value);
double tk_read_number(const void* data, size_t element, int code, int bits);

#endif
