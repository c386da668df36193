"""Dilated convolutions in parts, each with the taps of the window that read no padding there.

Segmentation spreads windows far (a dilation of 12 on 32 pixels): near the borders most of their
taps multiply zeros. Every place along an axis has a range of taps that stand on pixels; places with
the same range are one part, which a convolution without padding computes. All parts together read
each pixel as often as there is something to multiply it with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from tunekit.ir.relax import constant_value, is_finite, operator_name, static_shape
from tunekit.ir.rewrite import replace_calls

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr

    from tunekit.ir.rewrite import Replace

# Of the work, that has to be on padding.
_LEAST_SHARE = 0.2
# Floating-point operations that have to be saved for each byte that is copied into a part.
_LEAST_PER_BYTE = 30
_ROWS, _COLUMNS = 2, 3


@dataclass(frozen=True)
class _Part:
    """Some places along an axis of a convolution's result, and what they are computed from.

    Attributes:
        count: of places.
        taps: (first, behind the last) of the window's.
        read: (first, behind the last) pixel.
    """

    count: int
    taps: tuple[int, int]
    read: tuple[int, int]

    @property
    def work(self) -> int:
        """Products along the axis."""
        return self.count * (self.taps[1] - self.taps[0])


def dilated_in_parts(module: IRModule) -> IRModule:
    """The module with dilated convolutions of images in parts where that saves enough.

    Args:
        module: Relax module, weights bound as constants.
    """

    def replacement(value: Expr) -> Replace | None:
        parts = _worthwhile_parts(value)
        if parts is None:
            return None
        rows, columns = parts
        return lambda builder, call: _put_together(builder, call, rows, columns)

    return replace_calls(module, replacement)


def _worthwhile_parts(value: Expr) -> tuple[list[_Part], list[_Part]] | None:
    if operator_name(value) != "nn.conv2d":
        return None
    attrs = value.attrs
    if str(attrs.data_layout) != "NCHW" or int(attrs.groups) != 1:
        return None
    steps = [int(step) for step in attrs.dilation]
    if max(steps) == 1 or any(int(stride) != 1 for stride in attrs.strides):
        return None
    shape, result = static_shape(value.args[0]), static_shape(value)
    weights = constant_value(value.args[1])
    if shape is None or result is None or weights is None or not is_finite(weights):
        return None
    rows, columns = (
        _parts(shape[axis], result[axis], weights.shape[axis], steps[axis - 2], before)
        for axis, before in ((_ROWS, int(attrs.padding[0])), (_COLUMNS, int(attrs.padding[1])))
    )
    if rows is None or columns is None:
        return None
    whole = math.prod(result[2:]) * math.prod(weights.shape[2:])
    left = sum(part.work for part in rows) * sum(part.work for part in columns)
    per_product = 2 * shape[0] * weights.shape[0] * weights.shape[1]
    pixel_bytes = shape[0] * shape[1] * weights.itemsize
    copied = pixel_bytes * sum(
        _extent(row) * _extent(column)
        for row, column in product(rows, columns)
        if (_extent(row), _extent(column)) != tuple(shape[2:])
    )
    saved = whole - left
    if saved < _LEAST_SHARE * whole or saved * per_product < _LEAST_PER_BYTE * copied:
        return None
    return rows, columns


def _parts(size: int, places: int, taps: int, step: int, before: int) -> list[_Part] | None:
    """The parts of an axis, in order; None where some place reads nothing but padding."""
    ranges: list[tuple[int, int]] = []
    for place in range(places):
        inside = [tap for tap in range(taps) if 0 <= place + tap * step - before < size]
        if not inside:
            return None
        ranges.append((inside[0], inside[-1] + 1))
    found, begin = [], 0
    for end in range(1, places + 1):
        if end < places and ranges[end] == ranges[begin]:
            continue
        first, behind = ranges[begin]
        read = (begin + first * step - before, end + (behind - 1) * step - before)
        found.append(_Part(end - begin, (first, behind), read))
        begin = end
    return found


def _put_together(
    builder: BlockBuilder, call: Any, rows: list[_Part], columns: list[_Part]
) -> Expr:
    from tvm import relax

    def joined(values: list[Expr], axis: int) -> Expr:
        return values[0] if len(values) == 1 else builder.emit(relax.op.concat(values, axis))

    lines = [
        joined([builder.emit(_part_of(builder, call, row, column)) for column in columns], _COLUMNS)
        for row in rows
    ]
    return joined(lines, _ROWS)


def _part_of(builder: BlockBuilder, call: Any, row: _Part, column: _Part) -> Expr:
    from tvm import relax

    data, weights, attrs = call.args[0], constant_value(call.args[1]), call.attrs
    assert weights is not None
    shape = static_shape(data)
    assert shape is not None
    if (_extent(row), _extent(column)) != tuple(shape[2:]):
        begins, ends = zip(row.read, column.read, strict=True)
        data = builder.emit(relax.op.strided_slice(data, [_ROWS, _COLUMNS], begins, ends))
    kept = weights[:, :, slice(*row.taps), slice(*column.taps)]
    result: Expr = relax.op.nn.conv2d(
        data,
        relax.const(kept.copy(), str(weights.dtype)),
        # A single tap has nothing to be apart from.
        dilation=[
            int(step) if part.taps[1] - part.taps[0] > 1 else 1
            for step, part in zip(attrs.dilation, (row, column), strict=True)
        ],
        out_dtype=attrs.out_dtype,
    )
    return result


def _extent(part: _Part) -> int:
    return part.read[1] - part.read[0]
