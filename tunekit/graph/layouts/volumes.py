"""Convolutions of volumes whose frames are blocked images (see `graph.images`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunekit.graph.kernels.blocked import blocked_kernel
from tunekit.graph.kernels.convolution import ConvolutionShape, Depth
from tunekit.graph.layouts.blocks import padded_channels
from tunekit.graph.layouts.convolutions import data_of, emitted
from tunekit.graph.layouts.moved import reshaped
from tunekit.graph.layouts.value import Value
from tunekit.graph.layouts.values import LayoutValues
from tunekit.ir.relax import constant_value

if TYPE_CHECKING:
    from tvm.relax import Call

#: Of the data of a convolution of volumes: (N, D, C, H, W).
FRAMES_FIRST = "NDCHW"


def convolution_of_volumes(values: LayoutValues, call: Call, result: Value) -> bool:
    """A dense convolution with constant weights of volumes, whose frames come first."""
    weights = constant_value(values.plain(values.value(call.args[1])))
    attrs, source = call.attrs, values.source(call.args[0])
    if weights is None or str(attrs.data_layout) != FRAMES_FIRST or int(attrs.groups) != 1:
        return False
    assert source.shape is not None
    assert result.shape is not None
    shape = _shape(attrs, source.shape, weights.shape[2])
    data, inputs = data_of(values, _frames(values, source))
    outputs = values.blocks(weights.shape[0])
    out_channels, in_channels, *window = weights.shape
    exact = inputs.exact and outputs.exact
    padded = padded_channels(
        weights.reshape(out_channels, in_channels, -1, 1), outputs.padded, inputs.padded
    ).reshape(outputs.padded, inputs.padded, *window)
    # The channels of one frame behind those of the other.
    side_by_side = padded.transpose(0, 2, 1, 3, 4).reshape(outputs.padded, -1, *window[1:])
    kernel = blocked_kernel(
        side_by_side,
        shape,
        inputs.width,
        outputs.width,
        str(call.ty.dtype),
        depthwise=False,
        implementation=None,
        channels=None if exact else (1, window[0] * in_channels, out_channels),
    )
    packed = values.made_constant(weights, (kernel.name, inputs, outputs), kernel.pack)
    volumes, frames, *image = result.shape
    images = Value((volumes * frames, *image), blocked=emitted(values, kernel, data, packed))
    result.moved = reshaped(images, result.shape)
    return True


def _shape(attrs: Any, source: tuple[int, ...], window: int) -> ConvolutionShape:
    front, top, left, back, bottom, right = (int(number) for number in attrs.padding)
    along, *strides = (int(number) for number in attrs.strides)
    between, *dilation = (int(number) for number in attrs.dilation)
    return ConvolutionShape(
        (strides[0], strides[1]),
        (top, left, bottom, right),
        (dilation[0], dilation[1]),
        1,
        Depth(source[0], source[1], window, along, between, front, back),
    )


def _frames(values: LayoutValues, source: Value) -> Value:
    """The images of which volumes were made, or that they are made into."""
    assert source.shape is not None
    volumes, frames, *image = source.shape
    shape = (volumes * frames, *image)
    if source.moved is not None and source.plain is None:
        [*parents] = source.moved.parents
        if [parent.shape for parent in parents] == [shape] and source.moved.name == "reshape":
            return values.settled(parents[0])
        return values.settled(Value(shape, moved=reshaped(source, shape)))
    return Value(shape, plain=values.reshape(values.plain(source), shape))
