"""Reductions along the last axes: softmax, layer norm, sums and means of whole rows.

All passes over a row run one after another while it is in the first cache, and the threads share
the rows. A sum along the axis in which memory is contiguous is one chain of scalar additions,
whose order a compiler has to keep; here it is cut into partial sums, several vectors of them, that
are added up at the end. What is needed twice and is not cheap (the exponentials of a softmax) is
kept for the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tunekit.ir.tir import Block, Kernel, blocks_of, extents_of
from tunekit.spaces.inlining import can_be_inlined
from tunekit.spaces.sampling import divisors, sample, thread_use, variants_of
from tunekit.spaces.steps import unroll_and_vectorize

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ExprRV, LoopRV, SBlockRV

    from tunekit.machine.target import ResolvedTarget

# Rows whose additions go on side by side, at most.
_SIDE_BY_SIDE = 8

_Pass = Callable[["Schedule", "SBlockRV", "list[LoopRV]", int], None]


@dataclass(frozen=True)
class Rows:
    """The reductions in a fused kernel.

    Attributes:
        blocks: names of the blocks that reduce, in program order.
        shape: extents of the axes that count rows.
        columns: elements of a row that are reduced to one.
    """

    blocks: tuple[str, ...]
    shape: tuple[int, ...]
    columns: int

    @property
    def axes(self) -> int:
        """Axes that count rows."""
        return len(self.shape)

    @property
    def bytes(self) -> int:
        """Of the rows, in float32."""
        return 4 * math.prod(self.shape) * self.columns


def find_rows(module: IRModule) -> Rows | None:
    """The rows that a workload reduces, None if it computes something else.

    It is told by its blocks that reduce: all over as many elements, for as many rows, and each
    reads a tensor at its own axes in order, the reduced ones last.
    """
    kernel = Kernel.of(module)
    reducing = kernel.reducing
    if not all(map(_along_rows, reducing)):
        return None
    shapes = {(block.spatial, math.prod(block.reduced)) for block in reducing}
    if len(shapes) != 1:
        return None
    [(rows, columns)] = shapes
    while len(rows) > 1 and rows[-1] == 1:
        rows = rows[:-1]
    return Rows(tuple(block.name for block in reducing), rows or (1,), columns)


def _along_rows(block: Block) -> bool:
    """Whether one of the tensors that a block reads is rows: at each row, all of its columns."""
    from tvm.sym import Analyzer
    from tvm.tirx import IntImm

    spatial, reduced = block.divide(block.axes)
    if len(spatial) + len(reduced) != len(block.axes):
        return False
    axes = [axis.var for axis in (*spatial, *reduced) if axis.extent != 1]
    analyzer = Analyzer()
    for variable in block.node.iter_vars:
        analyzer.bind(variable.var, variable.dom)
    for read in block.node.reads:
        # An axis of extent one is always at its first position.
        indices = [analyzer.simplify(dimension.min) for dimension in read.region]
        indices = [index for index in indices if not isinstance(index, IntImm)]
        if len(indices) == len(axes) and all(
            index.same_as(axis) for index, axis in zip(indices, axes, strict=True)
        ):
            return True
    return False


def rows_designs(schedule: Schedule, anchor: Rows, target: ResolvedTarget) -> list[Schedule]:
    """The structural variants: with threads and without, as the size suggests."""
    return variants_of(
        schedule,
        (
            partial(_apply, rows=anchor, target=target, parallel=parallel)
            for parallel in thread_use(anchor.bytes)
        ),
    )


def _apply(schedule: Schedule, rows: Rows, target: ResolvedTarget, *, parallel: bool) -> None:
    lanes = target.f32_lanes
    # Vectors of partial sums of a row.
    vectors = [count for count in (4, 2, 8, 1) if rows.columns % (count * lanes) == 0] or [1]
    parts = sample(schedule, vectors, ordered=True)
    # Not with a remainder: `compute_at` forgets the predicate that it takes.
    divides = rows.columns % lanes == 0
    passes: list[tuple[SBlockRV, _Pass]] = []
    for block in _inline_the_cheap(schedule, rows):
        name = str(schedule.get(block).name_hint)
        if name not in rows.blocks:
            passes.append((block, _columns if divides else _as_it_is))
        elif divides:
            many, few = _partial_sums(schedule, block, parts, lanes)
            passes += [(many, _partial), (few, _partial), (block, _lanes)]
        else:
            passes.append((block, _side_by_side))
    row = _take_rows(schedule, rows, passes[-1][0], several=not divides)
    if parallel:
        schedule.parallel(row)
    for block, vectorize in reversed(passes[:-1]):
        schedule.compute_at(block, row, preserve_unit_loops=True)
        if vectorize not in (_columns, _as_it_is):
            schedule.set_scope(block, 0, "local")
    for block, vectorize in passes:
        # The first loop is the one over rows, which all passes share.
        vectorize(schedule, block, schedule.get_loops(block)[1:], lanes)


def _take_rows(schedule: Schedule, rows: Rows, output: SBlockRV, *, several: bool) -> LoopRV:
    """Makes one loop of those over rows; with `several` each of its steps takes a few rows whose
    chains of additions go on side by side."""
    loops = schedule.get_loops(output)[: rows.axes]
    if not loops:
        # All of a tensor is one row, and what is made of its sum has no axes.
        return schedule.add_unit_loop(output)
    if not several:
        return schedule.fuse(*loops)
    counts = [divisors(extent, _SIDE_BY_SIDE)[::-1] for extent in rows.shape]
    index = max(range(rows.axes), key=lambda axis: counts[axis][0])
    loops[index], beside = schedule.split(
        loops[index], [None, sample(schedule, counts[index], ordered=True)]
    )
    schedule.reorder(*loops, beside)
    return schedule.fuse(*loops)


def _inline_the_cheap(schedule: Schedule, rows: Rows) -> list[SBlockRV]:
    """Inlines what is needed once or is one value for a row; the blocks that are left, in program
    order."""
    names = [str(schedule.get(block).name_hint) for block in blocks_of(schedule)]
    left = []
    for name in names:
        block = schedule.get_sblock(name)
        consumers = schedule.get_consumers(block)
        extents = extents_of(schedule.get(block))
        single = math.prod(extents[rows.axes :]) == 1
        cheap = name not in rows.blocks and consumers and (len(consumers) == 1 or single)
        if cheap and can_be_inlined(schedule, block):
            schedule.compute_inline(block)
        else:
            left.append(name)
    return [schedule.get_sblock(name) for name in left]


def _partial_sums(
    schedule: Schedule, block: SBlockRV, parts: ExprRV, lanes: int
) -> tuple[SBlockRV, SBlockRV]:
    """Cuts a reduction into `parts` vectors of partial ones, adds those up to one vector, and
    leaves its lanes to `block`."""
    spatial, reduced = Block.of(schedule.get(block)).divide(schedule.get_loops(block))
    _, part, lane = schedule.split(schedule.fuse(*reduced), [None, parts, lanes])
    many = schedule.rfactor(schedule.fuse(part, lane), len(spatial))
    _, lane = schedule.split(schedule.get_loops(block)[-1], [None, lanes])
    few = schedule.rfactor(lane, len(spatial))
    return many, few


def _partial(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], lanes: int) -> None:
    roles = Block.of(schedule.get(block)).roles
    step, column = loops[roles.index("reduced")], loops[roles.index("spatial")]
    schedule.reorder(*[loop for loop in loops if loop not in (step, column)], step, column)
    part, lane = schedule.split(column, [None, lanes])
    schedule.unroll(part)
    schedule.vectorize(lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(block, step), 1)


def _lanes(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], lanes: int) -> None:
    """Adds up the lanes of a vector."""
    roles = Block.of(schedule.get(block)).roles
    if len(loops) == len(roles):
        schedule.unroll(loops[roles.index("reduced")])


def _side_by_side(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], lanes: int) -> None:
    """Adds up a few rows at once, an element of each at a time."""
    read = Block.of(schedule.get(block))
    if len(loops) != len(read.axes):
        return
    spatial, reduced = read.divide(loops)
    schedule.reorder(*reduced, *spatial)
    for loop in spatial:
        schedule.unroll(loop)
    first = schedule.decompose_reduction(block, reduced[0])
    for loop in schedule.get_loops(first)[1:]:
        schedule.unroll(loop)


def _as_it_is(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], lanes: int) -> None:
    """Leaves a pass with a remainder to LLVM's vectorizer."""


def _columns(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], lanes: int) -> None:
    extent = math.prod(int(schedule.get(loop).extent) for loop in loops)
    if extent % lanes == 0:
        _, lane = schedule.split(schedule.fuse(*loops), [None, lanes])
        schedule.vectorize(lane)
