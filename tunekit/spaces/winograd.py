"""Schedules for Winograd convolutions: transform, multiply, transform back, strip by strip.

The output is cut into strips of whole rows of tiles. In a strip the input is transformed into a
buffer that stays in the second cache, then (m+2)^2 small matrix products run over it, each with a
tile of its output in registers, and what they give is transformed back and goes through the rest
of the fused kernel (bias, residual, activation) on its way out. So nothing of the domain in which
there are (m+2)^2/m^2 times as many values ever reaches memory.

Where one strip is all there is to share out (small images), the products are parallel among the
threads instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tunekit.ir.tir import Kernel
from tunekit.spaces.register_tiles import (
    L2_BYTES,
    LAST_CACHE_BYTES,
    LAST_CACHE_BYTES_A_CYCLE,
    MEMORY_BYTES_A_CYCLE,
    PARTITION,
    Anchor,
    cost,
    tiles,
)
from tunekit.spaces.sampling import decode, divisors, encode, sample, variants_of
from tunekit.spaces.steps import fold_epilogue, parallelize, unroll_and_vectorize

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ExprRV, LoopRV, SBlockRV

    from tunekit.machine.target import ResolvedTarget

# Register tiles offered to the sampler for each height of strip.
_TILES = 12
# Bytes of transformed input and output of a strip that may be worth trying.
_LARGEST_STRIP_BYTES = 4 << 20
# (m+2)^2 -> m
_TILE_OF_POINTS = {16: 2, 36: 4}


@dataclass(frozen=True)
class WinogradAnchor:
    """The products of a Winograd convolution in a fused kernel.

    Attributes:
        block: name of their block.
        points: (m+2)^2, products of matrices.
        out_blocks: blocks of output channels.
        tiles: tiles of all images.
        out_lanes: channels of an output block.
        in_blocks: blocks of input channels.
        in_lanes: channels of an input block.
        output: extents of (batch, channel blocks, height, width, channels of a block).
        rows: rows of tiles of one image.
    """

    block: str
    points: int
    out_blocks: int
    tiles: int
    out_lanes: int
    in_blocks: int
    in_lanes: int
    output: tuple[int, int, int, int, int]
    rows: int

    @property
    def m(self) -> int:
        """Rows and columns of a tile's output."""
        return _TILE_OF_POINTS[self.points]

    @property
    def columns(self) -> int:
        """Tiles beside each other."""
        return self.tiles // (self.output[0] * self.rows)


def find_winograd(module: IRModule) -> WinogradAnchor | None:
    """The Winograd convolution that a workload computes, None if it computes something else.

    It is told by its products: four spatial axes and two reduced ones, over a five-dimensional
    weight and a four-dimensional input, the number of products being that of a known tile.
    """
    kernel = Kernel.of(module)
    reducing = kernel.reducing
    if len(reducing) != 1:
        return None
    [products] = reducing
    if products.roles != ("spatial",) * 4 + ("reduced",) * 2 or products.dimensions_read != [4, 5]:
        return None
    points, out_blocks, tiles, out_lanes, in_blocks, in_lanes = products.extents
    if points not in _TILE_OF_POINTS:
        return None
    halves = kernel.consumers(products)
    outputs = kernel.consumers(halves[0]) if len(halves) == 1 else ()
    if len(outputs) != 1 or len(outputs[0].axes) != 5:
        return None
    batch, blocks, height, width, lanes = outputs[0].extents
    rows = -(-height // _TILE_OF_POINTS[points])
    if tiles % (batch * rows):
        return None
    output = (batch, blocks, height, width, lanes)
    return WinogradAnchor(
        products.name, points, out_blocks, tiles, out_lanes, in_blocks, in_lanes, output, rows
    )


@dataclass(frozen=True, order=True)
class Strip:
    """A way to cut.

    Attributes:
        cycles: of a thread, expected.
        rows: of tiles in a strip.
        blocks: of output channels in a register tile.
        tiles: tiles of the convolution in a register tile.
    """

    cycles: float
    rows: int
    blocks: int
    tiles: int


def winograd_designs(
    schedule: Schedule, anchor: WinogradAnchor, target: ResolvedTarget
) -> list[Schedule]:
    """The structural variants, best expected first: whether strips or products are parallel among
    the threads."""
    options = [
        (strips(anchor, target, by_strips=by_strips), by_strips) for by_strips in (True, False)
    ]
    offers = sorted(
        (option for option in options if option[0]), key=lambda option: option[0][0].cycles
    )
    return variants_of(
        schedule,
        (
            partial(
                _apply,
                anchor=anchor,
                codes=[encode((strip.rows, strip.blocks, strip.tiles)) for strip in offered],
                by_strips=by_strips,
            )
            for offered, by_strips in offers
        ),
    )


def strips(anchor: WinogradAnchor, target: ResolvedTarget, *, by_strips: bool) -> list[Strip]:
    """The strips worth trying, and the register tiles of their products, best expected first."""
    options = []
    for rows in divisors(anchor.rows, anchor.rows):
        if not by_strips and rows != anchor.rows:
            continue
        in_strip = rows * anchor.columns
        if not by_strips:
            in_strip *= anchor.output[0]
        channels = anchor.out_blocks * anchor.out_lanes + anchor.in_blocks * anchor.in_lanes
        if by_strips and 4 * anchor.points * channels * in_strip > _LARGEST_STRIP_BYTES:
            continue
        if by_strips and anchor.rows * anchor.output[0] // rows < target.cores:
            continue
        product = Anchor(
            anchor.block,
            (1, anchor.out_blocks, 1, in_strip, anchor.out_lanes),
            (anchor.in_blocks, 1, 1, anchor.in_lanes),
            depthwise=False,
            pointwise=True,
        )
        product_tiles = tiles(product, target, _TILES, channels_inside=False, divide_channels=True)
        for tile in product_tiles:
            each = cost(product, target, tile)
            cycles = _cycles(anchor, target, in_strip, each, by_strips=by_strips)
            options.append(Strip(cycles, rows, tile[0], tile[2]))
    return sorted(options)


def _cycles(
    anchor: WinogradAnchor, target: ResolvedTarget, in_strip: int, each: float, *, by_strips: bool
) -> float:
    """Cycles of a thread, expected of strips of so many tiles, `each` being those of one vector
    multiply-add. What a second cache cannot hold comes from farther away: weights for each strip
    anew, the transformed input and output of larger strips."""
    in_channels = anchor.in_blocks * anchor.in_lanes
    out_channels = anchor.out_blocks * anchor.out_lanes
    products = anchor.points * anchor.out_blocks * in_channels * each
    weights = 4 * anchor.points * in_channels * out_channels
    strip = 4 * anchor.points * (in_channels + out_channels) * in_strip
    if not by_strips:
        moved = (weights + 2 * strip) / target.cores
        rate = LAST_CACHE_BYTES_A_CYCLE if strip <= LAST_CACHE_BYTES else MEMORY_BYTES_A_CYCLE
        return products * anchor.tiles / target.cores + moved / rate
    turns = math.ceil(anchor.tiles / in_strip / target.cores)
    moved = (weights if weights > L2_BYTES / 2 else 0) + (2 * strip if strip > L2_BYTES else 0)
    return turns * (products * in_strip + moved / LAST_CACHE_BYTES_A_CYCLE)


@dataclass(frozen=True)
class _Blocks:
    """The blocks of a Winograd convolution, from its input to its output.

    Attributes:
        padding: of the input, where it has any.
        halves: rows of the transformed input.
        transformed: the transformed input.
        products: the matrix products.
        back: rows of the output, transformed back.
        output: the output, with what is fused to it.
    """

    padding: list[SBlockRV]
    halves: SBlockRV
    transformed: SBlockRV
    products: SBlockRV
    back: SBlockRV
    output: SBlockRV


def _apply(
    schedule: Schedule, anchor: WinogradAnchor, codes: list[int], *, by_strips: bool
) -> None:
    blocks = _open(schedule, anchor)
    strip_rows, block_tile, tile_tile = decode(sample(schedule, codes, ordered=True))
    unrolled = sample(schedule, [f for f in (1, 2, 4, 8, 16) if anchor.in_lanes % f == 0])
    strip = _schedule_output(schedule, anchor, blocks, strip_rows, by_strips=by_strips)
    _schedule_products(schedule, blocks.products, (block_tile, tile_tile, unrolled), strip)
    _schedule_input(schedule, blocks, strip)
    for block in blocks.padding:
        parallelize(schedule, block)


def _open(schedule: Schedule, anchor: WinogradAnchor) -> _Blocks:
    """Finds the blocks, and folds what follows the output into it."""
    products = schedule.get_sblock(anchor.block)
    transformed = next(
        producer
        for producer in schedule.get_producers(products)
        if len(schedule.get(producer).iter_vars) == 4
    )
    halves = schedule.get_producers(transformed)[0]
    padding = schedule.get_producers(halves)
    back = schedule.get_consumers(products)[0]
    output = schedule.get_consumers(back)[0]
    follows = fold_epilogue(schedule, output, anchor.output)
    if follows.tile is not None:
        schedule.compute_inline(output)
        output = follows.tile
    if follows.tail is not None:
        parallelize(schedule, follows.tail)
    return _Blocks(list(padding), halves, transformed, products, back, output)


def _schedule_output(
    schedule: Schedule,
    anchor: WinogradAnchor,
    blocks: _Blocks,
    strip_rows: ExprRV,
    *,
    by_strips: bool,
) -> LoopRV | None:
    """Writes the output a tile at a time; gives the parallel loop over strips, if there is one."""
    n, o, h, w, lane = schedule.get_loops(blocks.output)
    row, inner_h = schedule.split(h, [None, anchor.m])
    column, inner_w = schedule.split(w, [None, anchor.m])
    strip, strip_row = schedule.split(row, [None, strip_rows])
    fused = None
    if by_strips:
        schedule.reorder(n, strip, o, strip_row, column, inner_h, inner_w, lane)
        fused = schedule.fuse(n, strip)
    else:
        schedule.reorder(o, n, strip, strip_row, column, inner_h, inner_w, lane)
    schedule.parallel(o if fused is None else fused)
    schedule.compute_at(blocks.back, column, preserve_unit_loops=True)
    schedule.set_scope(blocks.back, 0, "local")
    for loop in (inner_h, inner_w):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    *_, i, y, ob = schedule.get_loops(blocks.back)
    schedule.unroll(i)
    schedule.unroll(y)
    schedule.vectorize(ob)
    return fused


def _schedule_products(
    schedule: Schedule,
    products: SBlockRV,
    sizes: tuple[ExprRV, ExprRV, ExprRV],
    strip: LoopRV | None,
) -> None:
    """Gives the products a tile of registers: (channel blocks, tiles, unrolled input channels)."""
    block_tile, tile_tile, unrolled = sizes
    if strip is not None:
        schedule.compute_at(products, strip, preserve_unit_loops=True)
    kept = schedule.cache_write(products, 0, "local")
    e, o, p, ob, c, b = schedule.get_loops(products)[-6:]
    o_outer, o_tile = schedule.split(o, [None, block_tile])
    p_outer, p_tile = schedule.split(p, [None, tile_tile])
    b_outer, b_inner = schedule.split(b, [None, unrolled])
    schedule.reorder(e, o_outer, p_outer, c, b_outer, b_inner, o_tile, p_tile, ob)
    if strip is None:
        schedule.parallel(schedule.fuse(e, o_outer))
    schedule.annotate(p_outer, PARTITION, 1)
    for loop in (b_inner, o_tile, p_tile):
        schedule.unroll(loop)
    schedule.vectorize(ob)
    schedule.reverse_compute_at(kept, p_outer, preserve_unit_loops=True)
    unroll_and_vectorize(schedule, kept, 3)
    unroll_and_vectorize(schedule, schedule.decompose_reduction(products, c), 2)


def _schedule_input(schedule: Schedule, blocks: _Blocks, strip: LoopRV | None) -> None:
    """Transforms the input of a strip, or all of it first, a tile at a time."""
    if strip is not None:
        schedule.compute_at(blocks.transformed, strip, preserve_unit_loops=True)
    e, c, p, b = schedule.get_loops(blocks.transformed)[-4:]
    schedule.reorder(c, p, e, b)
    if strip is None:
        p = schedule.fuse(c, p)
        schedule.parallel(p)
    schedule.unroll(e)
    schedule.vectorize(b)
    schedule.compute_at(blocks.halves, p, preserve_unit_loops=True)
    schedule.set_scope(blocks.halves, 0, "local")
    x, j, b = schedule.get_loops(blocks.halves)[-3:]
    schedule.reorder(j, x, b)
    schedule.unroll(j)
    schedule.unroll(x)
    schedule.vectorize(b)
