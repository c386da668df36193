"""Convolutions in groups narrower than a block of channels: several groups as one, and of one
channel each as depthwise ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunekit.graph.layouts.blocks import Blocks
from tunekit.graph.layouts.moved import aspect_of, stays_blocked
from tunekit.graph.layouts.value import Moved, Value
from tunekit.graph.layouts.values import LayoutValues

if TYPE_CHECKING:
    import numpy as np

# So many times as much is computed, the rest with zeros: beyond it, nothing is won
# (benchmarks/grouped_convolution.py).
MOST_MERGED = 8


def merge_groups(
    weights: np.ndarray, groups: int, inputs: Blocks, outputs: Blocks
) -> tuple[np.ndarray, int] | None:
    """Weights of fewer groups, so that no block crosses from one group into the next.

    Each of these is several groups side by side, with zeros where an output of one would read an
    input of another. An input that is infinite makes outputs of its neighbours no numbers, too.

    Args:
        weights: (out channels, in channels per group, kernel height, kernel width).
        groups: that there are.
        inputs: all channels that are read, in blocks.
        outputs: all channels that are written, in blocks.

    Returns:
        The weights and the number of groups; None where more would be computed than is saved.
    """
    out_channels, own_inputs = weights.shape[:2]
    own_outputs = out_channels // groups
    merged = groups
    if inputs.exact and outputs.exact:
        merged = math.lcm(
            _in_whole_blocks(own_inputs, inputs), _in_whole_blocks(own_outputs, outputs)
        )
    if merged > MOST_MERGED:
        return None
    return _side_by_side(weights, groups, merged), groups // merged


def _in_whole_blocks(channels: int, blocks: Blocks) -> int:
    """How many groups of so many channels fill blocks without a rest."""
    return blocks.width // math.gcd(blocks.width, channels)


def _side_by_side(weights: np.ndarray, groups: int, merged: int) -> np.ndarray:
    import numpy as np

    out_channels, own_inputs, *window = weights.shape
    own_outputs = out_channels // groups
    shape = (groups // merged, merged, own_outputs, merged, own_inputs, *window)
    wide = np.zeros(shape, weights.dtype)
    own = weights.reshape(groups // merged, merged, own_outputs, own_inputs, *window)
    for place in range(merged):
        wide[:, place, :, place] = own[:, place]
    return wide.reshape(out_channels, merged * own_inputs, *window)


def repeated_channels(values: LayoutValues, source: Value, times: int) -> Value:
    """An image with each channel so many times, one behind the other: what a depthwise convolution
    reads that makes several channels of each."""
    from tvm import relax

    assert source.shape is not None
    batch, channels, *size = source.shape
    shape = (batch, times * channels, *size)
    if not stays_blocked(source):
        plain = values.builder.emit(relax.op.repeat(values.plain(source), times, axis=1))
        return Value(shape, plain=plain)
    moved = Moved(
        "repeat",
        (source,),
        lambda readers, indices: readers[0]([indices[0], indices[1] // times, *indices[2:]]),
        aspect_of([source]),
    )
    return values.settled(Value(shape, moved=moved))
