"""Kernels in place of TVM's own: blocked ones, convolutions, Winograd, fast mathematics."""
