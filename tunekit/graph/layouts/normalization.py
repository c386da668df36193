"""Group normalization of blocked activations; with one channel a group, instance normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.graph.layouts.blocks import Blocks
from tunekit.graph.layouts.group_norm_rows import in_rows, normalizes_groups
from tunekit.graph.layouts.moved import reshaped
from tunekit.graph.layouts.value import Value
from tunekit.graph.layouts.values import LayoutValues
from tunekit.ir.relax import constant_value, static_shape
from tunekit.ir.rewrite import substitute

if TYPE_CHECKING:
    from tvm.relax import Call, Expr


def group_norm(values: LayoutValues, call: Call, result: Value) -> bool:
    """Normalizes blocked images by the means of their channels, others row by row."""
    source = values.value(call.args[0])
    if not normalizes_groups(call):
        return False
    image = _image_of_groups(source, int(call.attrs.num_groups))
    normalized = None if image is None else _in_blocks(values, call, image)
    if image is None or normalized is None:
        result.plain = in_rows(values.builder, substitute(call, values.plain_of))
    elif image is source:
        result.blocked = normalized
    else:
        result.moved = reshaped(Value(image.shape, blocked=normalized), source.shape or ())
    return True


def _image_of_groups(source: Value, groups: int) -> Value | None:
    """The blocked image that is normalized: the source, or what was reshaped to a row a group, as
    ONNX has to."""
    if source.blocked is not None:
        return source
    if source.moved is None or source.moved.name != "reshape" or source.shape is None:
        return None
    [parent] = source.moved.parents
    if parent.blocked is None or parent.shape is None:
        return None
    is_same = parent.shape[:1] == source.shape[:1] and source.shape[1] == groups
    return parent if is_same and parent.shape[1] % groups == 0 else None


def _in_blocks(values: LayoutValues, call: Call, image: Value) -> Expr | None:
    """The normalized image in blocks: the means of the channels are vectors, and of these come the
    means of the groups, which may begin and end within a block."""
    from tvm import relax

    assert image.shape is not None
    assert image.blocked is not None
    blocks, epsilon = values.blocks(image.shape[1]), float(call.attrs.epsilon)
    scale, shift = (_of_channels(values, parameter, blocks) for parameter in call.args[1:])
    # Padding has no variance.
    if scale is None or shift is None or not (blocks.exact or epsilon > 0):
        return None
    op, emit, data, groups = relax.op, values.builder.emit, image.blocked, call.attrs.num_groups

    def mean_of_groups(elements: Expr) -> Expr:
        means = emit(op.mean(elements, [2, 3], keepdims=True))
        return means if groups == blocks.channels else _shared(values, means, image, int(groups))

    mean = mean_of_groups(data)
    centred = emit(op.subtract(data, mean))
    variance = mean_of_groups(op.multiply(centred, centred))
    factor = op.rsqrt(op.add(variance, relax.const(epsilon, "float32")))
    factor = emit(op.multiply(factor, scale) if call.attrs.scale else factor)
    # Subtracted once more, which takes less time than to keep what it gave.
    normalized = op.multiply(op.subtract(data, mean), factor)
    return emit(op.add(normalized, shift) if call.attrs.center else normalized)


def _of_channels(values: LayoutValues, parameter: Expr, blocks: Blocks) -> Expr | None:
    """A parameter, of channels or of groups, as it broadcasts with blocks; None where it is not
    known in time."""
    from tvm import relax

    plain, shape = values.plain(values.value(parameter)), (1, blocks.channels, 1, 1)
    array = constant_value(plain)
    if array is not None:
        plain = relax.const(array.repeat(blocks.channels // array.size), str(array.dtype))
    elif static_shape(plain) == (blocks.channels,):
        plain = values.reshape(plain, shape)
    else:
        return None
    return values.operand(Value(shape, plain=plain), blocks)


def _shared(values: LayoutValues, means: Expr, image: Value, groups: int) -> Expr:
    """Of numbers of channels, in blocks, for each channel the mean of its group."""
    from tvm import relax

    batch, channels, *_ = image.shape or ()
    shape, rows = (batch, channels, 1, 1), (batch, groups, channels // groups)
    plain = values.plain(Value(shape, blocked=means))
    mean = values.builder.emit(relax.op.mean(values.reshape(plain, rows), [2], keepdims=True))
    spread = values.builder.emit(relax.op.broadcast_to(mean, relax.ShapeExpr(list(rows))))
    blocked = values.blocked(Value(shape, plain=values.reshape(spread, shape)))
    assert blocked is not None
    return blocked
