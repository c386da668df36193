"""The kernel that takes a convolution's place: its computation and its packed weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunekit.graph.implementation import CHANNELS, Implementation, annotate, tile_of
from tunekit.graph.kernels.convolution import (
    ConvolutionShape,
    blocked_convolution,
    blocked_depthwise_convolution,
    pack_weights,
)
from tunekit.graph.kernels.winograd import transform_weights, winograd_convolution

if TYPE_CHECKING:
    import numpy as np
    from tvm import te

# relax.OpPatternKind.kOutEWiseFusable: elementwise operators may join at the output.
_OUTPUT_FUSABLE = 4


@dataclass(frozen=True)
class BlockedKernel:
    """A convolution on channel-blocked tensors.

    Attributes:
        name: of its function.
        compute: (data, weights) to the output, as tensor expressions.
        pack: gives the weights as `compute` wants them.
        attributes: of its function.
    """

    name: str
    compute: Callable[[te.Tensor, te.Tensor], te.Tensor]
    pack: Callable[[], np.ndarray]
    attributes: dict[str, int] = field(default_factory=dict)


def blocked_kernel(
    weights: np.ndarray,
    shape: ConvolutionShape,
    in_block: int,
    out_block: int,
    dtype: str,
    *,
    depthwise: bool,
    implementation: Implementation | None,
    channels: tuple[int, int, int] | None = None,
) -> BlockedKernel:
    """The kernel of a convolution.

    Args:
        weights: (out channels, in channels per group, kernel height, kernel width).
        shape: strides, padding, dilation, groups.
        in_block: channels per block of the input.
        out_block: channels per block of the output.
        dtype: of the accumulator and the result.
        depthwise: one input channel for each output channel.
        implementation: the problem and its algorithm, where there is a choice.
        channels: (groups, inputs of a group, outputs of a group) of the model's convolution, where
            the weights have more for padding or for groups side by side.
    """
    annotations = annotate(implementation) if implementation else {}
    if channels is not None:
        annotations[CHANNELS] = " ".join(map(str, channels))
    m = tile_of(implementation.algorithm) if implementation else None
    if m is not None:
        return BlockedKernel(
            f"winograd{m}_conv2d_blocked",
            lambda data, kernel: winograd_convolution(data, kernel, shape, m, dtype, annotations),
            lambda: transform_weights(weights, m, in_block, out_block),
            # TVM sees several reductions in a row and would fuse nothing with them.
            {"op_pattern": _OUTPUT_FUSABLE},
        )

    def pack() -> np.ndarray:
        return pack_weights(weights, in_block, out_block, depthwise=depthwise)

    if depthwise:
        return BlockedKernel(
            blocked_depthwise_convolution.__name__,
            lambda data, kernel: blocked_depthwise_convolution(
                data, kernel, shape, dtype, annotations
            ),
            pack,
        )
    return BlockedKernel(
        blocked_convolution.__name__,
        lambda data, kernel: blocked_convolution(data, kernel, shape, dtype, annotations),
        pack,
    )
