"""The larger and the smaller of two tensors, where "not a number" stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from tunekit.ir.relax import constant_value


def maximum(x: Any, y: Any) -> Any:
    """Relax's maximum of two tensors of one dtype; NaN where either is."""
    return _extreme(relax.op.maximum, x, y)


def minimum(x: Any, y: Any) -> Any:
    """Relax's minimum of two tensors of one dtype; NaN where either is."""
    return _extreme(relax.op.minimum, x, y)


def _extreme(operator: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """TVM's is the second operand where the two cannot be compared: NaN in the first is lost."""
    if not str(x.ty.dtype).startswith(("float", "bfloat")) or constant_value(x) is not None:
        return operator(x, y)
    if constant_value(y) is not None:
        return operator(y, x)
    return relax.op.where(relax.op.isnan(x), x, operator(x, y))


def place_of_extreme(operator: Callable[..., Any], data: Any, axis: int, keep: bool) -> Any:
    """Relax's `argmax` or `argmin`; 0 where no element is beyond what the search starts from,
    which TVM calls -1: all are infinite, or the least or largest integer that there is."""
    place = operator(data, axis=axis, keepdims=keep)
    return relax.op.maximum(place, relax.const(0, "int64"))
