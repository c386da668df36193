"""Schedules for attention: a block of rows of queries at a time, see `graph.kernels.attention`.

The threads share heads and blocks of rows. Within a block both products have tiles in registers,
of rows by vectors of keys, and of rows by vectors of values; the passes of the softmax run over
scores that the first product has left in the first two caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tunekit.ir.tir import Kernel
from tunekit.spaces.sampling import divisors, sample, variants_of
from tunekit.spaces.steps import unroll_and_vectorize

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import SBlockRV

    from tunekit.ir.tir import Block
    from tunekit.machine.target import ResolvedTarget

# Spatial and reduced axes of the blocks that reduce: the largest of all and their sum, the same for
# each lane and the sums of values, the products.
_REDUCTIONS = [(3, 1), (3, 1), (4, 1), (4, 1), (4, 1), (5, 1)]


@dataclass(frozen=True)
class Attention:
    """The attention that a kernel computes.

    Attributes:
        products: names of the blocks of the queries, of the packed keys, of their products, and of
            what is made of these.
        passes: names of the other blocks over scores, in program order.
        values: name of the block of the sums of values.
        output: name of the last block.
        rows: of a block.
        value_size: columns of the result.
        lanes: keys of a panel.
    """

    products: tuple[str, str, str, str]
    passes: tuple[str, ...]
    values: str
    output: str
    rows: int
    value_size: int
    lanes: int


def find_attention(module: IRModule) -> Attention | None:
    """The attention that a workload computes, None if it computes something else.

    It is told by its blocks that reduce, of which the first are over the scores.
    """
    kernel = Kernel.of(module)
    reducing, last = kernel.reducing, kernel.blocks[-1]
    axes = sorted((len(block.spatial), len(block.reduced)) for block in reducing)
    if axes != _REDUCTIONS or any(b.spatial[:3] != reducing[0].spatial[:3] for b in reducing):
        return None
    [products] = [block for block in reducing if len(block.spatial) == 5]
    wide = [block for block in reducing if len(block.spatial) == 4]
    of_output = [block.name for block in kernel.producers(last)]
    values = [block for block in wide if block.name in of_output]
    masked, operands = kernel.consumers(products), _operands(kernel, products)
    if len(masked) != 1 or len(values) != 1 or len(operands) != 2 or len(last.spatial) != 3:
        return None
    known = {block.name for block in (*operands, products, masked[0], *values, last)}
    passes = [block for block in kernel.blocks if block.name not in known]
    if any(len(block.spatial) not in (3, 4, 5) for block in passes):
        return None
    queries, keys = operands
    return Attention(
        (queries.name, keys.name, products.name, masked[0].name),
        tuple(block.name for block in passes),
        values[0].name,
        last.name,
        rows=products.spatial[2],
        value_size=values[0].spatial[3],
        lanes=products.spatial[4],
    )


def _operands(kernel: Kernel, products: Block) -> list[Block]:
    """What makes the queries and the keys of the products, in this order."""
    producers = {str(block.node.writes[0].source): block for block in kernel.producers(products)}
    sources = [str(read.source) for read in products.node.reads]
    return [producers[source] for source in sources if source in producers]


def attention_designs(
    schedule: Schedule, anchor: Attention, target: ResolvedTarget
) -> list[Schedule]:
    """The structural variants: rows of a tile of both products; the best expected first."""
    vectors = anchor.lanes // target.f32_lanes
    options = [
        rows
        for rows in divisors(anchor.rows, anchor.rows)
        if rows * vectors + vectors + 1 <= target.vector_registers
    ]
    # Enough accumulators to hide the latency of a multiply-add, and then few loads.
    options.sort(key=lambda rows: (rows * vectors < 8, -rows))
    return variants_of(
        schedule,
        (partial(_apply, anchor=anchor, target=target, tile=rows) for rows in options[:3]),
    )


def _apply(schedule: Schedule, anchor: Attention, target: ResolvedTarget, tile: int) -> None:
    queries, keys, products, masked = map(schedule.get_sblock, anchor.products)
    values, output = schedule.get_sblock(anchor.values), schedule.get_sblock(anchor.output)
    passes = _inlined(schedule, anchor)
    head, row, column = schedule.get_loops(output)
    block, row = schedule.split(row, [None, anchor.rows])
    # Of heads that lie beside each other the columns are theirs.
    beside, column = schedule.split(column, [None, anchor.value_size])
    schedule.reorder(head, beside, block, row, column)
    shared = schedule.fuse(head, beside, block)
    schedule.parallel(shared)
    _vectorize_last(schedule, output, target.f32_lanes)
    for part in (values, *reversed(passes), masked, products, queries):
        schedule.compute_at(part, shared, preserve_unit_loops=True)
    _schedule_products(schedule, products, masked, target.f32_lanes, tile)
    for part in (queries, *passes):
        _schedule_pass(schedule, part, target.f32_lanes)
    _schedule_values(schedule, values, anchor, target, tile)
    head, panel, *_ = schedule.get_loops(keys)
    schedule.parallel(schedule.fuse(head, panel))


def _inlined(schedule: Schedule, anchor: Attention) -> list[SBlockRV]:
    """Inlines what one pass alone reads; the passes that are left."""
    left = []
    for name in anchor.passes:
        part = schedule.get_sblock(name)
        elementwise = len(schedule.get(part).iter_vars) == 5
        if elementwise and len(schedule.get_consumers(part)) == 1 and _is_step(schedule, part):
            schedule.compute_inline(part)
        else:
            left.append(name)
    return [schedule.get_sblock(name) for name in left]


def _is_step(schedule: Schedule, part: SBlockRV) -> bool:
    """Whether what reads a pass is elementwise too."""
    [consumer] = schedule.get_consumers(part)
    return len(schedule.get(consumer).iter_vars) == 5 and len(schedule.get_loops(consumer)) == 5


def _schedule_products(
    schedule: Schedule, products: SBlockRV, masked: SBlockRV, lanes: int, tile: int
) -> None:
    """A tile of registers of rows by the vectors of a panel."""
    schedule.set_scope(products, 0, "local")
    *_, row, panel, lane = schedule.get_loops(masked)
    row, in_tile = schedule.split(row, [None, tile])
    schedule.reorder(row, panel, in_tile, lane)
    schedule.compute_at(products, panel, preserve_unit_loops=True)
    _schedule_tile(schedule, masked, lanes)
    *_, in_tile, _, lane, place = schedule.get_loops(products)
    vector, lane = schedule.split(lane, [None, lanes])
    outer, inner = schedule.split(place, [None, sample(schedule, _steps(schedule, place))])
    schedule.reorder(outer, inner, in_tile, vector, lane)
    for loop in (inner, in_tile, vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(products, outer), 3)


def _steps(schedule: Schedule, loop: object) -> list[int]:
    extent = int(schedule.get(loop).extent)
    return [factor for factor in (4, 1, 2, 8) if extent % factor == 0]


def _schedule_tile(schedule: Schedule, block: SBlockRV, lanes: int) -> None:
    """Unrolls the rows of a tile and its vectors."""
    *_, in_tile, lane = schedule.get_loops(block)
    vector, lane = schedule.split(lane, [None, lanes])
    schedule.unroll(in_tile)
    schedule.unroll(vector)
    schedule.vectorize(lane)


def _schedule_pass(schedule: Schedule, part: SBlockRV, lanes: int) -> None:
    """Vectors along the last axis; a reduction to one number a row stays as it is."""
    loops = schedule.get_loops(part)
    extents = [axis.dom.extent for axis in schedule.get(part).iter_vars]
    reduced = int(schedule.get(part).iter_vars[-1].iter_type) != 0
    if reduced and len(extents) == 4:
        schedule.unroll(loops[-1])
        return
    if not reduced:
        _vectorize_last(schedule, part, lanes)
        return
    *_, lane, step = loops
    schedule.reorder(step, lane)
    vector, lane = schedule.split(lane, [None, lanes])
    schedule.unroll(vector)
    schedule.vectorize(lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(part, step), 1)


def _vectorize_last(schedule: Schedule, part: SBlockRV, lanes: int) -> None:
    last = schedule.get_loops(part)[-1]
    width = max(w for w in divisors(lanes, lanes) if int(schedule.get(last).extent) % w == 0)
    if width > 1:
        _, lane = schedule.split(last, [None, width])
        schedule.vectorize(lane)


def _schedule_values(
    schedule: Schedule, values: SBlockRV, anchor: Attention, target: ResolvedTarget, tile: int
) -> None:
    """A tile of registers of rows by vectors of values."""
    lanes = max(
        w for w in divisors(target.f32_lanes, target.f32_lanes) if anchor.value_size % w == 0
    )
    most = max(1, (target.vector_registers - 1) // (tile + 1))
    widths = divisors(anchor.value_size // lanes, most)[::-1]
    kept = schedule.cache_write(values, 0, "local")
    *_, row, column, key = schedule.get_loops(values)
    row, in_tile = schedule.split(row, [None, tile])
    column, vector, lane = schedule.split(
        column, [None, sample(schedule, widths, ordered=True), lanes]
    )
    outer, inner = schedule.split(key, [None, sample(schedule, _steps(schedule, key))])
    schedule.reorder(row, column, outer, inner, in_tile, vector, lane)
    schedule.reverse_compute_at(kept, column, preserve_unit_loops=True)
    for loop in (inner, in_tile, vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    _vectorize_last(schedule, kept, lanes)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(values, outer), 2)
