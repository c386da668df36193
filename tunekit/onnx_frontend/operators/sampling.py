"""Operators that read an image at places between its pixels, or that sum overlapping patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.linear import windows
from tunekit.onnx_frontend.operators.shapes import reshaped
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Array, Value

# An index of 32 bits holds a coordinate up to here, and single precision its whole part.
_FARTHEST = float(1 << 22)

_MODES = {
    "bilinear": "linear",
    "linear": "linear",
    "nearest": "nearest",
    "bicubic": "cubic",
    "cubic": "cubic",
}


@converts("GridSample")
def _grid_sample(node: OnnxNode) -> Value:
    mode = _MODES.get(node.attribute("mode", "linear"))
    padding = node.attribute("padding_mode", "zeros")
    if mode is None or padding not in ("zeros", "border", "reflection"):
        raise Unsupported(f"its modes are {node.attribute('mode')!r} and {padding!r}")
    return node.emit_te(
        _sampled_by_grid,
        node.tensor(0),
        node.tensor(1),
        mode=mode,
        padding=padding,
        corners=bool(node.attribute("align_corners", 0)),
        name="grid_sample",
    )


def _sampled_by_grid(data: Any, grid: Any, mode: str, padding: str, corners: bool) -> Any:
    """(n, c, *sizes) at a grid of (n, *places, axes), whose last axis has x first."""
    from tvm import te

    sizes = [int(size) for size in data.shape[2:]]
    rank, dtype = len(sizes), str(data.dtype)

    def coordinate(batch: Any, axis: int, places: Sequence[Any]) -> Any:
        size = sizes[axis]
        number = grid(batch, *places, rank - 1 - axis).astype(dtype)
        if corners:
            place = (number + 1.0) / 2.0 * float(size - 1)
        else:
            place = ((number + 1.0) * float(size) - 1.0) / 2.0
        return te.max(te.min(place, _FARTHEST), -_FARTHEST)

    def element(batch: Any, channel: Any, *places: Any) -> Any:
        taps = [_taps_at(coordinate(batch, axis, places), mode, dtype) for axis in range(rank)]
        total = None
        for chosen in itertools.product(*taps):
            term = _pixel(data, (batch, channel), [index for index, _ in chosen], padding, corners)
            for _, weight in chosen:
                if weight is not None:
                    term = term * weight
            total = term if total is None else total + term
        return total

    shape = [*data.shape[:2], *grid.shape[1:-1]]
    return te.compute(shape, element, name="grid_sample")


def _taps_at(place: Any, mode: str, dtype: str) -> list[tuple[Any, Any]]:
    """The indices along an axis that a coordinate reads, with weights (None for one)."""
    from tvm import te, tirx

    if mode == "nearest":
        return [(tirx.nearbyint(place).astype("int32"), None)]
    low = te.floor(place)
    part, index = place - low, low.astype("int32")
    if mode == "linear":
        return [(index, 1.0 - part), (index + 1, part)]
    weights = [_near_or_far(part + 1.0, far=True), _near_or_far(part, far=False)]
    weights += [_near_or_far(1.0 - part, far=False), _near_or_far(2.0 - part, far=True)]
    return [(index + offset, weight) for offset, weight in zip(range(-1, 3), weights, strict=True)]


def _near_or_far(distance: Any, far: bool) -> Any:
    """Keys' cubic kernel with a = -0.75, within one pixel or between one and two."""
    a = -0.75
    if far:
        return ((distance * a - 5 * a) * distance + 8 * a) * distance - 4 * a
    return (distance * (a + 2) - (a + 3)) * distance * distance + 1.0


def _pixel(
    data: Any, outer: tuple[Any, ...], indices: list[Any], padding: str, corners: bool
) -> Any:
    """One pixel, of the padding where it lies outside."""
    from tvm import te, tirx

    sizes = [int(size) for size in data.shape[len(outer) :]]
    if padding == "reflection":
        places = [_reflected(i, size, corners) for i, size in zip(indices, sizes, strict=True)]
    else:
        places = [te.max(te.min(i, size - 1), 0) for i, size in zip(indices, sizes, strict=True)]
    pixel = data(*outer, *places)
    if padding != "zeros":
        return pixel
    inside = [
        condition
        for index, size in zip(indices, sizes, strict=True)
        for condition in (index >= 0, index < size)
    ]
    return te.if_then_else(tirx.all(*inside), pixel, tirx.const(0, str(data.dtype)))


def _reflected(index: Any, size: int, corners: bool) -> Any:
    """Mirrored at the centres of the outer pixels, or at their outer edges."""
    from tvm import te, tirx

    if size == 1:
        return 0
    if corners:
        period = 2 * (size - 1)
        place = te.indexmod(tirx.abs(index), period)
        return te.min(place, period - place)
    period = 2 * size
    place = te.indexmod(te.if_then_else(index >= 0, index, -1 - index), period)
    return te.min(place, period - 1 - place)


@converts("AffineGrid")
def _affine_grid(node: OnnxNode) -> Value:
    """The places of an image of this size, mapped by a matrix for each of a batch."""
    batch, _, *sizes = (int(size) for size in node.known(1, "size"))
    corners = bool(node.attribute("align_corners", 0))
    axes = [_grid_line(size, corners) for size in sizes]
    # x is first in a place, and last in an image.
    places = np.stack([*np.meshgrid(*axes, indexing="ij")][::-1], -1).reshape(-1, len(sizes))
    base = np.concatenate([places, np.ones([len(places), 1])], 1).astype(node.dtype())
    grid = node.call("MatMul", base, node.call("Transpose", node.value(0), perm=[0, 2, 1]))
    return reshaped(node, grid, [batch, *sizes, len(sizes)])


def _grid_line(size: int, corners: bool) -> Array:
    if corners:
        return np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
    return (np.arange(size) * 2 + 1) / size - 1


# Convolutions that read between pixels, and patches.


@converts("DeformConv")
def _deform_conv(node: OnnxNode) -> Value:
    """The pixels that each place of the kernel reads, then a convolution of one pixel."""
    if len(node.shape()) != 4:
        raise Unsupported(f"it has {len(node.shape()) - 2} spatial axes; two are possible")
    kernel = list(node.shape(1)[2:])
    strides, dilations, before, _ = windows(node, node.shape()[2:], kernel)
    columns = node.emit_te(
        _deformed,
        node.tensor(0),
        node.tensor(2),
        [node.tensor(4)] if node.has(4) else [],
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        before=before,
        groups=int(node.attribute("offset_group", 1)),
        name="deform_conv_columns",
    )
    outputs, channels = node.shape(1)[:2]
    weights = reshaped(node, node.value(1), [outputs, channels * math.prod(kernel), 1, 1])
    return node.call(
        "Conv",
        columns,
        weights,
        node.value(3),
        group=int(node.attribute("group", 1)),
        kernel_shape=[1, 1],
    )


def _deformed(
    data: Any,
    offsets: Any,
    mask: Sequence[Any],
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    before: list[int],
    groups: int,
) -> Any:
    """(n, channels * kernel, *places): a pixel at an offset of its own for each."""
    from tvm import te

    batch, channels = (int(size) for size in data.shape[:2])
    reach, dtype = math.prod(kernel), str(data.dtype)

    def element(image: Any, row: Any, y: Any, x: Any) -> Any:
        channel, inner = te.indexdiv(row, reach), te.indexmod(row, reach)
        group = te.indexdiv(channel, channels // groups)
        cell = [te.indexdiv(inner, kernel[1]), te.indexmod(inner, kernel[1])]
        places = []
        for axis, place in enumerate((y, x)):
            start = place * strides[axis] - before[axis] + cell[axis] * dilations[axis]
            moved = offsets(image, (group * reach + inner) * 2 + axis, y, x)
            exact = start.astype(dtype) + moved
            places.append(te.max(te.min(exact, _FARTHEST), -_FARTHEST))
        total = None
        for chosen in itertools.product(*(_taps_at(place, "linear", dtype) for place in places)):
            pixel = _pixel(data, (image, channel), [i for i, _ in chosen], "zeros", False)
            term = pixel * chosen[0][1] * chosen[1][1]
            total = term if total is None else total + term
        if mask:
            total = total * mask[0](image, group * reach + inner, y, x)
        return total

    shape = [batch, channels * reach, *offsets.shape[2:]]
    return te.compute(shape, element, name="deform_conv_columns")


@converts("Col2Im")
def _col2im(node: OnnxNode) -> Value:
    image = [int(size) for size in node.known(1, "image_shape")]
    kernel = [int(size) for size in node.known(2, "block_shape")]
    strides, dilations, before, after = windows(node, tuple(image), kernel)
    counts = [
        (size + first + last - (window - 1) * dilation - 1) // stride + 1
        for size, first, last, window, dilation, stride in zip(
            image, before, after, kernel, dilations, strides, strict=True
        )
    ]
    batch, rows, _ = node.shape()
    grid = [batch, rows // math.prod(kernel), *kernel, *counts]
    patches = reshaped(node, node.value(0), grid)

    def places(index: Any, inner: Any, axis: int) -> tuple[Any, Any]:
        """Which patch has a pixel at place `inner`, and whether there is one."""
        return _patch_of(
            index + before[axis] - inner * dilations[axis], strides[axis], counts[axis]
        )

    return node.emit_te(
        _patches_summed,
        node.expr(patches),
        image=image,
        kernel=kernel,
        places=places,
        name="col2im",
    )


def _patch_of(distance: Any, stride: int, count: int) -> tuple[Any, Any]:
    from tvm import te, tirx

    # Never negative, as the division of indices needs it.
    near = te.max(distance, 0)
    patch = te.indexdiv(near, stride)
    meets = tirx.all(distance >= 0, te.indexmod(near, stride) == 0, patch < count)
    return te.min(patch, count - 1), meets


def _patches_summed(
    patches: Any,
    image: list[int],
    kernel: list[int],
    places: Callable[[Any, Any, int], tuple[Any, Any]],
) -> Any:
    """(n, c, *image) of (n, c, *kernel, *patches): each pixel the sum of those that hold it."""
    from tvm import te, tirx

    dtype = str(patches.dtype)

    def pixel(batch: Any, channel: Any, *indices: Any) -> Any:
        inner = [te.reduce_axis((0, size), name=f"k{axis}") for axis, size in enumerate(kernel)]
        found = [places(index, inner[axis], axis) for axis, index in enumerate(indices)]
        held = patches(batch, channel, *inner, *(patch for patch, _ in found))
        meets = tirx.all(*(condition for _, condition in found))
        return te.sum(te.if_then_else(meets, held, tirx.const(0, dtype)), axis=inner)

    return te.compute([*patches.shape[:2], *image], pixel, name="col2im")


@converts("ImageDecoder")
def _image_decoder(node: OnnxNode) -> Value:
    raise Unsupported(
        "it decodes a compressed picture",
        "decode it before the model, and give the model its pixels",
    )
