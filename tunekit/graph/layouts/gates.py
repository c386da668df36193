"""Gated channels: the product of an activation with one number for each channel.

Squeeze-and-excite multiplies a whole activation by a gate for each of its channels, and a 1x1
convolution reads the product. The convolution is linear in its input, so the gate may as well
scale the input channels of its weights: (W g) x = W (g x). Where the weights are smaller than the
activation, that leaves out writing and reading the activation once more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunekit.graph.kernels.convolution import ConvolutionShape, extents

if TYPE_CHECKING:
    from tvm import te


def gates(shape: tuple[int, ...] | None, gated: tuple[int, ...] | None) -> bool:
    """Whether a tensor of `shape` has one number for each channel of a single image `gated`."""
    return (
        shape is not None
        and gated is not None
        and len(gated) == 4
        and shape == (1, gated[1], 1, 1)
        and gated[0] == 1
        and gated[2] * gated[3] > 1
    )


def scales_weights_instead(
    gated: tuple[int, ...], weights: tuple[int, ...], shape: ConvolutionShape
) -> bool:
    """Whether a convolution of a gated activation should have its weights scaled.

    Args:
        gated: (1, C, H, W), the activation.
        weights: (O, I, KH, KW).
        shape: what the convolution does.
    """
    dense = shape.groups == 1 and weights[2:] == (1, 1)
    # The product would be written and read; the scaled weights are too.
    return dense and math.prod(weights) < math.prod(gated)


def scaled_weights(weights: te.Tensor, gate: te.Tensor) -> te.Tensor:
    """Packed weights times the gate of their input channels.

    Args:
        weights: (O/ob, I/ib, KH, KW, ib, ob).
        gate: (1, I/ib, 1, 1, ib).

    Returns:
        As `weights`.
    """
    from tvm import te

    return te.compute(
        extents(weights),
        lambda o, i, kh, kw, ib, ob: weights[o, i, kh, kw, ib, ob] * gate[0, i, 0, 0, ib],
        name="scaled_weights",
    )
