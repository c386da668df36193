/* The weights, in pages that are mapped from the file and shared by all processes. TK_WEIGHTS is
 * their file, TK_SYMBOL their name. Beyond 2 GiB they need a section that code does not expect nearby. */
#if defined(__x86_64__) && defined(TK_LARGE)
  .section .lrodata.weights, "al", %progbits
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
