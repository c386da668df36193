"""Transposed convolution as a convolution and a shuffle of its output.

Of an output of stride s each row belongs to one of s phases, by its remainder, and the rows of one
phase are a convolution of the input with every s-th row of the kernel; likewise the columns. All
phases together are one convolution of stride 1 with s * s times the channels. Where each reads as
many rows, some of them read from a row further on (4x4 with stride 2: four times 2x2); else the
window holds what any of them reads (3x3 with stride 2: 2x2, of which one needs all). TVM's own puts
zeros between the pixels, and multiplies with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.graph.kernels.convolution import Shift

if TYPE_CHECKING:
    import numpy as np
    from tvm import te


@dataclass(frozen=True)
class PhasedAxis:
    """One axis of a transposed convolution, as a convolution of stride 1.

    Attributes:
        stride: of the transposed convolution: the number of phases.
        taps: for each phase and place of the window the place in the kernel, None for nothing.
        before: rows of padding before the input.
        after: rows of padding behind it.
        shift: from where the window of each phase is read, None for the same row of all.
    """

    stride: int
    taps: tuple[tuple[int | None, ...], ...]
    before: int
    after: int
    shift: Shift | None = None


def phases(
    extent: int, output: int, kernel: int, stride: int, padding: int, *, shifted: bool = True
) -> PhasedAxis | None:
    """How an axis is computed by phases; None where its first pixel reads none of the input.

    Args:
        extent: of the input.
        output: of the output.
        kernel: of the kernel.
        stride: rows of the output between those of two pixels.
        padding: rows of the output that are cut off at its start.
        shifted: whether the windows of phases may be read from different rows on.
    """
    # Row s * q + r of the output reads row q + (r + p) // s - j of the input, for each row
    # (r + p) % s + s * j of the kernel.
    last = [(phase + padding) // stride for phase in range(stride)]
    counts = [len(range((phase + padding) % stride, kernel, stride)) for phase in range(stride)]
    first = min(end - count + 1 for end, count in zip(last, counts, strict=True))
    if first > 0:
        return None
    # Where all phases read as many rows, but not from the same on, a window of so many is shifted.
    apart = shifted and len(set(counts)) == 1 and len(set(last)) > 1
    shift = Shift(stride, padding) if apart else None
    window = counts[0] if shift else max(last) - first + 1
    taps = [
        tuple(
            (phase + padding) % stride + stride * step
            if 0 <= (step := (window - 1 if shift else last[phase] - first) - place) < counts[phase]
            else None
            for place in range(window)
        )
        for phase in range(stride)
    ]
    rows = -(-output // stride)
    return PhasedAxis(stride, tuple(taps), -first, max(0, rows + max(last) - extent), shift)


def phase_weights(weights: np.ndarray, vertical: PhasedAxis, horizontal: PhasedAxis) -> np.ndarray:
    """The weights of the convolution that computes all phases.

    Args:
        weights: (in channels, out channels, kernel height, kernel width).
        vertical: of the rows.
        horizontal: of the columns.

    Returns:
        (vertical phases * horizontal phases * out channels, in channels, window height, window
        width); the phases are the outermost.
    """
    import numpy as np

    in_channels, out_channels = weights.shape[:2]
    window = (len(vertical.taps[0]), len(horizontal.taps[0]))
    shape = (vertical.stride, horizontal.stride, out_channels, in_channels, *window)
    result = np.zeros(shape, weights.dtype)
    for y, rows in enumerate(vertical.taps):
        for x, columns in enumerate(horizontal.taps):
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    if row is not None and column is not None:
                        result[y, x, :, :, i, j] = weights[:, :, row, column].T
    return result.reshape(-1, in_channels, *window)


def shuffle_phases(
    data: te.Tensor, strides: Sequence[int], shape: Sequence[int], block: int, each: int
) -> te.Tensor:
    """The output of a transposed convolution from all of its phases.

    Args:
        data: (N, C'/b, H, W, b), the channels of one phase behind those of the other.
        strides: (vertical, horizontal), the numbers of phases.
        shape: (N, C, height, width) of the output.
        block: channels of a block of it.
        each: channels of a phase in the data: C, or with padding that fills blocks.

    Returns:
        (N, C/block, height, width, block).
    """
    from tvm import te, tirx

    vertical, horizontal = (int(stride) for stride in strides)
    lanes, block, each = int(data.shape[4]), int(block), int(each)
    batch, channels, height, width = (int(extent) for extent in shape)
    blocks = -(-channels // block)

    def element(n: te.Var, c: te.Var, y: te.Var, x: te.Var, b: te.Var) -> te.Expr:
        phase = y % vertical * horizontal + x % horizontal
        if (each, lanes) == (blocks * block, block):
            return data[n, phase * blocks + c, y // vertical, x // horizontal, b]
        channel = phase * each + c * block + b
        value = data[n, channel // lanes, y // vertical, x // horizontal, channel % lanes]
        return tirx.if_then_else(c * block + b < channels, value, tirx.const(0, data.dtype))

    return te.compute((batch, blocks, height, width, block), element, name="shuffled_phases")
