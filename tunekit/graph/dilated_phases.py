"""Dilated convolutions as plain ones of interleaved images.

A window whose taps are two pixels apart reads, for a result in an even row and column, pixels in
even rows and columns alone: the four images of every other pixel do not meet. Beside each other in
the batch they are convolved without dilation, for which there are Winograd's algorithms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunekit.ir.relax import constant_value, operator_name, static_shape
from tunekit.ir.rewrite import replace_calls

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr

    from tunekit.ir.rewrite import Replace

_WINDOW = (3, 3)
# Pixels along an axis of such an image: Winograd's tiles hold four results.
_LEAST_SIZE = 4
# Channels in and out, below which moving the pixels costs more than it gains.
_LEAST_CHANNELS = 32


def dilated_as_phases(module: IRModule) -> IRModule:
    """The module with dilated 3x3 convolutions of images on their phases.

    Args:
        module: Relax module, weights bound as constants.
    """

    def replacement(value: Expr) -> Replace | None:
        result = static_shape(value)
        if result is None or not _has_phases(value):
            return None
        return lambda builder, call: _on_phases(builder, call, result)

    return replace_calls(module, replacement)


def _has_phases(value: Expr) -> bool:
    if operator_name(value) != "nn.conv2d":
        return False
    attrs, shape = value.attrs, static_shape(value.args[0])
    weights = constant_value(value.args[1])
    if shape is None or weights is None or str(attrs.data_layout) != "NCHW":
        return False
    if int(attrs.groups) != 1 or any(int(stride) != 1 for stride in attrs.strides):
        return False
    steps = [int(step) for step in attrs.dilation]
    if max(steps) == 1 or weights.shape[2:] != _WINDOW or min(weights.shape[:2]) < _LEAST_CHANNELS:
        return False
    return all(
        size % step == 0 and size // step >= _LEAST_SIZE and int(padding) % step == 0
        for size, step, paddings in zip(
            shape[2:], steps, (attrs.padding[0::2], attrs.padding[1::2]), strict=True
        )
        for padding in paddings
    )


def _on_phases(builder: BlockBuilder, call: Any, result: tuple[int, ...]) -> Expr:
    from tvm import relax

    data, weights, attrs = call.args[0], call.args[1], call.attrs
    shape = static_shape(data)
    assert shape is not None
    rows, columns = (int(step) for step in attrs.dilation)
    batch, channels, height, width = shape
    apart = (batch, channels, height // rows, rows, width // columns, columns)
    phases = builder.emit(relax.op.reshape(data, apart))
    phases = builder.emit(relax.op.permute_dims(phases, [0, 3, 5, 1, 2, 4]))
    images = (batch * rows * columns, channels, height // rows, width // columns)
    phases = builder.emit(relax.op.reshape(phases, images))
    steps = (rows, columns, rows, columns)
    convolved = builder.emit(
        relax.op.nn.conv2d(
            phases,
            weights,
            padding=[int(pad) // step for pad, step in zip(attrs.padding, steps, strict=True)],
            out_dtype=attrs.out_dtype,
        )
    )
    _, channels, height, width = result
    apart = (batch, rows, columns, channels, height // rows, width // columns)
    together = builder.emit(relax.op.reshape(convolved, apart))
    together = builder.emit(relax.op.permute_dims(together, [0, 3, 4, 1, 5, 2]))
    return builder.emit(relax.op.reshape(together, result))
