"""Relax operators on constants, evaluated with numpy.

TVM's own pass compiles a kernel for each such operator: seconds for a small model, minutes for a
large one. Importers leave only a few kinds, and all of them are cheap here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax

from tunekit.ir.relax import constant_value, operator_name

Array = npt.NDArray[Any]

_GROWTH_LIMIT_BYTES = 1 << 16


def evaluate(call: Any, shape: tuple[int, ...], dtype: str) -> Array | None:
    """The value of an operator on constants whose result has this shape and dtype.

    None where an argument is no constant, the operator is not one of the table, or the result is
    large and much larger than what it is made from (better computed than stored).
    """
    fold = _FOLDS.get(operator_name(call))
    if fold is None:
        return None
    tensors = [constant_value(argument) for argument in call.args if not _is_shape(argument)]
    arrays = [array for array in tensors if array is not None]
    if not arrays or len(arrays) < len(tensors):
        return None
    size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size_bytes > max(_GROWTH_LIMIT_BYTES, 2 * max(array.nbytes for array in arrays)):
        return None
    with np.errstate(all="ignore"):
        result = fold(call, arrays, shape)
    return np.ascontiguousarray(np.asarray(result).astype(dtype, copy=False)).reshape(shape)


def _is_shape(expr: Any) -> bool:
    return isinstance(expr, relax.ShapeExpr)


def _permute(call: Any, arrays: list[Array], shape: tuple[int, ...]) -> Array:
    axes = call.attrs.axes
    return np.transpose(arrays[0], None if axes is None else [int(axis) for axis in axes])


def _numpy(function: Callable[..., Array]) -> Callable[[Any, list[Array], tuple[int, ...]], Array]:
    return lambda call, arrays, shape: function(*arrays)


_FOLDS: dict[str, Callable[[Any, list[Array], tuple[int, ...]], Array]] = {
    **dict.fromkeys(
        ("reshape", "expand_dims", "squeeze", "flatten"),
        lambda call, arrays, shape: arrays[0].reshape(shape),
    ),
    "astype": lambda call, arrays, shape: arrays[0],
    "broadcast_to": lambda call, arrays, shape: np.broadcast_to(arrays[0], shape),
    "permute_dims": _permute,
    "add": _numpy(np.add),
    "subtract": _numpy(np.subtract),
    "multiply": _numpy(np.multiply),
    "divide": _numpy(np.divide),
    "sqrt": _numpy(np.sqrt),
    "rsqrt": _numpy(lambda x: 1 / np.sqrt(x)),
    "exp": _numpy(np.exp),
    "negative": _numpy(np.negative),
    "equal": _numpy(np.equal),
    "less": _numpy(np.less),
    "where": _numpy(np.where),
}
