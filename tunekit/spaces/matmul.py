"""Register tiles for matrix products, batched ones too, in float32.

A tile of the product, (rows) x (vectors of columns), is accumulated in vector registers while the
reduction streams over both operands: each step loads the tile's columns of the right operand as
vectors, broadcasts one value of the left operand for each row, and feeds every pair of them to a
fused multiply-add. So that the vectors come one after another from memory, the right operand is
packed into panels as wide as the tile: when the model is compiled where it is a constant, in the
kernel itself where it is an activation. What follows in the fused kernel (bias, activation,
residual) is computed on the tile before it leaves the first cache.

Rows and columns that are left over when no good tile divides them (197 in a vision transformer) are
computed on zeros: the operands are copied with so many more of them, and only what belongs to the
product is written. A tile that asked for each value whether it is there could not keep them in
registers.

Where the left operand is far larger than the second cache, each chunk of columns would fetch it
from the last one again. There the reduction can be cut into passes: more columns are taken at once,
of whose panels only a pass's share has to stay near, and the sums so far wait in a buffer.

The product of one row with a matrix reads each weight once: there the tile only has to be wide
enough to keep several loads and additions on their way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tunekit.spaces.matmul_pattern import Matmul
from tunekit.spaces.register_tiles import L2_BYTES
from tunekit.spaces.sampling import divisors, sample, thread_use, variants_of
from tunekit.spaces.steps import fold_epilogue, parallelize_elements, unroll_and_vectorize

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ExprRV, LoopRV, SBlockRV

    from tunekit.machine.target import ResolvedTarget

# How the right operand is read: as panels made when the model is compiled, as panels that the
# kernel makes first, or as it is.
Operand = Literal["constant panels", "panels", "plain"]

# Tiles that get a design of their own.
_TILES = 4
_MOST_VECTORS = 8
# Panels of a thread's share of columns that a row of tiles runs over: what stays in the second
# cache, with room for the left operand.
_CHUNK_BYTES = 192 << 10
# Rows that make up for copying the right operand each time.
_ROWS_WORTH_PACKING = 16
# Steps of the reduction in one pass: what keeps their share of a panel in the first cache, beside
# that of a tile's rows.
_PASS_STEPS = 384
_PREPACKED = "meta_schedule.layout_rewrite_preproc"


@dataclass(frozen=True)
class Tile:
    """`rows` by `vectors` of `lanes` columns each, over a right operand read as `operand`."""

    rows: int
    vectors: int
    lanes: int
    operand: Operand = "plain"

    @property
    def width(self) -> int:
        """Columns."""
        return self.vectors * self.lanes

    @property
    def cycles(self) -> float:
        """Of one step of the reduction."""
        # Two loads and two multiply-adds a cycle; below 8 accumulators the latency shows.
        return max((self.rows + self.vectors) / 2, self.rows * self.vectors / 2, 4.0)


def matmul_designs(schedule: Schedule, anchor: Matmul, target: ResolvedTarget) -> list[Schedule]:
    """The structural variants: how wide a tile is, how the right operand is read, whether the
    threads share columns or rows, and whether the reduction is cut; the best expected first."""
    orders = [True]
    if anchor.extent("b") == 1 and anchor.extent("m") >= 4 * target.cores:
        orders = [True, False]
        if anchor.extent("n") < anchor.extent("m") // 4:
            orders.reverse()
    offered = matmul_tiles(anchor, target)
    whole = (
        partial(
            _apply,
            matmul=anchor,
            target=target,
            tile=tile,
            columns_first=columns_first,
            parallel=parallel,
        )
        for columns_first in orders
        for parallel in thread_use(anchor.bytes)
        for tile in offered
    )
    cut = (
        partial(_apply_in_passes, matmul=anchor, target=target, tile=tile)
        for tile in offered
        if _passes(anchor) and anchor.extent("n") % tile.width == 0
    )
    return variants_of(schedule, (*cut, *whole))


def _passes(matmul: Matmul) -> list[int]:
    """Steps of the reduction in one pass, best expected first; none where all of them are better
    made at once."""
    k = matmul.extent("k")
    if matmul.extent("b") > 1 or 4 * matmul.extent("m") * k <= 2 * L2_BYTES:
        return []
    options = [steps for steps in divisors(k, k // 2) if steps >= _PASS_STEPS // 2]
    return sorted(options, key=lambda steps: abs(math.log2(steps / _PASS_STEPS)))[:4]


def matmul_tiles(matmul: Matmul, target: ResolvedTarget) -> list[Tile]:
    """The tiles worth trying, best expected first; none where packing would cost too much."""
    rows, columns = matmul.extent("m"), matmul.extent("n")
    lanes = widest = target.f32_lanes
    packed = matmul.constant
    if packed:
        # Weights cannot be padded as they are packed when compiling: narrower vectors may fit.
        while columns % lanes and lanes > 4:
            lanes //= 2
        if columns % lanes:
            if rows < _ROWS_WORTH_PACKING:
                return []
            packed, lanes = False, widest
    candidates = [
        Tile(count, vectors, lanes)
        for vectors in range(1, _MOST_VECTORS + 1)
        for count in range(1, rows + 1)
        # Beside the accumulators: the columns of one step, and one value of the left operand.
        if count * vectors + vectors + 1 <= target.vector_registers
        and (columns % lanes or columns % (vectors * lanes) == 0)
    ]

    def cost(tile: Tile) -> tuple[float, bool, int]:
        tiles = -(-rows // tile.rows) * -(-columns // tile.width)
        return (tiles * tile.cycles, rows % tile.rows > 0, tile.vectors)

    operands: list[Operand] = ["panels"]
    if packed:
        operands = ["constant panels"]
    elif matmul.columns_last and columns % lanes == 0:
        operands = ["plain", "panels"]
    best = sorted(candidates, key=cost)[:_TILES]
    return [replace(tile, operand=operand) for operand in operands for tile in best]


def _chunks(matmul: Matmul, tile: Tile, target: ResolvedTarget, steps: int) -> list[int]:
    """Tiles beside each other that a thread takes at once, best expected first; `steps` of the
    reduction are made at once."""
    tiles = -(-matmul.extent("n") // tile.width)
    panel_bytes = 4 * steps * tile.width
    if matmul.extent("n") % tile.width and matmul.extent("b") >= target.cores:
        # All: so that it is known where a row ends.
        return [tiles]

    def cost(count: int) -> tuple[float, float]:
        pieces = matmul.extent("b") * tiles // count
        idle = -(-pieces // target.cores) * target.cores / pieces
        return (round(idle, 1), abs(math.log2(panel_bytes * count / _CHUNK_BYTES)))

    return sorted(divisors(tiles, 64), key=cost)[:6]


@dataclass(frozen=True)
class _Kernel:
    """A product's blocks, before its loops are put in order.

    Attributes:
        block: the product.
        epilogue: what follows on its output, a copy if nothing does.
        padded: what copies the left operand with more rows, if anything does.
        panels: what makes panels of the right operand, if the kernel does.
    """

    block: SBlockRV
    epilogue: SBlockRV
    padded: SBlockRV | None
    panels: SBlockRV | None


def _open(schedule: Schedule, matmul: Matmul, tile: Tile, *, parallel: bool) -> _Kernel:
    block = schedule.get_sblock(matmul.block)
    output = [e for e, role in zip(matmul.extents, matmul.roles, strict=True) if role != "k"]
    padded = _pad(schedule, block, matmul, tile)
    panels = _read_panels(schedule, block, matmul, tile)
    follows = fold_epilogue(schedule, block, output)
    epilogue = follows.tile or schedule.cache_write(block, 0, "global")
    if follows.tail is not None:
        parallelize_elements(schedule, follows.tail, 1, parallel=parallel)
    return _Kernel(block, epilogue, padded, panels)


def _split_tile(
    schedule: Schedule, m: LoopRV, n: LoopRV, tile: Tile, chunk: ExprRV
) -> tuple[LoopRV, LoopRV, LoopRV, tuple[LoopRV, LoopRV, LoopRV]]:
    """Splits rows and columns: tiles of rows, chunks, tiles of a chunk, and (rows, vectors, lanes)
    of a tile."""
    m_outer, m_tile = schedule.split(m, [None, tile.rows])
    n_outer, n_vector, lane = schedule.split(n, [None, tile.vectors, tile.lanes])
    n_chunk, n_inner = schedule.split(n_outer, [None, chunk])
    return m_outer, n_chunk, n_inner, (m_tile, n_vector, lane)


def _place_copies(
    schedule: Schedule,
    kernel: _Kernel,
    matmul: Matmul,
    tile: Tile,
    *,
    loop: LoopRV | None,
    parallel: bool,
) -> None:
    """Says where the operands are copied: panels in `loop`, or first of all."""
    if kernel.padded is not None:
        lanes = math.gcd(matmul.extent("k"), tile.lanes)
        parallelize_elements(schedule, kernel.padded, lanes, parallel=parallel)
    if kernel.panels is None:
        return
    if loop is not None:
        schedule.compute_at(kernel.panels, loop, preserve_unit_loops=True)
    else:
        parallelize_elements(schedule, kernel.panels, 1, parallel=parallel)


def _apply(
    schedule: Schedule,
    matmul: Matmul,
    target: ResolvedTarget,
    tile: Tile,
    *,
    columns_first: bool,
    parallel: bool,
) -> None:
    kernel = _open(schedule, matmul, tile, parallel=parallel)
    block, epilogue = kernel.block, kernel.epilogue
    # The tile is small enough for the stack, from where LLVM lifts it into registers. Where columns
    # are padded it is first written out as it is: asking for each column would keep it in memory.
    ragged = matmul.extent("n") % tile.width > 0
    whole = schedule.cache_write(block, 0, "local") if ragged else epilogue
    if not ragged:
        schedule.set_scope(block, 0, "local")

    chunk = sample(schedule, _chunks(matmul, tile, target, matmul.extent("k")), ordered=True)
    steps = sample(schedule, [f for f in (4, 1, 2, 8) if matmul.extent("k") % f == 0])
    loops = schedule.get_loops(block)
    by_role = {
        role: [loop for loop, own in zip(loops, matmul.roles, strict=True) if own == role]
        for role in "bmnk"
    }
    [m], [n], [k] = by_role["m"], by_role["n"], by_role["k"]
    m_outer, n_chunk, n_inner, in_tile = _split_tile(schedule, m, n, tile, chunk)
    m_tile, n_vector, lane = in_tile
    k_outer, k_inner = schedule.split(k, [None, steps])
    inner = (n_inner, k_outer, k_inner, *in_tile)
    if columns_first:
        schedule.reorder(*by_role["b"], n_chunk, m_outer, *inner)
        outer = schedule.fuse(*by_role["b"], n_chunk)
    else:
        schedule.reorder(m_outer, *by_role["b"], n_chunk, *inner)
        outer = m_outer
    if parallel:
        schedule.parallel(outer)
    schedule.reverse_compute_at(whole, n_inner, preserve_unit_loops=True)
    schedule.split(schedule.get_loops(whole)[-1], [None, tile.lanes])
    unroll_and_vectorize(schedule, whole, len(matmul.roles) - 1)
    if ragged:
        schedule.reverse_compute_at(
            epilogue, m_outer if columns_first else n_chunk, preserve_unit_loops=True
        )
    for loop in (k_inner, m_tile, n_vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(block, k_outer), 2)
    # Panels of a matrix when it is its turn.
    each = columns_first and matmul.extent("b") > 1
    _place_copies(schedule, kernel, matmul, tile, loop=outer if each else None, parallel=parallel)


def _apply_in_passes(
    schedule: Schedule, matmul: Matmul, target: ResolvedTarget, tile: Tile
) -> None:
    """As `_apply`, columns first, but with a reduction that is cut."""
    kernel = _open(schedule, matmul, tile, parallel=True)
    block, epilogue = kernel.block, kernel.epilogue
    passes = _passes(matmul)
    chunk = sample(schedule, _chunks(matmul, tile, target, passes[0]), ordered=True)
    steps = sample(schedule, [f for f in (4, 1, 2, 8) if math.gcd(*passes) % f == 0])
    k = schedule.get_loops(block)[matmul.roles.index("k")]
    cut, _ = schedule.split(k, [None, sample(schedule, passes, ordered=True)])
    partial_sums = schedule.rfactor(cut, 0)
    *loops, cut = schedule.get_loops(block)
    spatial = matmul.roles.replace("k", "")
    batches = [loop for loop, role in zip(loops, spatial, strict=True) if role == "b"]
    m, n = loops[spatial.index("m")], loops[spatial.index("n")]
    m_outer, n_chunk, n_inner, in_tile = _split_tile(schedule, m, n, tile, chunk)
    schedule.reorder(*batches, n_chunk, cut, m_outer, n_inner, *in_tile)
    outer = schedule.fuse(*batches, n_chunk)
    schedule.parallel(outer)
    schedule.compute_at(partial_sums, n_inner, preserve_unit_loops=True)
    # Small enough for the stack, from where LLVM lifts it into registers.
    schedule.set_scope(partial_sums, 0, "local")
    around = len(schedule.get_loops(block)) - 3
    unroll_and_vectorize(schedule, block, 2)
    of_cut, *own, k_own = schedule.get_loops(partial_sums)[around:]
    m_own, n_own = own[spatial.index("m")], own[spatial.index("n")]
    n_vector, lane = schedule.split(n_own, [None, tile.lanes])
    k_outer, k_inner = schedule.split(k_own, [None, steps])
    units = [loop for loop, role in zip(own, spatial, strict=True) if role == "b"]
    schedule.reorder(of_cut, *units, k_outer, k_inner, m_own, n_vector, lane)
    for loop in (k_inner, m_own, n_vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(partial_sums, k_outer), 2)
    schedule.reverse_compute_at(epilogue, outer, preserve_unit_loops=True)
    schedule.vectorize(schedule.split(schedule.get_loops(epilogue)[-1], [None, tile.lanes])[1])
    _place_copies(schedule, kernel, matmul, tile, loop=None, parallel=True)


def _pad(schedule: Schedule, block: SBlockRV, matmul: Matmul, tile: Tile) -> SBlockRV | None:
    """Rounds rows and columns up to whole tiles; what copies the left operand, if rows are."""
    per_tile = {"m": tile.rows, "n": tile.width}
    if all(matmul.extent(role) % size == 0 for role, size in per_tile.items()):
        return None
    schedule.pad_einsum(block, [per_tile.get(role, 1) for role in matmul.roles])
    return _producer(schedule, block, 1 - matmul.right)


def _producer(schedule: Schedule, block: SBlockRV, operand: int) -> SBlockRV | None:
    """The block that makes an operand, None for an argument of the kernel."""
    source = schedule.get(block).reads[operand].source
    return next(
        (
            producer
            for producer in schedule.get_producers(block)
            if schedule.get(producer).writes[0].source.same_as(source)
        ),
        None,
    )


def _read_panels(
    schedule: Schedule, block: SBlockRV, matmul: Matmul, tile: Tile
) -> SBlockRV | None:
    """Lets the product read its right operand as panels; the block that makes them, if any."""
    if tile.operand == "plain":
        return None
    panels = _producer(schedule, block, matmul.right)
    if panels is None:
        panels = schedule.cache_read(block, matmul.right, "global")
    columns, width = matmul.columns_at, tile.width

    def panel(*index: Any) -> list[Any]:
        *batch, step = [*index[:columns], *index[columns + 1 :]]
        return [*batch, index[columns] // width, step, index[columns] % width]

    schedule.transform_layout(block, ("read", matmul.right), panel)
    if tile.operand == "constant panels":
        schedule.annotate(panels, _PREPACKED, True)
        return None
    return panels
