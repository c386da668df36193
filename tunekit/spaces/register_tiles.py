"""Tiles of registers for a convolution's output: which fit, and what each is expected to cost.

A tile is (channel blocks) x (pixels) vectors. Each step of the reduction loads one weight vector
for each channel block, broadcasts one input value for each pixel, and multiplies every pair of
them. So a tile should be nearly square, for few loads a multiply-add; large enough to hide the
latency of a multiply-add; and small enough for the register file, together with what is loaded.
A tile need not divide the output: what is left over is computed by a smaller tile, which counts.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunekit.machine.target import ResolvedTarget

#: Annotation of a loop that is cut where its last tile sticks out: only there conditions are left.
PARTITION = "pragma_loop_partition_hint"
#: The second cache, of the smallest that are common; bytes.
L2_BYTES = 512 << 10
#: What stays in a last cache beside other things; bytes.
LAST_CACHE_BYTES = 8 << 20
#: That a thread gets in a cycle from that cache (3x3 convolutions of ResNet-50 on Zen 3), and from
#: memory.
LAST_CACHE_BYTES_A_CYCLE, MEMORY_BYTES_A_CYCLE = 10, 3

_LARGEST_CHANNELS = 8
_LARGEST_EXTENT = 14
# Two multiply-adds a cycle, each of which takes four. Of loads two a cycle are promised; what tiles
# with many of them reach says fewer (3x3 and 1x1 convolutions of ResNet-50 on Zen 3).
_MULTIPLY_ADD_CYCLES, _LATENCY_CYCLES, _LOAD_CYCLES = 0.5, 4.0, 0.8
# Ties go to the tile with fewer loads.
_TIE_CYCLES = 0.02
# Of a tile, whatever the length of its reduction: start, epilogue, stores.
_TILE_CYCLES, _VECTOR_CYCLES = 12.0, 2.0

Tile = tuple[int, int, int]
"""(channel blocks, rows, columns)."""


@dataclass(frozen=True)
class Anchor:
    """The convolution in a fused kernel.

    Attributes:
        block: name of its block.
        spatial: extents of (batch, channel blocks, height, width, channels of a block).
        reduction: extents of the reduced axes, in order.
        depthwise: one input channel for each output channel.
        pointwise: every pixel of the output reads the same pixel of the input, and no other: a
            matrix product in which height and width are one axis.
    """

    block: str
    spatial: tuple[int, int, int, int, int]
    reduction: tuple[int, ...]
    depthwise: bool
    pointwise: bool = False

    @property
    def extents(self) -> Tile:
        """What tiles are cut from: (channel blocks, rows, columns), all pixels in one row where
        the convolution is pointwise."""
        _, blocks, height, width, _ = self.spatial
        return (blocks, 1, height * width) if self.pointwise else (blocks, height, width)

    @property
    def one_row(self) -> bool:
        """Whether all pixels are in one row."""
        return self.extents[1] == 1

    def weight_bytes(self, channels: int) -> int:
        """Bytes of the weights of so many channel blocks, in fp32."""
        return 4 * channels * self.spatial[4] * math.prod(self.reduction)


def tiles(
    anchor: Anchor,
    target: ResolvedTarget,
    count: int,
    *,
    channels_inside: bool,
    divide_channels: bool,
) -> list[Tile]:
    """At most `count` tiles worth trying, best expected first.

    Args:
        anchor: the convolution.
        target: its registers and cores.
        count: how many.
        channels_inside: channels, not pixels, are the inner loops of the tile: their vectors stay
            in registers during a step, while the others are loaded one by one.
        divide_channels: only tiles whose channel blocks divide those of the output.
    """
    blocks, height, width = anchor.extents
    cut_rows = shares_channels_only(anchor, target)
    options = []
    for channels, rows, columns in itertools.product(
        range(1, min(blocks, _LARGEST_CHANNELS) + 1),
        range(1, min(height, _LARGEST_EXTENT) + 1),
        range(1, min(width, _LARGEST_EXTENT) + 1),
    ):
        if divide_channels and blocks % channels:
            continue
        # Rows that are left over cost a branch where threads share the rows.
        if height % rows and not cut_rows:
            continue
        tile = (channels, rows, columns)
        if fits_registers(anchor, target, tile, channels_inside=channels_inside):
            options.append((cost(anchor, target, tile), tile))
    options.sort()
    return [tile for _, tile in options[:count]] or [(1, 1, 1)]


def shares_channels_only(anchor: Anchor, target: ResolvedTarget) -> bool:
    """Whether threads share the channel blocks of a depthwise convolution and not its rows too."""
    batch, blocks, *_ = anchor.spatial
    return anchor.depthwise and batch * blocks >= 4 * target.cores


def fits_registers(
    anchor: Anchor, target: ResolvedTarget, tile: Tile, *, channels_inside: bool
) -> bool:
    """Whether a tile and what one step of it loads fit the target's vector registers."""
    channels, rows, columns = tile
    if anchor.depthwise and channels > 1:
        return False
    pixels = rows * columns
    # A block wider than a vector takes several registers.
    vectors = max(1, anchor.spatial[4] // target.f32_lanes)
    if anchor.depthwise:
        # What is loaded for one column of the window serves the next one too.
        return 2 * (pixels * vectors - 1) <= target.vector_registers
    kept = channels * vectors if channels_inside else pixels
    return channels * pixels * vectors + kept + 1 <= target.vector_registers


def cost(anchor: Anchor, target: ResolvedTarget, tile: Tile) -> float:
    """Cycles of one vector multiply-add, expected of a tile and of what it leaves over."""
    axes = [_pieces(extent, size) for extent, size in zip(anchor.extents, tile, strict=True)]
    steps = math.prod(anchor.reduction)
    total = sum(
        math.prod(count for _, count in pieces)
        * _tile_cycles(anchor, steps, (pieces[0][0], pieces[1][0], pieces[2][0]))
        for pieces in itertools.product(*axes)
    )
    return total / (steps * math.prod(anchor.extents))


def input_share(anchor: Anchor, target: ResolvedTarget, tile: Tile) -> float:
    """Time for fetching the input from memory once for each tile's channels, in proportion to the
    time for computing; 0 where the input stays in the last cache."""
    _, blocks, height, width, _ = anchor.spatial
    input_bytes = 4 * height * width * anchor.reduction[0] * anchor.reduction[-1]
    if anchor.depthwise or input_bytes <= LAST_CACHE_BYTES:
        return 0.0
    fetched = math.ceil(blocks / tile[0]) * input_bytes / MEMORY_BYTES_A_CYCLE
    steps = math.prod(anchor.reduction) * math.prod(anchor.extents)
    return fetched / (steps * cost(anchor, target, tile))


def _pieces(extent: int, size: int) -> list[tuple[int, int]]:
    """(size, how many) of the whole tiles along an axis, and of the rest."""
    pieces = [(size, extent // size), (extent % size, 1)]
    return [piece for piece in pieces if all(piece)]


def _tile_cycles(anchor: Anchor, steps: int, tile: Tile) -> float:
    channels, rows, columns = tile
    vectors = channels * rows * columns
    if anchor.depthwise:
        # A row of the window at a time. Every sum is short, so tiles hide each other's latency.
        window = anchor.reduction[-1]
        loads = rows * (columns + window - 1) + window
        step = max(_LOAD_CYCLES * loads, _MULTIPLY_ADD_CYCLES * vectors * window)
        steps //= window
    else:
        loads = rows * columns + channels
        step = max(_LOAD_CYCLES * loads, _MULTIPLY_ADD_CYCLES * vectors, _LATENCY_CYCLES)
    return steps * (step + _TIE_CYCLES * loads) + _TILE_CYCLES + _VECTOR_CYCLES * vectors
