"""Operators on images that were signals or volumes: a rule for each.

A rule gives a call's result the form of an image (or its own, where that is what it makes), and
says whether it did. A new operator is a rule in `RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.graph.images.values import ImageValue, ImageValues, image_shape
from tunekit.graph.kernels.convolution import Depth
from tunekit.graph.layouts.operators import BROADCASTING, UNARY
from tunekit.graph.layouts.volumes import FRAMES_FIRST
from tunekit.ir.relax import constant_value, operator_name, static_shape

if TYPE_CHECKING:
    import numpy as np
    from tvm.relax import Call, Expr

Rule = Callable[[ImageValues, "Call", ImageValue], bool]
"""Of all values of the graph, a call, and the value that it gives."""
CONVOLUTIONS = ("nn.conv1d", "nn.conv3d", "nn.conv1d_transpose", "nn.conv3d_transpose")


def _convolution(images: ImageValues, call: Call, result: ImageValue) -> bool:
    from tvm import relax

    source, window = images.value(call.args[0]), _Window.of(call)
    weights = constant_value(call.args[1])
    if weights is None or str(call.attrs.data_layout) not in ("NCW", "NCDHW"):
        return False
    groups = int(call.attrs.groups)

    def convolved(data: Expr, part: np.ndarray) -> Expr:
        return images.builder.emit(
            relax.op.nn.conv2d(
                data,
                relax.const(part, str(part.dtype)),
                strides=_of_image(window.strides, 1),
                padding=_around_image(window.pads),
                dilation=_of_image(window.dilation, 1),
                groups=groups,
                out_dtype=str(call.ty.dtype),
            )
        )

    image = images.image(source)
    if len(source.shape) == 3:
        result.image = convolved(image, weights[:, :, None])
        return True
    is_depthwise = groups == source.shape[1] == len(weights)
    if weights.shape[2] == 1 or not (groups == 1 or is_depthwise):
        frames = _taps(images, image, window.depth(source.shape, weights.shape[2]))
        parts = [convolved(data, weights[:, :, tap]) for tap, data in enumerate(frames)]
        result.image = _reduced(images, relax.op.add, parts)
        return True
    batch, channels, count, *size = source.shape
    convolution = relax.op.nn.conv3d(
        images.reshape(image, (batch, count, channels, *size)),
        call.args[1],
        strides=window.strides,
        padding=window.pads,
        dilation=window.dilation,
        groups=groups,
        data_layout=FRAMES_FIRST,
        out_dtype=str(call.ty.dtype),
    )
    result.image = images.reshape(images.builder.emit(convolution), image_shape(result.shape))
    return True


def _transposed(images: ImageValues, call: Call, result: ImageValue) -> bool:
    """A transposed convolution of signals, or of volumes if each frame is read by as many frames
    as its stride says, and these by no other."""
    from tvm import relax

    attrs, window = call.attrs, _Window.of(call)
    weights = constant_value(call.args[1])
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout))
    if weights is None or layouts not in (("NCW", "IOW"), ("NCDHW", "IODHW")):
        return False
    further = [int(number) for number in attrs.output_padding]
    parts = [weights[:, :, None]]
    if weights.ndim == 5:
        depth = window.depth(images.value(call.args[0]).shape, weights.shape[2])
        if (depth.window, depth.padded, further[0]) != (depth.stride, depth.frames, 0):
            return False
        parts = [weights[:, :, tap] for tap in range(depth.window)]
    image = images.image(images.value(call.args[0]))
    frames = [
        images.builder.emit(
            relax.op.nn.conv2d_transpose(
                image,
                relax.const(part, str(part.dtype)),
                strides=_of_image(window.strides, 1),
                padding=_around_image(window.pads),
                output_padding=_of_image(further, 0),
                dilation=_of_image(window.dilation, 1),
                groups=int(attrs.groups),
                out_dtype=str(call.ty.dtype),
            )
        )
        for part in parts
    ]
    if len(frames) > 1:
        count, *size = static_shape(frames[0]) or ()
        apart = [images.reshape(frame, (count, 1, *size)) for frame in frames]
        joined = images.builder.emit(relax.op.concat(apart, axis=1))
        frames = [images.reshape(joined, image_shape(result.shape))]
    [result.image] = frames
    return True


def _taps(images: ImageValues, frames: Expr, depth: Depth, mode: str = "constant") -> list[Expr]:
    """For each place of a window the frames read there; what is before the first and behind the
    last is zero, or by mode "replicate" as they are."""
    from tvm import relax

    if depth == Depth(depth.volumes, depth.frames, 1, 1, depth.dilation, 0, 0):
        return [frames]
    size = (static_shape(frames) or ())[1:]
    volumes = images.reshape(frames, (depth.volumes, depth.frames, *size))
    if depth.padded > depth.frames:
        around = [0, 0, depth.before, depth.after, 0, 0, 0, 0, 0, 0]
        volumes = images.builder.emit(relax.op.nn.pad(volumes, around, mode))
    taken = []
    for tap in range(depth.window):
        begin = tap * depth.dilation
        end = begin + (depth.outputs - 1) * depth.stride + 1
        part = relax.op.strided_slice(volumes, [1], [begin], [end], [depth.stride])
        shape = (depth.volumes * depth.outputs, *size)
        taken.append(images.reshape(images.builder.emit(part), shape))
    return taken


def _reduced(images: ImageValues, operator: Callable[..., Expr], parts: Sequence[Expr]) -> Expr:
    result = parts[0]
    for part in parts[1:]:
        result = images.builder.emit(operator(result, part))
    return result


def _unary(images: ImageValues, call: Call, result: ImageValue) -> bool:
    from tvm import relax

    source = images.value(call.args[0])
    if source.image is None or source.shape != result.shape:
        return False
    arguments = [source.image, *call.args[1:]]
    result.image = images.builder.emit(relax.Call(call.op, arguments, call.attrs))
    return True


def _elementwise(images: ImageValues, call: Call, result: ImageValue) -> bool:
    """An operator whose operands broadcast to its result, one of them an image as large."""
    from tvm import relax

    operands = [images.value(argument) for argument in call.args]
    if not any(item.image is not None and item.shape == result.shape for item in operands):
        return False
    arguments = []
    for item in operands:
        if item.shape == result.shape:
            arguments.append(images.image(item))
            continue
        shape = _broadcast_shape(item.shape, result.shape)
        if shape is None:
            return False
        arguments.append(images.reshape(images.own(item), shape) if item.shape else item.own)
    result.image = images.builder.emit(relax.Call(call.op, arguments, call.attrs))
    return True


def _broadcast_shape(shape: Sequence[int], into: Sequence[int]) -> tuple[int, ...] | None:
    """The shape in which an operand broadcasts with images; None where it does not."""
    if len(shape) > len(into):
        return None
    padded = (1,) * (len(into) - len(shape)) + tuple(shape)
    if len(into) == 3:
        return image_shape(padded)
    # It is the same for all frames, of all volumes.
    return image_shape(padded) if padded[0] == padded[2] == 1 else None


def _pool(images: ImageValues, call: Call, result: ImageValue) -> bool:
    from tvm import relax

    source, attrs, window = images.value(call.args[0]), call.attrs, _Window.of(call)
    if source.image is None or str(attrs.layout) not in ("NCW", "NCDHW"):
        return False
    is_mean = operator_name(call).startswith("nn.avg")
    sizes = [int(number) for number in attrs.pool_size]
    depth = None
    if len(source.shape) == 5:
        depth = window.depth(source.shape, sizes[0])
        # A window that is cut off at the end; a mean counts places, and the first frame stands for
        # one before it only where that is in reach.
        is_beyond = depth.padded > depth.frames and (is_mean or depth.dilation > 1)
        if depth.outputs != result.shape[2] or is_beyond:
            return False
    pooling = relax.op.nn.avg_pool2d if is_mean else relax.op.nn.max_pool2d
    pooled = images.builder.emit(
        pooling(
            source.image,
            pool_size=_of_image(sizes, 1),
            strides=_of_image(window.strides, 1),
            padding=_around_image(window.pads),
            dilation=_of_image(window.dilation, 1),
            ceil_mode=bool(attrs.ceil_mode),
            count_include_pad=bool(attrs.count_include_pad),
        )
    )
    if depth is not None and (depth.window, depth.stride) != (1, 1):
        parts = _taps(images, pooled, depth, "replicate")
        pooled = _reduced(images, relax.op.add if is_mean else relax.op.maximum, parts)
        if is_mean:
            share = relax.const(1 / depth.window, str(call.ty.dtype))
            pooled = images.builder.emit(relax.op.multiply(pooled, share))
    result.image = pooled
    return True


def _mean(images: ImageValues, call: Call, result: ImageValue) -> bool:
    """Over all of an image or volume."""
    source = images.value(call.args[0])
    rank = len(source.shape)
    if source.image is None or call.attrs.axis is None:
        return False
    if sorted(int(axis) % rank for axis in call.attrs.axis) != [*range(2, rank)]:
        return False
    result.own = images.reshape(_mean_of(images, source), result.shape)
    return True


def _adaptive_pool(images: ImageValues, call: Call, result: ImageValue) -> bool:
    """To one pixel."""
    source = images.value(call.args[0])
    if source.image is None or math.prod(result.shape[2:]) != 1:
        return False
    result.own = images.reshape(_mean_of(images, source), result.shape)
    return True


def _mean_of(images: ImageValues, source: ImageValue) -> Expr:
    """Of each channel."""
    from tvm import relax

    mean = images.builder.emit(relax.op.mean(images.image(source), [2, 3], keepdims=True))
    if len(source.shape) == 3 or source.shape[2] == 1:
        return mean
    batch, channels, frames = source.shape[:3]
    of_frames = images.reshape(mean, (batch, frames, channels))
    return images.builder.emit(relax.op.mean(of_frames, [1]))


def _concatenation(images: ImageValues, call: Call, result: ImageValue) -> bool:
    """Of channels."""
    from tvm import relax

    if (
        not isinstance(call.args[0], relax.Tuple)
        or int(call.attrs.axis or 0) % len(result.shape) != 1
    ):
        return False
    parts = [images.value(item) for item in call.args[0].fields]
    if any(part.image is None for part in parts):
        return False
    images_of_parts = [images.image(part) for part in parts]
    result.image = images.builder.emit(relax.op.concat(images_of_parts, axis=1))
    return True


def _pad(images: ImageValues, call: Call, result: ImageValue) -> bool:
    """Of rows and columns."""
    from tvm import relax

    source = images.value(call.args[0])
    widths = [int(width) for width in call.attrs.pad_width]
    own = 2 if len(source.shape) == 3 else 4
    if source.image is None or any(widths[:-own]):
        return False
    result.image = images.builder.emit(
        relax.op.nn.pad(
            source.image,
            [0] * (8 - own) + widths[-own:],
            str(call.attrs.pad_mode),
            float(call.attrs.pad_value),
        )
    )
    return True


@dataclass(frozen=True)
class _Window:
    """How the window of a convolution or pooling moves, by axes.

    Attributes:
        strides, dilation: a number for each axis.
        pads: those before along each axis, then those behind.
    """

    strides: list[int]
    dilation: list[int]
    pads: list[int]

    @classmethod
    def of(cls, call: Call) -> _Window:
        axes = 1 if "1d" in operator_name(call) else 3

        def numbers(values: Any) -> list[int]:
            given = [int(number) for number in values]
            return given * axes if len(given) == 1 else given

        attrs, pads = call.attrs, numbers(call.attrs.padding)
        twice = pads * 2 if len(pads) == axes else pads
        return cls(numbers(attrs.strides), numbers(attrs.dilation), twice)

    def depth(self, shape: Sequence[int], window: int) -> Depth:
        """Of volumes of such a shape and a window of so many frames."""
        before, after = self.pads[0], self.pads[3]
        return Depth(shape[0], shape[2], window, self.strides[0], self.dilation[0], before, after)


def _of_image(numbers: Sequence[int], row: int) -> tuple[int, int]:
    """For rows and columns, of numbers for each axis; a signal's rows have `row`."""
    return (row, numbers[0]) if len(numbers) == 1 else (numbers[1], numbers[2])


def _around_image(pads: Sequence[int]) -> list[int]:
    """(top, left, bottom, right), of those around a signal or volume."""
    half = len(pads) // 2
    return [*_of_image(pads[:half], 0), *_of_image(pads[half:], 0)]


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("nn.conv1d", "nn.conv3d"), _convolution),
    **dict.fromkeys(("nn.conv1d_transpose", "nn.conv3d_transpose"), _transposed),
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys((*BROADCASTING, "multiply"), _elementwise),
    **dict.fromkeys(("nn.max_pool1d", "nn.avg_pool1d", "nn.max_pool3d", "nn.avg_pool3d"), _pool),
    **dict.fromkeys(("nn.adaptive_avg_pool1d", "nn.adaptive_avg_pool3d"), _adaptive_pool),
    "mean": _mean,
    "concat": _concatenation,
    "nn.pad": _pad,
}
"""By the name of the Relax operator."""
