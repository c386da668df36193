"""Transposed convolution as a convolution and a shuffle of its output.

Of an output of stride s each row belongs to one of s phases, by its remainder, and the rows of one
phase are a convolution of the input with every s-th row of the kernel; likewise the columns. All
phases together are one convolution of stride 1 with s * s times the channels, over a window that
holds what any of them reads (2x2 with stride 2: 1x1, nothing is in vain; 4x4 with stride 2: 3x3 in
place of four times 2x2). TVM's own puts zeros between the pixels, and multiplies with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """

    stride: int
    taps: tuple[tuple[int | None, ...], ...]
    before: int
    after: int


def phases(extent: int, output: int, kernel: int, stride: int, padding: int) -> PhasedAxis | None:
    """How an axis is computed by phases; None where its first pixel reads none of the input.

    Args:
        extent: of the input.
        output: of the output.
        kernel: of the kernel.
        stride: rows of the output between those of two pixels.
        padding: rows of the output that are cut off at its start.
    """
    # Row s * q + r of the output reads row q + (r + p) // s - j of the input, for each row
    # (r + p) % s + s * j of the kernel.
    last = [(phase + padding) // stride for phase in range(stride)]
    counts = [len(range((phase + padding) % stride, kernel, stride)) for phase in range(stride)]
    first = min(end - count + 1 for end, count in zip(last, counts, strict=True))
    if first > 0:
        return None
    window = max(last) - first + 1
    taps = [
        tuple(
            (phase + padding) % stride + stride * step
            if 0 <= (step := last[phase] - first - place) < counts[phase]
            else None
            for place in range(window)
        )
        for phase in range(stride)
    ]
    rows = -(-output // stride)
    return PhasedAxis(stride, tuple(taps), -first, max(0, rows + max(last) - extent))


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
    data: te.Tensor, vertical: int, horizontal: int, height: int, width: int
) -> te.Tensor:
    """The output of a transposed convolution from all of its phases.

    Args:
        data: (N, vertical * horizontal * C/b, H, W, b).
        vertical: phases of the rows.
        horizontal: phases of the columns.
        height: of the output.
        width: of the output.

    Returns:
        (N, C/b, height, width, b).
    """
    from tvm import te

    batch, phased, _, _, block = (int(extent) for extent in data.shape)
    blocks = phased // (vertical * horizontal)
    return te.compute(
        (batch, blocks, height, width, block),
        lambda n, c, y, x, b: data[
            n,
            (y % vertical * horizontal + x % horizontal) * blocks + c,
            y // vertical,
            x // horizontal,
            b,
        ],
        name="shuffled_phases",
    )
