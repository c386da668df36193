"""Writing into a tensor at indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from tunekit.ir.relax import static_shape


def scatter_elements(
    emit: Callable[[Any], Any], data: Any, indices: Any, updates: Any, axis: int, reduction: str
) -> Any:
    """Relax's `scatter_elements`, also where the indices cover a part of another axis.

    They count from 0 on there, as ONNX and torch have it; TVM takes the place of such an index in
    the flat tensor for a place in the data.

    Args:
        emit: binds an expression to a variable.
        data, indices, updates: of the same rank; `updates` has the indices' shape.
        axis: along which indices are, not negative.
        reduction: "update", "add" and so on.
    """
    shape, covered = static_shape(data), static_shape(indices)
    assert shape is not None
    assert covered is not None
    # The outermost on each side of the axis may be shorter.
    inner = (other for other in range(len(shape)) if other not in (axis, 0, axis + 1))
    if all(shape[other] == covered[other] for other in inner):
        return relax.op.scatter_elements(data, indices, updates, axis, reduction)
    shorter = [
        other for other in range(len(shape)) if other != axis and covered[other] < shape[other]
    ]
    part = emit(_slice(data, shorter, [0] * len(shorter), [covered[other] for other in shorter]))
    result = emit(relax.op.scatter_elements(part, indices, updates, axis, reduction))
    for done, other in enumerate(shorter):
        later = shorter[done + 1 :]
        ends = [shape[other], *(covered[place] for place in later)]
        rest = _slice(data, [other, *later], [covered[other], *[0] * len(later)], ends)
        result = emit(relax.op.concat([result, emit(rest)], other))
    return result


def _slice(data: Any, axes: list[int], begins: list[int], ends: list[int]) -> Any:
    return relax.op.strided_slice(data, axes, begins, ends)
