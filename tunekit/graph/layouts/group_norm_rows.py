"""Group normalization in plain layouts: each group a row, of which one pass finds the mean and
another the variance.

TVM's own kernel takes the square of the mean from the mean of the squares, which leaves only noise
where the mean is large.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tunekit.ir.relax import operator_name, static_shape
from tunekit.ir.rewrite import replace_calls

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr


def normalizes_groups(value: Expr) -> bool:
    """Whether a value is a group normalization in float32 over all axes but images and channels."""
    if operator_name(value) != "nn.group_norm" or str(value.ty.dtype) != "float32":
        return False
    shape = static_shape(value.args[0])
    if shape is None:
        return False
    rank, attrs = len(shape), value.attrs
    axes = sorted(int(axis) % rank for axis in attrs.axes)
    return int(attrs.channel_axis) % rank == 1 and axes == [*range(2, rank)]


def group_norms_in_rows(module: IRModule) -> IRModule:
    """The module with such normalizations in simpler operators."""
    return replace_calls(module, lambda value: in_rows if normalizes_groups(value) else None)


def in_rows(builder: BlockBuilder, call: Any) -> Expr:
    """A group normalization in simpler operators."""
    from tvm import relax

    op, emit, attrs = relax.op, builder.emit, call.attrs
    data, scale, shift = call.args
    shape, groups = static_shape(data) or (), int(attrs.num_groups)
    rows = emit(op.reshape(data, (shape[0], groups, math.prod(shape[1:]) // groups)))
    centred = emit(op.subtract(rows, op.mean(rows, [2], keepdims=True)))
    variance = op.mean(op.multiply(centred, centred), [2], keepdims=True)
    epsilon = relax.const(float(attrs.epsilon), "float32")
    result = op.multiply(centred, op.rsqrt(op.add(variance, epsilon)))
    result = op.reshape(result, shape)
    of_channels = (1, shape[1], *[1] * (len(shape) - 2))
    if attrs.scale:
        result = op.multiply(result, op.reshape(scale, of_channels))
    if attrs.center:
        result = op.add(result, op.reshape(shift, of_channels))
    return emit(result)
