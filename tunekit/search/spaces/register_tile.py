"""Register tiles for convolutions on channel-blocked tensors.

A tile of the output, (channel blocks) x (rows) x (columns) vectors of one channel block each, is
accumulated in vector registers while the reduction streams over input and weights: each step
loads one weight vector for a channel block, broadcasts one input value for a place, and feeds
every pair of them to a fused multiply-add. The tile has to be large enough to hide the latency
of the multiply-add (4 cycles on two pipes: 8 accumulators) and small enough for the register
file. What follows in the fused kernel (bias, residual, activation) is computed on the tile
before it leaves the first cache.

The generic space finds such tiles only by luck: most of its candidates vectorize one or four
lanes, or spill.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.search.spaces.blocks import (
    decode,
    divisors,
    encode,
    finish_tile,
    fold_epilogue,
    register_count,
    sample,
    share,
)

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator
    from tvm.s_tir.schedule import LoopRV, SBlockRV

    from tunekit.target import ResolvedTarget

# Tiles offered to the sampler for one workload; the most promising by arithmetic come first.
_TILES = 48


@dataclass(frozen=True)
class Anchor:
    """The convolution in a fused kernel.

    Attributes:
        block: name of its block.
        spatial: extents of (batch, channel blocks, height, width, channels of a block).
        reduction: extents of the reduced axes, in order.
        depthwise: one input channel for each output channel.
    """

    block: str
    spatial: tuple[int, int, int, int, int]
    reduction: tuple[int, ...]
    depthwise: bool


def find_anchor(module: IRModule) -> Anchor | None:
    """The blocked convolution that a workload computes, None if it computes something else.

    It is told by its iteration: five spatial axes, and four reduced ones reading a six-dimensional
    weight (dense, grouped) or two reading a four-dimensional one (depthwise).
    """
    from tvm.s_tir import Schedule
    from tvm.tirx import IntImm

    found = []
    schedule = Schedule(module)
    for child in schedule.get_child_blocks(schedule.get_sblock("root")):
        block = schedule.get(child)
        kinds = [int(axis.iter_type) for axis in block.iter_vars]
        if 2 not in kinds:
            continue
        extents = [axis.dom.extent for axis in block.iter_vars]
        if not all(isinstance(extent, IntImm) for extent in extents):
            return None
        sizes = [int(extent) for extent in extents]
        reads = sorted({str(read.source): len(read.region) for read in block.reads}.values())
        spatial = tuple(size for size, kind in zip(sizes, kinds, strict=True) if kind == 0)
        reduction = tuple(size for size, kind in zip(sizes, kinds, strict=True) if kind == 2)
        found.append((str(block.name_hint), spatial, reduction, reads))
    if len(found) != 1:
        return None
    name, spatial, reduction, reads = found[0]
    if len(spatial) != 5 or (len(reduction), reads) not in ((4, [5, 6]), (2, [4, 5])):
        return None
    return Anchor(name, spatial, reduction, depthwise=len(reduction) == 2)


def register_tile_space(anchor: Anchor, target: ResolvedTarget) -> SpaceGenerator:
    """Candidates that keep a tile of the convolution's output in registers."""
    from tvm.s_tir.meta_schedule.mutator import MutateTileSize
    from tvm.s_tir.meta_schedule.space_generator import ScheduleFn

    return ScheduleFn(
        lambda schedule: designs(schedule, anchor, target),
        sch_rules=[],
        postprocs=[],
        mutator_probs={MutateTileSize(): 1.0},
    )


def fits(module: IRModule, anchor: Anchor, target: ResolvedTarget) -> bool:
    """Whether the kernel around the convolution has a form that the space can schedule."""
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    try:
        designs(Schedule(module), anchor, target)
    except ScheduleError:
        return False
    return True


def designs(schedule: Schedule, anchor: Anchor, target: ResolvedTarget) -> list[Schedule]:
    """The structural variants: where the padding is made, and which axis the threads share first.

    Their decisions are sampled; the first of each sampler's values is the best expected.
    """
    codes = [encode(tile) for tile in tiles(anchor, target)]
    padded = _padding(schedule, anchor.block) is not None
    variants = []
    for fused_pad, channels_first in itertools.product((False, True), (True, False)):
        if fused_pad and not padded:
            continue
        variant = schedule.copy()
        _apply(variant, anchor, codes, fused_pad=fused_pad, channels_first=channels_first)
        variants.append(variant)
    return variants


def tiles(anchor: Anchor, target: ResolvedTarget) -> list[tuple[int, int, int]]:
    """(channel blocks, rows, columns) of the tiles worth trying, best expected first."""
    _, blocks, height, width, lanes = anchor.spatial
    vector_lanes = max(target.vector_bits // 32, 4)
    # A block wider than a vector takes several registers for each place.
    per_place = max(1, lanes // vector_lanes)
    most = (register_count(target) - 3) // per_place
    options = []
    for channel, row, column in itertools.product(
        divisors(blocks, 8), divisors(height, 8), divisors(width, most)
    ):
        accumulators = channel * row * column
        if accumulators > most or (anchor.depthwise and channel > 1):
            continue
        options.append((_loads_per_step(anchor, channel, row, column), channel, row, column))
    options.sort(key=lambda option: (option[0], option[1:]))
    return [option[1:] for option in options[:_TILES]] or [(1, 1, 1)]


def _loads_per_step(anchor: Anchor, channel: int, row: int, column: int) -> float:
    """Cycles of one reduction step over its multiply-adds: what the tile is judged by."""
    accumulators = channel * row * column
    loads = accumulators + channel if anchor.depthwise else row * column + channel
    # Two loads and two multiply-adds a cycle; below 8 accumulators the latency shows.
    cycles = max(loads / 2, accumulators / 2, 4.0)
    return cycles / accumulators


def _apply(
    schedule: Schedule,
    anchor: Anchor,
    codes: Sequence[int],
    *,
    fused_pad: bool,
    channels_first: bool,
) -> None:
    block = schedule.get_sblock(anchor.block)
    padding = _padding(schedule, anchor.block)
    follows = fold_epilogue(schedule, block, anchor.spatial)
    epilogue = follows.tile or schedule.cache_write(block, 0, "global")
    if follows.tail is not None:
        share(schedule, follows.tail)
    # Small enough for the stack, from where LLVM lifts it into registers.
    schedule.set_scope(block, 0, "local")

    channels, rows, columns = decode(sample(schedule, codes, ordered=True))
    n, c, h, w, lane, *reduced = schedule.get_loops(block)
    c_outer, c_tile = schedule.split(c, [None, channels])
    h_outer, h_tile = schedule.split(h, [None, rows])
    w_outer, w_tile = schedule.split(w, [None, columns])
    outer = [n, c_outer, h_outer] if channels_first else [n, h_outer, c_outer]
    if anchor.depthwise:
        kh, kw = reduced
        inner_reduction = [kh, kw]
        unrolled = [kh, kw]
    else:
        ic, kh, kw, ib = reduced
        factors = [f for f in (1, 2, 4, 8, 16) if anchor.reduction[3] % f == 0]
        ib_outer, ib_inner = schedule.split(ib, [None, sample(schedule, factors)])
        inner_reduction = [ic, kh, kw, ib_outer, ib_inner]
        unrolled = [ib_inner]
    schedule.reorder(*outer, w_outer, *inner_reduction, c_tile, h_tile, w_tile, lane)
    fused = schedule.fuse(*outer)
    schedule.parallel(fused)
    schedule.reverse_compute_at(epilogue, w_outer, preserve_unit_loops=True)
    finish_tile(schedule, epilogue)
    if padding is not None:
        _schedule_padding(schedule, padding, fused if fused_pad else None)
    for loop in (c_tile, h_tile, w_tile, *unrolled):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    init = schedule.decompose_reduction(block, inner_reduction[0])
    finish_tile(schedule, init)


def _schedule_padding(schedule: Schedule, padding: SBlockRV, at: LoopRV | None) -> None:
    if at is not None:
        schedule.compute_at(padding, at, preserve_unit_loops=True)
        schedule.vectorize(schedule.get_loops(padding)[-1])
        return
    share(schedule, padding)


def _padding(schedule: Schedule, block: str) -> SBlockRV | None:
    producers = schedule.get_producers(schedule.get_sblock(block))
    return producers[0] if len(producers) == 1 else None
