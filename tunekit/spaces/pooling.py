"""Windows and means over positions, where the channels of a position lie beside each other.

A vector of channels is one register, so a pooling is a chain of vector additions or maxima for
each pixel of the output. One chain alone waits for the latency of its operation; a tile of several
pixels keeps several chains going, and where windows overlap (3x3 with stride 2) each value that a
tile loads serves several of them. A mean over all positions has one pixel only: its tile is made
of blocks of channels.

Padding is computed for the rows that a thread is about to pool, while they are in the first cache,
or before everything else, or asked for at each value. What follows in the fused kernel (the
division of a mean, an activation) is computed on the tile before it leaves the registers.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from tunekit.ir.tir import Block, Kernel, constant_extents
from tunekit.spaces.inlining import inline
from tunekit.spaces.sampling import divisors, sample, thread_use, variants_of
from tunekit.spaces.steps import fold_epilogue, parallelize_elements, unroll_and_vectorize, upstream

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import LoopRV, SBlockRV

    from tunekit.machine.target import ResolvedTarget

# Where the blocks before an overlapping window are computed.
Before = Literal["for each row", "first", "in place"]

_LARGEST_WINDOW = 8
# Bytes of padded input for the rows of a thread that may be worth trying.
_ROWS_BYTES = 256 << 10
# Pixels of a tile and rows of a thread that are tried first.
_FROM_TILE = 8
_FROM_ROWS = 8


@dataclass(frozen=True)
class Pooling:
    """The reduction over positions in a fused kernel.

    Attributes:
        block: name of its block.
        spatial: extents of the output; the last are the channels that lie beside each other.
        window: extents of the reduced axes.
        elements: of the tensor that it reads.
    """

    block: str
    spatial: tuple[int, ...]
    window: tuple[int, ...]
    elements: int

    @property
    def overlapping(self) -> bool:
        """Whether values serve more than one pixel of the output."""
        return math.prod(self.spatial) * math.prod(self.window) > self.elements

    @property
    def bytes(self) -> int:
        """Read and written, in float32."""
        return 4 * (self.elements + math.prod(self.spatial))


def find_pooling(module: IRModule) -> Pooling | None:
    """The pooling that a workload computes, None if it computes something else.

    It is told by its block, the only one that reduces: it reads one tensor, whose last axis is the
    last of the output.
    """
    reducing = Kernel.of(module).reducing
    if len(reducing) != 1:
        return None
    [block] = reducing
    if set(block.roles) != {"spatial", "reduced"}:
        return None
    if len(block.node.reads) != 1 or len(block.node.writes) != 1:
        return None
    [read] = block.node.reads
    shape = constant_extents(read.source.shape)
    [*_, last], _ = block.divide([axis.var for axis in block.axes])
    if shape is None or not read.region or not last.same_as(read.region[-1].min):
        return None
    return Pooling(block.name, block.spatial, block.reduced, math.prod(shape))


def pooling_designs(schedule: Schedule, anchor: Pooling, target: ResolvedTarget) -> list[Schedule]:
    """The structural variants: where the padding is computed; the best expected first."""
    where: tuple[Before, ...] = ("in place",)
    if anchor.overlapping and schedule.get_producers(schedule.get_sblock(anchor.block)):
        where = ("in place", "for each row", "first")
    return variants_of(
        schedule,
        (
            partial(_apply, pooling=anchor, target=target, before=before, parallel=parallel)
            for before, parallel in itertools.product(where, thread_use(anchor.bytes))
        ),
    )


@dataclass(frozen=True)
class _Axes:
    """Positions among the output's axes: of the tile, and of the rows around it."""

    tile: int
    rows: int | None


def _axes(pooling: Pooling, vectors: int) -> _Axes:
    """The innermost axis that has more than one pixel makes the tile."""
    several = [index for index, extent in enumerate(pooling.spatial[:-1]) if extent > 1]
    if vectors > 2 or not several:
        return _Axes(len(pooling.spatial) - 1, several[-1] if several else None)
    return _Axes(several[-1], several[-2] if len(several) > 1 else None)


def _apply(
    schedule: Schedule,
    pooling: Pooling,
    target: ResolvedTarget,
    before: Before,
    *,
    parallel: bool,
) -> None:
    kernel = _open(schedule, pooling, keep=before != "in place", parallel=parallel)
    lanes = math.gcd(pooling.spatial[-1], target.f32_lanes)
    loops = _cut(schedule, pooling, target, kernel.block, lanes)
    schedule.reorder(*loops.around, *loops.within, *loops.window, loops.tile, loops.lane)
    piece = schedule.fuse(*loops.around)
    if parallel:
        schedule.parallel(piece)
    epilogue_loop = loops.within[-1] if loops.within else piece
    schedule.reverse_compute_at(kernel.epilogue, epilogue_loop, preserve_unit_loops=True)
    schedule.split(schedule.get_loops(kernel.epilogue)[-1], [None, lanes])
    unroll_and_vectorize(schedule, kernel.epilogue, len(pooling.spatial))
    for loop in (*loops.unrolled, loops.tile):
        schedule.unroll(loop)
    schedule.vectorize(loops.lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(kernel.block, loops.window[0]), 1)
    if kernel.padding is None:
        return
    if before == "for each row":
        schedule.compute_at(kernel.padding, piece, preserve_unit_loops=True)
        schedule.vectorize(
            schedule.split(schedule.get_loops(kernel.padding)[-1], [None, lanes])[-1]
        )
    else:
        parallelize_elements(schedule, kernel.padding, lanes, parallel=parallel)


@dataclass(frozen=True)
class _Kernel:
    """The blocks of a pooling, before its loops are put in order.

    Attributes:
        block: the pooling.
        epilogue: what follows on its output, a copy if nothing does.
        padding: what computes its input, where that is not done in place.
    """

    block: SBlockRV
    epilogue: SBlockRV
    padding: SBlockRV | None


def _open(schedule: Schedule, pooling: Pooling, *, keep: bool, parallel: bool) -> _Kernel:
    """Inlines what comes before the pooling, but its producer with `keep`, and what follows."""
    block = schedule.get_sblock(pooling.block)
    padding = _fold_producers(schedule, block, keep=keep)
    follows = fold_epilogue(schedule, block, pooling.spatial)
    epilogue = follows.tile or schedule.cache_write(block, 0, "global")
    if follows.tail is not None:
        parallelize_elements(schedule, follows.tail, 1, parallel=parallel)
    # Small enough for the stack, from where LLVM lifts it into registers.
    schedule.set_scope(block, 0, "local")
    return _Kernel(block, epilogue, padding)


@dataclass(frozen=True)
class _Loops:
    """A pooling's loops from the outermost to the innermost.

    Attributes:
        around: what the threads share: rows where a row has several tiles, and else tiles.
        within: over the rows of a thread, and over the tiles of a row.
        window: over the window; the inner half of them, `unrolled`, is unrolled.
        tile: over the pixels of a tile, or over its vectors of channels.
        lane: over the lanes of a vector.
    """

    around: list[LoopRV]
    within: list[LoopRV]
    window: list[LoopRV]
    unrolled: list[LoopRV]
    tile: LoopRV
    lane: LoopRV


def _cut(
    schedule: Schedule, pooling: Pooling, target: ResolvedTarget, block: SBlockRV, lanes: int
) -> _Loops:
    """Cuts the loops of a pooling into tiles, and the window into what is unrolled of it."""
    axes = _axes(pooling, pooling.spatial[-1] // lanes)
    spatial, reduced = Block.of(schedule.get(block)).divide(schedule.get_loops(block))
    spatial[-1], lane = schedule.split(spatial[-1], [None, lanes])
    extents = [*pooling.spatial[:-1], pooling.spatial[-1] // lanes]

    most = target.vector_registers - 4
    widths = divisors(extents[axes.tile], min(most, 16))
    spatial[axes.tile], tile = schedule.split(
        spatial[axes.tile],
        [None, sample(schedule, sorted(widths, key=_from_tile_width), ordered=True)],
    )
    rows = None
    if axes.rows is not None and pooling.overlapping:
        options = _row_counts(pooling, extents[axes.rows])
        spatial[axes.rows], rows = schedule.split(
            spatial[axes.rows], [None, sample(schedule, options, ordered=True)]
        )
    steps = [
        _split_window(schedule, loop, e) for loop, e in zip(reduced, pooling.window, strict=True)
    ]
    unrolled = [inner for _, inner in steps]
    return _Loops(
        around=[loop for index, loop in enumerate(spatial) if rows is None or index != axes.tile],
        within=[] if rows is None else [rows, spatial[axes.tile]],
        window=[outer for outer, _ in steps] + unrolled,
        unrolled=unrolled,
        tile=tile,
        lane=lane,
    )


def _fold_producers(schedule: Schedule, block: SBlockRV, *, keep: bool) -> SBlockRV | None:
    """Inlines what comes before the pooling; with `keep` all but its direct producer."""
    direct = schedule.get_producers(block)
    names = {str(schedule.get(producer).name_hint) for producer in direct}
    for producer in upstream(schedule, block):
        if not keep or str(schedule.get(producer).name_hint) not in names:
            inline(schedule, producer)
    return direct[0] if keep and direct else None


def _split_window(schedule: Schedule, loop: LoopRV, extent: int) -> tuple[LoopRV, LoopRV]:
    """A reduced loop and how much of it is unrolled."""
    factors = divisors(extent, _LARGEST_WINDOW)[::-1]
    outer, inner = schedule.split(loop, [None, sample(schedule, factors, ordered=True)])
    return outer, inner


def _row_counts(pooling: Pooling, rows: int) -> list[int]:
    """Rows that a thread takes at once, best expected first."""
    row_bytes = 4 * pooling.elements // max(1, math.prod(pooling.spatial[:-3]) * rows)
    options = [count for count in divisors(rows, 32) if count * row_bytes <= _ROWS_BYTES] or [1]
    return sorted(options, key=lambda count: abs(math.log2(count / _FROM_ROWS)))


def _from_tile_width(width: int) -> float:
    return abs(math.log2(width / _FROM_TILE))
