"""Register tiles for convolutions on channel-blocked tensors.

A tile of the output, (channel blocks) x (rows) x (columns) vectors of one channel block each, is
accumulated in vector registers while the reduction streams over input and weights; see `tiling`.
What follows in the fused kernel (bias, residual, activation) is computed on the tile before it
leaves the first cache. Where every pixel of the output reads one pixel of the input, height and
width are one axis, so that a small image has no more left over than a large one.

There are three orders of the loops around the tile, for three relations of weights to caches:

- `channels`: threads share channels and pixels; the weights of a tile stay near while it moves
  over the pixels.
- `pixels`: threads share pixels; a strip of the input stays near while all weights pass.
- `partial`: as `channels`, but the reduction is cut into passes whose weights fit the second
  cache, and the sums so far wait in a buffer.

The generic space finds such tiles only by luck: most of its candidates vectorize one or four
lanes, or spill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from tunekit.ir.tir import Block, Kernel, extents_of
from tunekit.spaces.register_tiles import (
    L2_BYTES,
    PARTITION,
    Anchor,
    Tile,
    cost,
    input_share,
    shares_channels_only,
    tiles,
)
from tunekit.spaces.sampling import decode, divisors, encode, sample, variants_of
from tunekit.spaces.steps import fold_epilogue, parallelize, unroll_and_vectorize

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ExprRV, LoopRV, SBlockRV

    from tunekit.machine.target import ResolvedTarget

# Tiles offered to the sampler for one order of the loops.
_TILES = 20
_UNROLLED = (1, 2, 4, 8)
# Strips of pixels that each thread may get, in turn; so many of these numbers are on offer.
_STRIPS = (1, 2, 4, 8, 16, 32, 64, 128)
_STRIP_CHOICES = 5
# Pixels of a tile, at most.
_TILE_PIXELS = 16
# Bytes of input that a strip should keep near, of a second cache that weights need too.
_STRIP_BYTES = L2_BYTES // 4
_PASS_BYTES = L2_BYTES // 4

Order = Literal["channels", "pixels", "partial"]


@dataclass(frozen=True)
class Design:
    """A structural design: what decisions cannot express.

    Attributes:
        order: of the loops around the tile.
        channels_inside: of the loops of the tile itself.
        fused_pad: the padding is made where it is used, and not by a pass of its own.
        tiles: the tiles on offer, best expected first.
    """

    order: Order
    channels_inside: bool
    fused_pad: bool
    tiles: tuple[Tile, ...]


def find_anchor(module: IRModule) -> Anchor | None:
    """The blocked convolution that a workload computes, None if it computes something else.

    It is told by its iteration: five spatial axes, and four reduced ones reading a six-dimensional
    weight (dense, grouped) or two reading a four-dimensional one (depthwise).
    """
    reducing = Kernel.of(module).reducing
    if len(reducing) != 1 or not reducing[0].static:
        return None
    [block] = reducing
    if len(block.spatial) != 5:
        return None
    depthwise = (len(block.reduced), block.dimensions_read) == (2, [4, 5])
    if not depthwise and (len(block.reduced), block.dimensions_read) != (4, [5, 6]):
        return None
    pointwise = not depthwise and block.reduced[1:3] == (1, 1) and _reads_where_it_writes(block)
    return Anchor(block.name, block.spatial, block.reduced, depthwise, pointwise)


def _reads_where_it_writes(block: Block) -> bool:
    """Whether a dense convolution with a window of one reads its input where it writes."""
    from tvm.sym import Analyzer

    _, _, row, column, _, ic, kh, kw, _ = (axis.var for axis in block.axes)
    analyzer = Analyzer()
    analyzer.bind(kh, 0)
    analyzer.bind(kw, 0)
    (data,) = (read for read in block.node.reads if len(read.region) == 5)
    positions = [region.min for region in data.region]
    return (
        tuple(int(extent) for extent in data.source.shape[2:4]) == block.extents[2:4]
        and analyzer.can_prove_equal(positions[1], ic)
        and analyzer.can_prove_equal(positions[2], row)
        and analyzer.can_prove_equal(positions[3], column)
    )


def convolution_designs(
    schedule: Schedule, anchor: Anchor, target: ResolvedTarget
) -> list[Schedule]:
    """The structural variants, best expected first.

    Their decisions are sampled; the first of each sampler's values is the best expected.
    """
    padded = _padding(schedule, anchor.block) is not None
    return variants_of(
        schedule,
        (
            partial(_apply, anchor=anchor, design=design, target=target)
            for design in variants(anchor, target, padded=padded)
        ),
    )


def variants(anchor: Anchor, target: ResolvedTarget, *, padded: bool) -> list[Design]:
    """Which variants are worth trying, best expected first."""
    batch, blocks, *_ = anchor.spatial
    _, rows, columns = anchor.extents
    options: list[tuple[float, int, Design]] = []

    def offer(order: Order, fused_pads: Sequence[bool], factor: float) -> None:
        for channels_inside in (False,) if anchor.depthwise else (False, True):
            candidates = tiles(
                anchor,
                target,
                _TILES,
                channels_inside=channels_inside,
                divide_channels=order != "pixels",
            )
            expected = factor * cost(anchor, target, candidates[0])
            if order != "pixels":
                expected *= 1 + input_share(anchor, target, candidates[0])
            for fused_pad in fused_pads:
                design = Design(order, channels_inside, fused_pad, tuple(candidates))
                options.append((expected, len(options), design))

    both = (False, True) if padded else (False,)
    fits = anchor.weight_bytes(min(blocks, 4)) <= L2_BYTES * 3 // 4
    # A pass over the padding for each channel block is too much, but where they share none.
    offer("channels", both[::-1] if anchor.depthwise else (False,), 1.0 if fits else 1.25)
    if not anchor.depthwise:
        wide = anchor.weight_bytes(blocks) > L2_BYTES
        if batch * rows * columns >= 64 * target.cores:
            offer("pixels", both, 1.2 if wide else 1.01)
        if not fits and blocks >= 2 * target.cores and _passes(anchor):
            offer("partial", (False,), 1.05)
    return [design for *_, design in sorted(options, key=lambda option: option[:2])]


def _passes(anchor: Anchor) -> list[int]:
    """Input blocks of one pass of a cut reduction, best expected first."""
    inputs = anchor.reduction[0]
    of_one = anchor.weight_bytes(4) / inputs
    options = [n for n in divisors(inputs, inputs // 2) if n * of_one <= L2_BYTES]
    return sorted(options, key=lambda n: abs(n * of_one - _PASS_BYTES))[:4]


def _strips(anchor: Anchor, target: ResolvedTarget, order: Order) -> list[int]:
    """Strips into which the pixels (or rows) are cut for the threads, best expected first."""
    batch, blocks, height, width, _ = anchor.spatial
    if order == "channels":
        # Channels are enough to share, unless they are few or do not go around.
        few = batch * (blocks // min(blocks, 4)) < 4 * target.cores
        counts = [target.cores, 1, 4 * target.cores] if few else [1, target.cores]
        # A strip without a pixel would still write: TVM drops the condition of an axis of one.
        return [n for n in counts if n == 1 or _TILE_PIXELS * n <= height * width]
    input_bytes = 4 * height * width * anchor.reduction[0] * anchor.reduction[-1]
    options = [n * target.cores for n in _STRIPS]
    options = [n for n in options if _TILE_PIXELS * n <= height * width]
    options.sort(key=lambda n: abs(math.log2(input_bytes / n / _STRIP_BYTES)))
    return options[:_STRIP_CHOICES] or [1]


@dataclass(frozen=True)
class _Tiling:
    """A convolution whose loops are about to be tiled.

    Attributes:
        anchor: what it computes.
        design: how it is to be scheduled.
        target: what it is for.
        block: the convolution.
        epilogue: what follows on its output, a copy if nothing does.
        sizes: of a tile, (channel blocks, rows, columns), as they are sampled.
    """

    anchor: Anchor
    design: Design
    target: ResolvedTarget
    block: SBlockRV
    epilogue: SBlockRV
    sizes: Sequence[ExprRV]


def _apply(schedule: Schedule, anchor: Anchor, design: Design, target: ResolvedTarget) -> None:
    block = schedule.get_sblock(anchor.block)
    padding = _padding(schedule, anchor.block)
    follows = fold_epilogue(schedule, block, anchor.spatial)
    epilogue = follows.tile or schedule.cache_write(block, 0, "global")
    if follows.tail is not None:
        parallelize(schedule, follows.tail)
    if anchor.pointwise:
        _fuse_pixels(schedule, block, epilogue, anchor)
    codes = [encode(tile) for tile in design.tiles]
    sizes = decode(sample(schedule, codes, ordered=True))
    tiling = _Tiling(anchor, design, target, block, epilogue, sizes)
    if design.order == "partial":
        fused = _partial_sums(schedule, tiling)
    else:
        small = padding is not None and _block_bytes(schedule, padding) <= L2_BYTES // 2
        fused = _whole_sums(schedule, tiling, small_image=small)
    if padding is not None:
        _schedule_padding(schedule, padding, fused if design.fused_pad else None)


def _fuse_pixels(schedule: Schedule, block: SBlockRV, epilogue: SBlockRV, anchor: Anchor) -> None:
    """Makes one axis of height and width, and drops the window of one."""
    width = anchor.spatial[3]
    schedule.transform_layout(block, ("write", 0), lambda n, c, h, w, b: (n, c, h * width + w, b))
    schedule.transform_block_layout(
        block, lambda n, c, h, w, b, ic, kh, kw, ib: (n, c, h * width + w, b, ic, ib)
    )
    schedule.transform_block_layout(epilogue, lambda n, c, h, w, b: (n, c, h * width + w, b))


def _whole_sums(schedule: Schedule, tiling: _Tiling, *, small_image: bool) -> LoopRV:
    """Loops in which each tile runs through its whole reduction; gives the one of a strip, or of a
    whole image where that is small."""
    anchor, design, block = tiling.anchor, tiling.design, tiling.block
    channels_only = shares_channels_only(anchor, tiling.target)
    # Small enough for the stack, from where LLVM lifts it into registers.
    schedule.set_scope(block, 0, "local")
    axes = 4 if anchor.pointwise else 5
    n, c, *pixels, lane = schedule.get_loops(block)[:axes]
    reduced = schedule.get_loops(block)[axes:]
    outer, inner = _split_tile(schedule, [c, *pixels], tiling)
    c_outer, *strip, last = outer
    within = [last]
    if anchor.one_row:
        strip_count = sample(schedule, _strips(anchor, tiling.target, design.order), ordered=True)
        # By its length and not by their number: a strip behind the last tile would be cut wrongly.
        tile_count = -(-anchor.extents[2] // tiling.sizes[2])
        first, *within = schedule.split(last, [None, -(-tile_count // strip_count)])
        strip.append(first)
    parallel, moving = [n, c_outer, *strip], within
    if design.order == "pixels":
        parallel, moving = [n, *strip], [c_outer, *within]
    elif channels_only:
        parallel, moving = [n, c_outer], [*strip, *within]
    steps, unrolled = _split_reduction(schedule, reduced, anchor)
    tile = _tile_order(inner, design)
    schedule.reorder(*parallel, *moving, *steps, *tile, lane)
    fused = schedule.fuse(*parallel)
    schedule.parallel(fused)
    schedule.reverse_compute_at(tiling.epilogue, moving[-1], preserve_unit_loops=True)
    unroll_and_vectorize(schedule, tiling.epilogue, len(inner))
    for loop in (*tile, *unrolled):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(block, steps[0]), len(inner))
    for loop in moving:
        schedule.annotate(loop, PARTITION, 1)
    return moving[0] if channels_only and not small_image else fused


def _split_reduction(
    schedule: Schedule, reduced: Sequence[LoopRV], anchor: Anchor
) -> tuple[list[LoopRV], list[LoopRV]]:
    """The loops of the reduction in order, and which of them are unrolled: the whole window of a
    depthwise convolution, some of the channels of an input block of a dense one."""
    if anchor.depthwise:
        return list(reduced), list(reduced)
    *steps, channels = reduced
    outer, inner = schedule.split(channels, [None, sample(schedule, _unroll_factors(anchor))])
    return [*steps, outer, inner], [inner]


def _unroll_factors(anchor: Anchor) -> list[int]:
    return [factor for factor in _UNROLLED if anchor.reduction[3] % factor == 0]


def _partial_sums(schedule: Schedule, tiling: _Tiling) -> LoopRV:
    """Loops in which the reduction is cut into passes; gives the one that is parallel."""
    anchor, block, epilogue = tiling.anchor, tiling.block, tiling.epilogue
    axes = 4 if anchor.pointwise else 5
    input_blocks = schedule.get_loops(block)[axes]
    cut, _ = schedule.split(input_blocks, [None, sample(schedule, _passes(anchor), ordered=True)])
    partial = schedule.rfactor(cut, 0)
    n, c, *pixels, lane, cut = schedule.get_loops(block)
    outer, inner = _split_tile(schedule, [c, *pixels], tiling)
    c_outer, *moving = outer
    schedule.reorder(n, c_outer, cut, *moving, *inner, lane)
    fused = schedule.fuse(n, c_outer)
    schedule.parallel(fused)
    schedule.compute_at(partial, moving[-1], preserve_unit_loops=True)
    schedule.set_scope(partial, 0, "local")
    around = len(schedule.get_loops(block)) - len(inner) - 1
    unroll_and_vectorize(schedule, block, len(inner))
    of_cut, of_n, *rest = schedule.get_loops(partial)[around:]
    own, own_lane, steps = rest[: len(inner)], rest[len(inner)], rest[len(inner) + 1 :]
    steps += schedule.split(steps.pop(), [None, sample(schedule, _unroll_factors(anchor))])
    tile = _tile_order(own, tiling.design)
    schedule.reorder(of_cut, of_n, *steps, *tile, own_lane)
    for loop in (*tile, steps[-1]):
        schedule.unroll(loop)
    schedule.vectorize(own_lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(partial, steps[0]), len(inner))
    schedule.reverse_compute_at(epilogue, fused, preserve_unit_loops=True)
    schedule.vectorize(schedule.get_loops(epilogue)[-1])
    for loop in moving:
        schedule.annotate(loop, PARTITION, 1)
    return fused


def _split_tile(
    schedule: Schedule, loops: Sequence[LoopRV], tiling: _Tiling
) -> tuple[list[LoopRV], list[LoopRV]]:
    """Splits (channels, rows, columns), or (channels, pixels), into tiles: outer, inner loops."""
    channels, rows, columns = tiling.sizes
    sizes = [channels, columns] if tiling.anchor.pointwise else [channels, rows, columns]
    pairs = [schedule.split(loop, [None, size]) for loop, size in zip(loops, sizes, strict=True)]
    return [outer for outer, _ in pairs], [inner for _, inner in pairs]


def _tile_order(inner: Sequence[LoopRV], design: Design) -> list[LoopRV]:
    channels, *pixels = inner
    return [*pixels, channels] if design.channels_inside else [channels, *pixels]


def _schedule_padding(schedule: Schedule, padding: SBlockRV, loop: LoopRV | None) -> None:
    if loop is not None:
        schedule.compute_at(padding, loop, preserve_unit_loops=True)
        schedule.vectorize(schedule.get_loops(padding)[-1])
        return
    parallelize(schedule, padding)


def _block_bytes(schedule: Schedule, padding: SBlockRV) -> int:
    """Bytes of one channel block of a padded image, in fp32."""
    return 4 * math.prod(extents_of(schedule.get(padding))[2:])


def _padding(schedule: Schedule, block: str) -> SBlockRV | None:
    producers = schedule.get_producers(schedule.get_sblock(block))
    return producers[0] if len(producers) == 1 else None
