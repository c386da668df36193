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
    import numpy as np
    from tvm.relax import Call

#: Of the data of a convolution of volumes: (N, D, C, H, W).
FRAMES_FIRST = "NDCHW"


def convolution_of_volumes(values: LayoutValues, call: Call, result: Value) -> bool:
    """A dense or depthwise convolution with constant weights of volumes, whose frames come
    first."""
    weights = constant_value(values.plain(values.value(call.args[1])))
    attrs, source = call.attrs, values.source(call.args[0])
    if weights is None or str(attrs.data_layout) != FRAMES_FIRST:
        return False
    assert source.shape is not None
    assert result.shape is not None
    out_channels, in_channels, *window = weights.shape
    depthwise = int(attrs.groups) == source.shape[2] == out_channels > 1
    if int(attrs.groups) != 1 and not depthwise:
        return False
    data, inputs = data_of(values, _frames(values, source), blocked=depthwise)
    outputs = values.blocks(out_channels)
    exact = inputs.exact and outputs.exact
    channels = (out_channels, 1, 1) if depthwise else (1, window[0] * in_channels, out_channels)
    kernel = blocked_kernel(
        _of_frames(
            weights,
            outputs.padded,
            in_channels if depthwise else inputs.padded,
            depthwise=depthwise,
        ),
        _shape(attrs, source.shape, window[0]),
        inputs.width,
        outputs.width,
        str(call.ty.dtype),
        depthwise=depthwise,
        implementation=None,
        channels=None if exact else channels,
    )
    packed = values.made_constant(weights, (kernel.name, inputs, outputs), kernel.pack)
    volumes, frames, *image = result.shape
    images = Value((volumes * frames, *image), blocked=emitted(values, kernel, data, packed))
    result.moved = reshaped(images, result.shape)
    return True


def _of_frames(weights: np.ndarray, outputs: int, inputs: int, *, depthwise: bool) -> np.ndarray:
    """Weights (O, C, D, H, W) as those of images, with channels of padding: the channels of one
    frame behind those of the other, (O, D*C, H, W), or of a depthwise one the rows, (O, 1, D*H, W).
    """
    out_channels, in_channels, *window = weights.shape
    flat = weights.reshape(out_channels, in_channels, -1, 1)
    padded = padded_channels(flat, outputs, inputs).reshape(outputs, inputs, *window)
    if depthwise:
        return padded.reshape(outputs, 1, window[0] * window[1], window[2])
    return padded.transpose(0, 2, 1, 3, 4).reshape(outputs, -1, *window[1:])


def _shape(attrs: Any, source: tuple[int, ...], window: int) -> ConvolutionShape:
    front, top, left, back, bottom, right = (int(number) for number in attrs.padding)
    along, *strides = (int(number) for number in attrs.strides)
    between, *dilation = (int(number) for number in attrs.dilation)
    return ConvolutionShape(
        (strides[0], strides[1]),
        (top, left, bottom, right),
        (dilation[0], dilation[1]),
        int(attrs.groups),
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
