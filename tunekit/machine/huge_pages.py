"""Asking Linux for huge pages.

MADV_COLLAPSE (Linux 6.1) does it at once for what has been written. MADV_HUGEPAGE does it for what
is written for the first time after it, and has the kernel do it in time for the rest. What Linux
cannot do (too old, forbidden, memory too fragmented, pages of another architecture) is no error,
and its pages stay as they are: https://man7.org/linux/man-pages/man2/madvise.2.html
"""

from __future__ import annotations

import ctypes
import sys

#: Of a huge page on x86-64, and on AArch64 with pages of 4 KiB.
PAGE_BYTES = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25


def ask_for_huge_pages(address: int, size: int) -> None:
    """Asks for the memory at `address`, `size` bytes of it, and for what shares its first and last
    huge page: allocators put what is allocated together side by side."""
    if not sys.platform.startswith("linux"):
        return
    madvise = ctypes.CDLL(None).madvise
    start = address // PAGE_BYTES * PAGE_BYTES
    end = -(-(address + size) // PAGE_BYTES) * PAGE_BYTES
    for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)
