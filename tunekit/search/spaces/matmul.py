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

The product of one row with a matrix reads each weight once: there the tile only has to be wide
enough to keep several loads and additions on their way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tunekit.search.spaces.blocks import (
    divisors,
    finish_tile,
    fold_epilogue,
    register_count,
    sample,
    share_elements,
    thread_use,
    variants_of,
)

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import SBlockRV

    from tunekit.target import ResolvedTarget

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
_PREPACKED = "meta_schedule.layout_rewrite_preproc"


@dataclass(frozen=True)
class Product:
    """The matrix product in a fused kernel.

    Attributes:
        block: name of its block.
        roles: of each of the block's axes: "b" batch, "m" rows, "n" columns, "k" reduced.
        extents: of each axis.
        right: position of the right operand among what the block reads.
        constant: whether the right operand's layout is free: weights, packed when compiling.
        columns_at: dimension of the right operand that its columns are along.
        dimensions: of the right operand.
    """

    block: str
    roles: str
    extents: tuple[int, ...]
    right: int
    constant: bool
    columns_at: int
    dimensions: int

    @property
    def columns_last(self) -> bool:
        """Whether the columns of the right operand lie one after another."""
        return self.columns_at == self.dimensions - 1

    def extent(self, role: str) -> int:
        """The product of the extents of the axes of one role."""
        return math.prod(
            extent for extent, own in zip(self.extents, self.roles, strict=True) if own == role
        )

    @property
    def bytes(self) -> int:
        """Read and written, or those that could be while it is computed, if these are more."""
        batch, m, n, k = (self.extent(role) for role in "bmnk")
        return batch * max(4 * (m * k + k * n + m * n), m * n * k)


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


def find_product(module: IRModule) -> Product | None:
    """The matrix product that a workload computes, None if it computes something else.

    It is told by its block, the only one that reduces: it adds up, over one axis, products of two
    values that are read at plain axes.
    """
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    reducing = [
        block
        for block in schedule.get_child_blocks(schedule.get_sblock("root"))
        if any(int(axis.iter_type) != 0 for axis in schedule.get(block).iter_vars)
    ]
    if len(reducing) != 1 or schedule.get_producers(reducing[0]):
        return None
    return _product(module, schedule.get(reducing[0]))


def _product(module: IRModule, block: Any) -> Product | None:
    from tvm.tirx import IntImm

    kinds = [int(axis.iter_type) for axis in block.iter_vars]
    if sorted(set(kinds)) != [0, 2] or kinds.count(2) != 1 or not _multiplies(block):
        return None
    if not all(isinstance(axis.dom.extent, IntImm) for axis in block.iter_vars):
        return None
    axes = [axis.var for axis in block.iter_vars]
    reads = [_plain_axes(read.region, axes) for read in block.reads]
    written = _plain_axes(block.writes[0].region, axes)
    spatial = [at for at, kind in enumerate(kinds) if kind == 0]
    if len(reads) != 2 or None in reads or written != spatial:
        return None
    first, second = ([at for at in read or () if at is not None] for read in reads)
    column, reduced = spatial[-1], kinds.index(2)
    right = 1 if column in second else 0
    one, other = (first, second) if right else (second, first)
    if column in one or reduced not in one or reduced not in other:
        return None
    # Axes of extent one may be read as 0 by either.
    extents = tuple(int(axis.dom.extent) for axis in block.iter_vars)
    roles = "".join(_role(at, column, reduced, one, other, extents) for at in range(len(axes)))
    rows = [at for at, role in enumerate(roles) if role == "m"]
    # One axis of rows makes tiles; those before it run outside, as batches do.
    kept = max((at for at in rows if extents[at] > 1), default=rows[-1] if rows else None)
    if kept is None:
        return None
    roles = "".join("b" if role == "m" and at != kept else role for at, role in enumerate(roles))
    operand = reads[right] or []
    return Product(
        str(block.name_hint),
        roles,
        extents,
        right,
        constant=_layout_free(module, block.reads[right].source),
        columns_at=operand.index(column),
        dimensions=len(operand),
    )


def _role(
    at: int,
    column: int,
    reduced: int,
    left: list[int],
    right: list[int],
    extents: tuple[int, ...],
) -> str:
    if at == reduced:
        return "k"
    if at == column:
        return "n"
    return "m" if at in left and at not in right and (extents[at] > 1 or at == column - 1) else "b"


def _multiplies(block: Any) -> bool:
    """Whether a block adds products of two of its reads to its output, all in float32."""
    from tvm.ir.expr import TensorLoad
    from tvm.ir.prim.expr import Add, Mul
    from tvm.tirx import BufferStore

    store = block.body
    if not isinstance(store, BufferStore) or not isinstance(store.value, Add):
        return False
    total, product = store.value.a, store.value.b
    if not isinstance(total, TensorLoad) or not isinstance(product, Mul):
        return False
    factors = (product.a, product.b)
    return total.source.same_as(block.writes[0].source) and all(
        isinstance(value, TensorLoad) and str(value.ty.dtype) == "float32"
        for value in (total, *factors)
    )


def _plain_axes(region: Any, axes: list[Any]) -> list[int | None] | None:
    """Which axis each dimension is read at, None for the first place; None for anything else."""
    from tvm.tirx import IntImm

    found: list[int | None] = []
    for place in region:
        matching = [at for at, axis in enumerate(axes) if axis.same_as(place.min)]
        if matching:
            found.append(matching[0])
        elif isinstance(place.min, IntImm) and int(place.min) == 0:
            found.append(None)
        else:
            return None
    return found


def _layout_free(module: IRModule, source: Any) -> bool:
    function = module["main"]
    free = [] if function.attrs is None else function.attrs.get("layout_free_buffers") or []
    return any(function.params[int(at)].same_as(source) for at in free)


def product_designs(schedule: Schedule, anchor: Product, target: ResolvedTarget) -> list[Schedule]:
    """The structural variants: how wide a tile is, how the right operand is read, and whether the
    threads share columns or rows; the best expected first."""
    orders = [True]
    if anchor.extent("b") == 1 and anchor.extent("m") >= 4 * target.cores:
        orders = [True, False]
        if anchor.extent("n") < anchor.extent("m") // 4:
            orders.reverse()
    return variants_of(
        schedule,
        (
            partial(
                _apply,
                product=anchor,
                target=target,
                tile=tile,
                columns_first=columns_first,
                shared=shared,
            )
            for columns_first in orders
            for shared in thread_use(anchor.bytes)
            for tile in product_tiles(anchor, target)
        ),
    )


def product_tiles(product: Product, target: ResolvedTarget) -> list[Tile]:
    """The tiles worth trying, best expected first; none where packing would cost too much."""
    rows, columns = product.extent("m"), product.extent("n")
    lanes = widest = max(target.vector_bits // 32, 4)
    packed = product.constant
    if packed:
        # Weights cannot be padded as they are packed when compiling: narrower vectors may fit.
        while columns % lanes and lanes > 4:
            lanes //= 2
        if columns % lanes:
            if rows < _ROWS_WORTH_PACKING:
                return []
            packed, lanes = False, widest
    found = [
        Tile(count, vectors, lanes)
        for vectors in range(1, _MOST_VECTORS + 1)
        for count in range(1, rows + 1)
        # Beside the accumulators: the columns of one step, and one value of the left operand.
        if count * vectors + vectors + 1 <= register_count(target)
        and (columns % lanes or columns % (vectors * lanes) == 0)
    ]

    def cost(tile: Tile) -> tuple[float, bool, int]:
        tiles = -(-rows // tile.rows) * -(-columns // tile.width)
        return (tiles * tile.cycles, rows % tile.rows > 0, tile.vectors)

    operands: list[Operand] = ["panels"]
    if packed:
        operands = ["constant panels"]
    elif product.columns_last and columns % lanes == 0:
        operands = ["plain", "panels"]
    best = sorted(found, key=cost)[:_TILES]
    return [replace(tile, operand=operand) for operand in operands for tile in best]


def _chunks(product: Product, tile: Tile, target: ResolvedTarget) -> list[int]:
    """Tiles beside each other that a thread takes at once, best expected first."""
    tiles = -(-product.extent("n") // tile.width)
    panel_bytes = 4 * product.extent("k") * tile.width
    if product.extent("n") % tile.width and product.extent("b") >= target.cores:
        # All: so that it is known where a row ends.
        return [tiles]

    def cost(count: int) -> tuple[float, float]:
        pieces = product.extent("b") * tiles // count
        idle = -(-pieces // target.cores) * target.cores / pieces
        return (round(idle, 1), abs(math.log2(panel_bytes * count / _CHUNK_BYTES)))

    return sorted(divisors(tiles, 64), key=cost)[:6]


def _apply(
    schedule: Schedule,
    product: Product,
    target: ResolvedTarget,
    tile: Tile,
    *,
    columns_first: bool,
    shared: bool,
) -> None:
    block = schedule.get_sblock(product.block)
    output = [e for e, role in zip(product.extents, product.roles, strict=True) if role != "k"]
    padded = _pad(schedule, block, product, tile)
    panels = _read_panels(schedule, block, product, tile)
    follows = fold_epilogue(schedule, block, output)
    epilogue = follows.tile or schedule.cache_write(block, 0, "global")
    if follows.tail is not None:
        share_elements(schedule, follows.tail, 1, shared=shared)
    # The tile is small enough for the stack, from where LLVM lifts it into registers. Where columns
    # are padded it is first written out as it is: asking for each column would keep it in memory.
    ragged = product.extent("n") % tile.width > 0
    whole = schedule.cache_write(block, 0, "local") if ragged else epilogue
    if not ragged:
        schedule.set_scope(block, 0, "local")

    chunk = sample(schedule, _chunks(product, tile, target), ordered=True)
    steps = sample(schedule, [f for f in (4, 1, 2, 8) if product.extent("k") % f == 0])
    loops = schedule.get_loops(block)
    by_role = {
        role: [loop for loop, own in zip(loops, product.roles, strict=True) if own == role]
        for role in "bmnk"
    }
    [m], [n], [k] = by_role["m"], by_role["n"], by_role["k"]
    m_outer, m_tile = schedule.split(m, [None, tile.rows])
    n_outer, n_vector, lane = schedule.split(n, [None, tile.vectors, tile.lanes])
    n_chunk, n_inner = schedule.split(n_outer, [None, chunk])
    k_outer, k_inner = schedule.split(k, [None, steps])
    inner = (n_inner, k_outer, k_inner, m_tile, n_vector, lane)
    if columns_first:
        schedule.reorder(*by_role["b"], n_chunk, m_outer, *inner)
        outer = schedule.fuse(*by_role["b"], n_chunk)
    else:
        schedule.reorder(m_outer, *by_role["b"], n_chunk, *inner)
        outer = m_outer
    if shared:
        schedule.parallel(outer)
    schedule.reverse_compute_at(whole, n_inner, preserve_unit_loops=True)
    schedule.split(schedule.get_loops(whole)[-1], [None, tile.lanes])
    finish_tile(schedule, whole, len(output))
    if ragged:
        schedule.reverse_compute_at(
            epilogue, m_outer if columns_first else n_chunk, preserve_unit_loops=True
        )
    for loop in (k_inner, m_tile, n_vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    finish_tile(schedule, schedule.decompose_reduction(block, k_outer), 2)
    if padded is not None:
        lanes = math.gcd(product.extent("k"), tile.lanes)
        share_elements(schedule, padded, lanes, shared=shared)
    if panels is None:
        return
    if columns_first and product.extent("b") > 1:
        # Those of a matrix when it is their turn.
        schedule.compute_at(panels, outer, preserve_unit_loops=True)
    else:
        share_elements(schedule, panels, 1, shared=shared)


def _pad(schedule: Schedule, block: SBlockRV, product: Product, tile: Tile) -> SBlockRV | None:
    """Rounds rows and columns up to whole tiles; what copies the left operand, if rows are."""
    per_tile = {"m": tile.rows, "n": tile.width}
    if all(product.extent(role) % size == 0 for role, size in per_tile.items()):
        return None
    schedule.pad_einsum(block, [per_tile.get(role, 1) for role in product.roles])
    return _producer(schedule, block, 1 - product.right)


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
    schedule: Schedule, block: SBlockRV, product: Product, tile: Tile
) -> SBlockRV | None:
    """Lets the product read its right operand as panels; the block that makes them, if any."""
    if tile.operand == "plain":
        return None
    panels = _producer(schedule, block, product.right)
    if panels is None:
        panels = schedule.cache_read(block, product.right, "global")
    columns, width = product.columns_at, tile.width

    def panel(*index: Any) -> list[Any]:
        *batch, step = [*index[:columns], *index[columns + 1 :]]
        return [*batch, index[columns] // width, step, index[columns] % width]

    schedule.transform_layout(block, ("read", product.right), panel)
    if tile.operand == "constant panels":
        schedule.annotate(panels, _PREPACKED, True)
        return None
    return panels
