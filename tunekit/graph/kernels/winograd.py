"""Winograd's minimal filtering for 3x3 convolutions with stride 1, on channel-blocked tensors.

F(m x m, 3 x 3) makes m*m outputs of (m+2)*(m+2) multiplications where the direct computation takes
9*m*m: 2.25 times fewer for m = 2, 4 times for m = 4. Input and output are transformed by a few
additions, the weights once, at compile time.

Matrices and naming: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016
(arXiv:1509.09308), sections 4.1 and 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tunekit.graph.kernels.convolution import ConvolutionShape, extents, output_size

if TYPE_CHECKING:
    import numpy as np
    from tvm import te

KERNEL = 3

# Tiles and output channels that the error is found with.
_ERROR_PLACES, _ERROR_CHANNELS = 32, 16

# By m: B^T (input), G (weights), A^T (output).
_Matrix = tuple[tuple[float, ...], ...]
_INPUT: dict[int, _Matrix] = {
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
_WEIGHTS: dict[int, _Matrix] = {
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
_OUTPUT: dict[int, _Matrix] = {
    2: ((1, 1, 1, 0), (0, 1, -1, -1)),
    4: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}

#: The tile sizes m there are matrices for.
TILES = tuple(_INPUT)


@dataclass(frozen=True)
class Tiling:
    """How an output is cut into tiles of m x m.

    Attributes:
        m: rows and columns of outputs of one tile.
        rows: tiles above each other.
        columns: tiles beside each other.
    """

    m: int
    rows: int
    columns: int

    @property
    def points(self) -> int:
        """Multiplications of one tile for a pair of channels, (m+2)^2."""
        return (self.m + KERNEL - 1) ** 2


def tiling(out_h: int, out_w: int, m: int) -> Tiling:
    """The tiles that cover an output; the last row and column may stick out."""
    return Tiling(m, math.ceil(out_h / m), math.ceil(out_w / m))


def transform_weights(weights: np.ndarray, m: int, in_block: int, out_block: int) -> np.ndarray:
    """OIHW weights in Winograd's domain, packed for `winograd_convolution`.

    Args:
        weights: (out channels, in channels, 3, 3).
        m: the tile size.
        in_block: channels per block of the input; divides the second axis.
        out_block: channels per block of the output; divides the first axis.

    Returns:
        ((m+2)^2, O/out_block, I/in_block, in_block, out_block), computed in float64 and rounded
        once.
    """
    import numpy as np

    out_channels, in_channels = weights.shape[:2]
    g = np.array(_WEIGHTS[m])
    points = np.einsum("xi,ocij,yj->xyoc", g, weights.astype(np.float64), g, optimize=True)
    shape = (g.shape[0] ** 2, out_channels // out_block, out_block, in_channels // in_block)
    packed = points.reshape(*shape, in_block).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(packed.astype(weights.dtype))


@cache
def rounding_error(in_channels: int, m: int) -> float:
    """Max abs error / max abs output of F(m x m, 3 x 3) in float32, on numbers of a normal
    distribution: the algorithm run in NumPy, beside the direct one in float64.

    Coefficients and so errors grow with m, sums of products with the channels. No bound: numbers
    whose sums cancel err more, in this algorithm as in the direct one.
    """
    import numpy as np

    random = np.random.default_rng(in_channels)
    alpha = m + KERNEL - 1
    patches = random.standard_normal((_ERROR_PLACES, in_channels, alpha, alpha), np.float32)
    weights = random.standard_normal((_ERROR_CHANNELS, in_channels, KERNEL, KERNEL), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(patches, (KERNEL, KERNEL), axis=(2, 3))
    exact = np.einsum(
        "pcijxy,ocxy->poij",
        windows.astype(np.float64),
        weights.astype(np.float64),
        optimize=True,
    )
    transform, back = np.array(_INPUT[m], np.float32), np.array(_OUTPUT[m], np.float32)
    inputs = transform @ patches @ transform.T
    packed = transform_weights(weights, m, in_channels, _ERROR_CHANNELS)
    factors = packed.reshape(alpha, alpha, in_channels, _ERROR_CHANNELS)
    products = np.zeros((_ERROR_PLACES, _ERROR_CHANNELS, alpha, alpha), np.float32)
    # One channel after another, as kernels add up.
    for channel in range(in_channels):
        products += inputs[:, channel, None] * factors[:, :, channel].transpose(2, 0, 1)
    outputs = back @ products @ back.T
    return float(np.abs(outputs - exact).max() / np.abs(exact).max())


def winograd_convolution(
    data: te.Tensor,
    weights: te.Tensor,
    shape: ConvolutionShape,
    m: int,
    out_dtype: str,
    annotations: Mapping[str, str] | None = None,
) -> te.Tensor:
    """A dense 3x3 convolution with stride 1 and dilation 1 by F(m x m, 3 x 3).

    Args:
        data: (N, C/ib, H, W, ib).
        weights: ((m+2)^2, O/ob, C/ib, ib, ob), by `transform_weights`.
        shape: its padding; strides, dilation and groups are 1.
        m: the tile size.
        out_dtype: dtype of the accumulator and the result.
        annotations: of the block with the products.

    Returns:
        (N, O/ob, OH, OW, ob).
    """
    from tvm import te, topi

    batch, in_blocks, height, width, in_block = extents(data)
    _, out_blocks, _, _, out_block = extents(weights)
    out_h, out_w = output_size(data, KERNEL, KERNEL, shape)
    tiles = tiling(out_h, out_w, m)
    alpha = m + KERNEL - 1
    places = tiles.rows * tiles.columns
    top, left, _, _ = shape.padding
    missing_h = tiles.rows * m + KERNEL - 1 - top - height
    missing_w = tiles.columns * m + KERNEL - 1 - left - width
    padded = topi.nn.pad(data, [0, 0, top, left, 0], [0, 0, missing_h, missing_w, 0], name="padded")

    def patch(p: Any, c: Any, i: Any, j: Any, b: Any) -> te.Expr:
        row, column = p % places // tiles.columns, p % tiles.columns
        return padded[p // places, c, row * m + i, column * m + j, b]

    # B^T d, then (B^T d) B: separately, so that neither is computed more than once.
    halves = te.compute(
        (in_blocks, batch * places, alpha, alpha, in_block),
        lambda c, p, x, j, b: _combine(_INPUT[m], x, lambda i: patch(p, c, i, j, b)),
        name="winograd_input_half",
    )
    inputs = te.compute(
        (alpha * alpha, in_blocks, batch * places, in_block),
        lambda e, c, p, b: _combine(_INPUT[m], e % alpha, lambda j: halves[c, p, e // alpha, j, b]),
        name="winograd_input",
    )
    c = te.reduce_axis((0, in_blocks), name="c")
    b = te.reduce_axis((0, in_block), name="b")
    products = te.compute(
        (alpha * alpha, out_blocks, batch * places, out_block),
        lambda e, o, p, ob: te.sum(
            inputs[e, c, p, b].astype(out_dtype) * weights[e, o, c, b, ob].astype(out_dtype),
            axis=[c, b],
        ),
        name="winograd_product",
        attrs=dict(annotations or {}),
    )
    # A^T M, then (A^T M) A.
    rows = te.compute(
        (out_blocks, batch * places, m, alpha, out_block),
        lambda o, p, i, y, ob: _combine(_OUTPUT[m], i, lambda x: products[x * alpha + y, o, p, ob]),
        name="winograd_output_half",
    )
    return te.compute(
        (batch, out_blocks, out_h, out_w, out_block),
        lambda n, o, h, w, ob: _combine(
            _OUTPUT[m],
            w % m,
            lambda y: rows[o, n * places + h // m * tiles.columns + w // m, h % m, y, ob],
        ),
        name="winograd_output",
    )


def _combine(matrix: _Matrix, row: Any, term: Callable[[int], Any]) -> Any:
    """Row `row` of the matrix times the terms; `row` becomes a number when its loop is unrolled,
    and then all but one of the cases fold away."""
    from tvm import tirx

    cases = [_sum([(c, term(k)) for k, c in enumerate(line) if c]) for line in matrix]
    expression = cases[-1]
    for number in reversed(range(len(cases) - 1)):
        expression = tirx.Select(row == number, cases[number], expression)
    return expression


def _sum(products: list[tuple[float, Any]]) -> Any:
    """Coefficients times terms, without the multiplications by one."""
    from tvm import tirx

    total: Any = None
    for coefficient, term in products:
        size = abs(coefficient)
        scaled = term if size == 1 else term * tirx.const(size, term.dtype)
        if total is None:
            total = scaled if coefficient > 0 else tirx.const(0, term.dtype) - scaled
        else:
            total = total + scaled if coefficient > 0 else total - scaled
    return total
