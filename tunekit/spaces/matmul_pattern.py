"""Matrix products among kernels: which they are, and what their operands are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.ir.tir import Kernel

if TYPE_CHECKING:
    from tvm.ir import IRModule


@dataclass(frozen=True)
class Matmul:
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


def find_matmul(module: IRModule) -> Matmul | None:
    """The matrix product that a workload computes, None if it computes something else.

    It is told by its block, the only one that reduces: it adds up, over one axis, products of two
    values that are read at plain axes.
    """
    kernel = Kernel.of(module)
    reducing = kernel.reducing
    if len(reducing) != 1 or kernel.producers(reducing[0]):
        return None
    [block] = reducing
    if not _multiplies(block.node):
        return None
    spatial, reduced_axes = block.divide(range(len(block.axes)))
    if not spatial or len(reduced_axes) != 1 or len(spatial) + 1 != len(block.axes):
        return None
    [reduced] = reduced_axes
    axes = [axis.var for axis in block.axes]
    reads = [_plain_axes(read.region, axes) for read in block.node.reads]
    written = _plain_axes(block.node.writes[0].region, axes)
    if len(reads) != 2 or None in reads or written != spatial:
        return None
    first, second = ([index for index in read or () if index is not None] for read in reads)
    column = spatial[-1]
    right = 1 if column in second else 0
    left_axes, right_axes = (first, second) if right else (second, first)
    if column in left_axes or reduced not in left_axes or reduced not in right_axes:
        return None
    # Axes of extent one may be read as 0 by either.
    extents = block.extents
    roles = "".join(
        _role(index, column, reduced, left_axes, right_axes, extents) for index in range(len(axes))
    )
    rows = [index for index, role in enumerate(roles) if role == "m"]
    # One axis of rows makes tiles; those before it run outside, as batches do.
    kept = max((index for index in rows if extents[index] > 1), default=rows[-1] if rows else None)
    if kept is None:
        return None
    roles = "".join(
        "b" if role == "m" and index != kept else role for index, role in enumerate(roles)
    )
    operand = reads[right] or []
    return Matmul(
        block.name,
        roles,
        extents,
        right,
        constant=_layout_free(module, block.node.reads[right].source),
        columns_at=operand.index(column),
        dimensions=len(operand),
    )


def _role(
    index: int,
    column: int,
    reduced: int,
    left: list[int],
    right: list[int],
    extents: tuple[int, ...],
) -> str:
    if index == reduced:
        return "k"
    if index == column:
        return "n"
    return (
        "m"
        if index in left and index not in right and (extents[index] > 1 or index == column - 1)
        else "b"
    )


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
    """Which axis each dimension is read at, None for the first position; None for anything else."""
    from tvm.tirx import IntImm

    read_axes: list[int | None] = []
    for position in region:
        matching = [index for index, axis in enumerate(axes) if axis.same_as(position.min)]
        if matching:
            read_axes.append(matching[0])
        elif isinstance(position.min, IntImm) and int(position.min) == 0:
            read_axes.append(None)
        else:
            return None
    return read_axes


def _layout_free(module: IRModule, source: Any) -> bool:
    function = module["main"]
    free = [] if function.attrs is None else function.attrs.get("layout_free_buffers") or []
    return any(function.params[int(index)].same_as(source) for index in free)
