"""What a name of an ONNX graph stands for while the graph is interpreted.

A tensor is a numpy array where its numbers are known (weights, shapes and all that is computed
from them), else a Relax expression of fixed shape. A sequence is a list, an optional that is empty
None.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tunekit.ir.relax import static_shape

Array: TypeAlias = npt.NDArray[Any]
# A Relax expression has no types that mypy could see.
Value: TypeAlias = Any


def is_known(value: Value) -> bool:
    """Whether the numbers of a tensor, or of all tensors of a sequence, are known; so is None."""
    if isinstance(value, list):
        return all(is_known(item) for item in value)
    return value is None or isinstance(value, np.ndarray)


def shape_of(value: Value) -> tuple[int, ...]:
    """The shape of a tensor. Raises ValueError where it is not fixed."""
    if isinstance(value, np.ndarray):
        return tuple(value.shape)
    shape = static_shape(value)
    if shape is None:
        raise ValueError(f"the shape of a tensor is not fixed: {value.ty}")
    return shape


def dtype_of(value: Value) -> str:
    """The dtype of a tensor in numpy's names."""
    return str(value.dtype if isinstance(value, np.ndarray) else value.ty.dtype)


def is_float(value: Value) -> bool:
    """Whether a tensor holds floating-point numbers of any width."""
    return "float" in dtype_of(value)
