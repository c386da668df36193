"""Kernels with holes, for operators that know none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def dilated_kernel(kernel: npt.NDArray[Any], dilations: Sequence[int]) -> npt.NDArray[Any]:
    """A kernel with zeros between its elements.

    Args:
        kernel: two axes of channels, then the spatial ones.
        dilations: of each spatial axis; 1 puts nothing between.
    """
    sizes = [(size - 1) * by + 1 for size, by in zip(kernel.shape[2:], dilations, strict=True)]
    wide = np.zeros((*kernel.shape[:2], *sizes), kernel.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, by) for by in dilations))] = kernel
    return wide
