/* The weights, in pages that are mapped from the file and shared by all processes. TK_WEIGHTS is
 * their file, of TK_MEBIBYTES, and TK_SYMBOL their name. What code would not reach beyond them needs
 * them in a section that it does not expect nearby. */
#if defined(__x86_64__) && TK_MEBIBYTES >= 1024
  .section .lrodata.weights, "al", %progbits
#elif TK_MEBIBYTES >= 3584 || (TK_MEBIBYTES >= 1024 && !defined(__aarch64__))
#error the weights are more than code for this architecture reaches beyond
#else
  .section .rodata.weights, "a", %progbits
#endif
  .balign 4096
  .globl TK_SYMBOL
  .hidden TK_SYMBOL
  .type TK_SYMBOL, %object
TK_SYMBOL:
  .incbin TK_WEIGHTS
  .size TK_SYMBOL, . - TK_SYMBOL
  /* A library without weights has the label all the same. */
  .byte 0

  .section .note.GNU-stack, "", %progbits
