"""Convolution on channel-blocked tensors, as tensor expressions.

TVM converts a graph to NCHW16c but does not legalize the convolutions it then contains. These
computations take their place: any stride, dilation and padding, dense, grouped and depthwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from tvm import te


@dataclass(frozen=True)
class Depth:
    """How a window moves over the frames of volumes, (N*D, ...) for N volumes of D frames.

    Attributes:
        volumes: that there are.
        frames: of a volume.
        window: frames that an output reads.
        stride, dilation: in frames.
        before, after: frames of padding.
    """

    volumes: int
    frames: int
    window: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def padded(self) -> int:
        """Frames of a volume with those of padding."""
        return self.before + self.frames + self.after

    @property
    def outputs(self) -> int:
        """Frames of a volume that is written."""
        return (self.padded - (self.window - 1) * self.dilation - 1) // self.stride + 1


@dataclass(frozen=True)
class Shift:
    """From which row (or column) on the window of each phase of a transposed convolution reads.

    Attributes:
        stride: of the transposed convolution: the number of phases.
        padding: rows of the output that are cut off at its start.
    """

    stride: int
    padding: int

    def of(self, phase: Any) -> Any:
        """Of a phase, as a number or an expression."""
        return (phase + self.padding) // self.stride - self.padding // self.stride


@dataclass(frozen=True)
class Phases:
    """Output channels that are the phases of a transposed convolution, those of the first row of
    phases first.

    Attributes:
        rows, columns: of phases.
        vertical, horizontal: their shifts, None where all read from the same row or column on.
    """

    rows: int
    columns: int
    vertical: Shift | None
    horizontal: Shift | None

    def shifts(self, channel_block: Any, blocks: int) -> tuple[Any, Any]:
        """(rows, columns) for one of so many blocks of output channels."""
        phase = channel_block // (blocks // (self.rows * self.columns))
        row, column = phase // self.columns, phase % self.columns
        return (
            self.vertical.of(row) if self.vertical else 0,
            self.horizontal.of(column) if self.horizontal else 0,
        )

    @property
    def largest(self) -> tuple[int, int]:
        """Of the shifts."""
        vertical, horizontal = self.vertical, self.horizontal
        return (
            vertical.of(self.rows - 1) if vertical else 0,
            horizontal.of(self.columns - 1) if horizontal else 0,
        )


@dataclass(frozen=True)
class ConvolutionShape:
    """What a two-dimensional convolution does, apart from its data.

    Attributes:
        strides: (vertical, horizontal).
        padding: (top, left, bottom, right).
        dilation: (vertical, horizontal).
        groups: number of channel groups.
        depth: of a convolution of volumes; then what is above is of their frames.
        phases: of a transposed convolution.
    """

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    depth: Depth | None = None
    phases: Phases | None = None

    @property
    def plain(self) -> bool:
        """Dense, neither strided nor dilated, and of images."""
        alike = self.strides == self.dilation == (1, 1) and self.groups == 1
        return alike and self.depth is None and self.phases is None


def pack_weights(
    weights: np.ndarray, in_block: int, out_block: int, *, depthwise: bool
) -> np.ndarray:
    """OIHW weights, packed for the computations below.

    Args:
        weights: (out channels, in channels per group, kernel height, kernel width).
        in_block: channels per block of the input; divides the second axis unless depthwise.
        out_block: channels per block of the output; divides the first axis.
        depthwise: one input channel for each output channel.

    Returns:
        (O/out_block, I/in_block, KH, KW, in_block, out_block), or depthwise
        (O/out_block, KH, KW, out_block).
    """
    import numpy as np

    out_channels, in_channels, height, width = weights.shape
    blocks = out_channels // out_block
    if depthwise:
        packed = weights.reshape(blocks, out_block, height, width).transpose(0, 2, 3, 1)
    else:
        shape = (blocks, out_block, in_channels // in_block, in_block, height, width)
        packed = weights.reshape(shape).transpose(0, 2, 4, 5, 3, 1)
    return np.ascontiguousarray(packed)


def blocked_convolution(
    data: te.Tensor,
    weights: te.Tensor,
    shape: ConvolutionShape,
    out_dtype: str,
    annotations: Mapping[str, str] | None = None,
) -> te.Tensor:
    """Dense or grouped convolution.

    Args:
        data: (N, C/ib, H, W, ib); of volumes their frames.
        weights: (O/ob, C/groups/ib, KH, KW, ib, ob); the channels of all frames of a window of
            volumes, one frame behind the other.
        shape: strides, padding, dilation, groups.
        out_dtype: dtype of the accumulator and the result.
        annotations: of the block.

    Returns:
        (N, O/ob, OH, OW, ob). No block crosses from one group into the next.
    """
    from tvm import te

    _, in_blocks, _, _, in_block = extents(data)
    out_blocks, group_in_blocks, kernel_h, kernel_w, _, out_block = extents(weights)
    depth = shape.depth
    batch, padded = _padded_images(data, shape)
    further = shape.phases.largest if shape.phases else (0, 0)
    out_h, out_w = output_size(data, kernel_h + further[0], kernel_w + further[1], shape)
    per_group = out_blocks // shape.groups
    ic = te.reduce_axis((0, group_in_blocks), name="ic")
    kh = te.reduce_axis((0, kernel_h), name="kh")
    kw = te.reduce_axis((0, kernel_w), name="kw")
    ib = te.reduce_axis((0, in_block), name="ib")

    def image_and_block(n: te.Var, oc: te.Var) -> tuple[te.Expr, te.Expr]:
        if depth is not None:
            return _frame(n, ic // in_blocks, depth), ic % in_blocks
        return n, ic if shape.groups == 1 else oc // per_group * group_in_blocks + ic

    def element(n: te.Var, oc: te.Var, oh: te.Var, ow: te.Var, ob: te.Var) -> te.Expr:
        down, right = shape.phases.shifts(oc, out_blocks) if shape.phases else (0, 0)
        row = oh * shape.strides[0] + kh * shape.dilation[0] + down
        column = ow * shape.strides[1] + kw * shape.dilation[1] + right
        value = padded[*image_and_block(n, oc), row, column, ib]
        weight = weights[oc, ic, kh, kw, ib, ob]
        return te.sum(value.astype(out_dtype) * weight.astype(out_dtype), axis=[ic, kh, kw, ib])

    return te.compute(
        (batch, out_blocks, out_h, out_w, out_block),
        element,
        name="conv2d_blocked" if shape.groups == 1 else "grouped_conv2d_blocked",
        attrs=dict(annotations or {}),
    )


def blocked_depthwise_convolution(
    data: te.Tensor,
    weights: te.Tensor,
    shape: ConvolutionShape,
    out_dtype: str,
    annotations: Mapping[str, str] | None = None,
) -> te.Tensor:
    """Depthwise convolution with one output channel for each input channel.

    Args:
        data: (N, C/b, H, W, b); of volumes their frames.
        weights: (C/b, KH, KW, b); for volumes the rows of all frames of a window, (C/b, KD*KH, KW,
            b).
        shape: strides, padding, dilation; groups is C.
        out_dtype: dtype of the accumulator and the result.
        annotations: of the block.

    Returns:
        (N, C/b, OH, OW, b).
    """
    from tvm import te

    blocks, kernel_h, kernel_w, block = extents(weights)
    depth = shape.depth
    batch, padded = _padded_images(data, shape)
    rows = kernel_h // depth.window if depth else kernel_h
    out_h, out_w = output_size(data, rows, kernel_w, shape)
    kh = te.reduce_axis((0, kernel_h), name="kh")
    kw = te.reduce_axis((0, kernel_w), name="kw")

    def image_and_row(n: te.Var) -> tuple[te.Expr, te.Expr]:
        return (n, kh) if depth is None else (_frame(n, kh // rows, depth), kh % rows)

    def element(n: te.Var, c: te.Var, oh: te.Var, ow: te.Var, cb: te.Var) -> te.Expr:
        image, row = image_and_row(n)
        value = padded[
            image,
            c,
            oh * shape.strides[0] + row * shape.dilation[0],
            ow * shape.strides[1] + kw * shape.dilation[1],
            cb,
        ]
        weight = weights[c, kh, kw, cb]
        return te.sum(value.astype(out_dtype) * weight.astype(out_dtype), axis=[kh, kw])

    return te.compute(
        (batch, blocks, out_h, out_w, block),
        element,
        name="depthwise_conv2d_blocked",
        attrs=dict(annotations or {}),
    )


def _frame(n: te.Var, place: te.Expr, depth: Depth) -> te.Expr:
    """The frame that the n-th one of the output reads at a place of its window."""
    first = n * depth.stride
    if depth.volumes > 1:
        first = n // depth.outputs * depth.padded + n % depth.outputs * depth.stride
    return first + place * depth.dilation


def to_blocked(data: te.Tensor, block: int) -> te.Tensor:
    """(N, C, H, W) to (N, C/block, H, W, block), with zeros behind the last channel."""
    from tvm import te, tirx

    batch, channels, height, width = extents(data)

    def channel(n: te.Var, c: te.Var, h: te.Var, w: te.Var, cb: te.Var) -> te.Expr:
        value = data[n, c * block + cb, h, w]
        if channels % block == 0:
            return value
        return tirx.if_then_else(c * block + cb < channels, value, tirx.const(0, data.dtype))

    shape = (batch, -(-channels // block), height, width, block)
    return te.compute(shape, channel, name="layout_to_blocked")


def from_blocked(data: te.Tensor, channels: int | None = None) -> te.Tensor:
    """(N, C/block, H, W, block) to (N, channels, H, W), without what is behind them."""
    from tvm import te

    batch, blocks, height, width, block = extents(data)
    return te.compute(
        (batch, channels or blocks * block, height, width),
        lambda n, c, h, w: data[n, c // block, h, w, c % block],
        name="layout_from_blocked",
    )


def extents(tensor: te.Tensor) -> Sequence[int]:
    """The tensor's shape as numbers."""
    return [int(extent) for extent in tensor.shape]


def _padded_images(data: te.Tensor, shape: ConvolutionShape) -> tuple[int, te.Tensor]:
    """How many images a convolution gives, and what it reads."""
    depth = shape.depth
    if depth is None:
        return extents(data)[0], _pad(data, shape.padding)
    return depth.volumes * depth.outputs, _pad_volumes(data, shape.padding, depth)


def _pad(data: te.Tensor, padding: tuple[int, int, int, int]) -> te.Tensor:
    from tvm import topi

    top, left, bottom, right = padding
    if not any(padding):
        return data
    return topi.nn.pad(data, [0, 0, top, left, 0], [0, 0, bottom, right, 0], name="padded")


def _pad_volumes(data: te.Tensor, padding: tuple[int, int, int, int], depth: Depth) -> te.Tensor:
    """With frames of padding around each volume, too."""
    from tvm import te, tirx, topi

    top, left, bottom, right = padding
    if depth.padded == depth.frames:
        return _pad(data, padding)
    if depth.volumes == 1:
        before = [depth.before, 0, top, left, 0]
        return topi.nn.pad(data, before, [depth.after, 0, bottom, right, 0], name="padded")
    _, blocks, height, width, block = extents(data)

    def element(n: te.Var, c: te.Var, h: te.Var, w: te.Var, cb: te.Var) -> te.Expr:
        frame, row, column = n % depth.padded - depth.before, h - top, w - left
        within = tirx.all(
            frame >= 0, frame < depth.frames, row >= 0, row < height, column >= 0, column < width
        )
        image = n // depth.padded * depth.frames + frame
        return tirx.if_then_else(within, data[image, c, row, column, cb], tirx.const(0, data.dtype))

    rows, columns = top + height + bottom, left + width + right
    shape = (depth.volumes * depth.padded, blocks, rows, columns, block)
    return te.compute(shape, element, name="padded")


def output_size(
    data: te.Tensor, kernel_h: int, kernel_w: int, shape: ConvolutionShape
) -> tuple[int, int]:
    """Height and width of what a convolution of blocked `data` gives."""
    _, _, height, width, _ = extents(data)
    top, left, bottom, right = shape.padding
    span_h = (kernel_h - 1) * shape.dilation[0] + 1
    span_w = (kernel_w - 1) * shape.dilation[1] + 1
    return (
        (height + top + bottom - span_h) // shape.strides[0] + 1,
        (width + left + right - span_w) // shape.strides[1] + 1,
    )
