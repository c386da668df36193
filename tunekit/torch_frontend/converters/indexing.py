"""Reading and writing at indices.

Indices that depend on no input are resolved here: a write becomes a read of what was written last,
or a sum of reads, which runs in parallel. Others become TVM's scatter operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from tvm.relax import op

from tunekit.frontends.problems import Unsupported
from tunekit.frontends.scatter import scatter_elements
from tunekit.torch_frontend.graph import Graph, dtype_of, known, shape_of
from tunekit.torch_frontend.table import converts

_MOST_READS = 64
"""So many elements are added up at most where a write that accumulates becomes reads."""


def from_start(graph: Graph, indices: Any, size: int) -> Any:
    """Indices with the axis's size added where they are negative."""
    array, dtype = known(indices), dtype_of(indices)
    if array is not None:
        return graph.const(np.where(array < 0, array + size, array), dtype)
    if dtype.startswith("uint"):
        return indices
    negative = op.less(indices, graph.const(0, dtype))
    return graph.emit(op.where(negative, op.add(indices, graph.const(size, dtype)), indices))


def within(graph: Graph, indices: Any, size: int) -> Any:
    """Indices from the start; those beyond the axis, which torch refuses as it runs, are its first
    or last place."""
    indices = from_start(graph, indices, size)
    if known(indices) is not None:
        return indices
    first, last = (graph.const(place, dtype_of(indices)) for place in (0, max(size - 1, 0)))
    return graph.emit(op.minimum(op.maximum(indices, first), last))


@converts("embedding.default", moves=True)
def _embedding(graph: Graph, weight: Any, indices: Any, **_: Any) -> Any:
    return graph.take(weight, indices, 0)


@converts("index_select.default", moves=True)
def _index_select(graph: Graph, self: Any, dim: int, index: Any) -> Any:
    shape = shape_of(self)
    if not shape:
        return self
    index = graph.reshape(index, (prod(shape_of(index)),))
    return graph.take(self, from_start(graph, index, shape[dim]), dim % len(shape))


@converts("take.default", moves=True)
def _take(graph: Graph, self: Any, index: Any) -> Any:
    size = prod(shape_of(self))
    return graph.take(graph.reshape(self, (size,)), from_start(graph, index, size), 0)


@converts("gather.default", moves=True)
def _gather(graph: Graph, self: Any, dim: int, index: Any, **_: Any) -> Any:
    shape, wanted = shape_of(self), shape_of(index)
    if not shape or not wanted:
        return self if shape == wanted else graph.reshape(self, wanted)
    axis = dim % len(shape)
    for other in range(len(shape)):
        if other != axis:
            self = graph.slice(self, other, 0, wanted[other])
    return op.gather_elements(self, within(graph, index, shape[axis]), axis=axis)


# Reading and writing with one index for each of several axes.


class _Places:
    """Where `x[i, :, j]` reads or writes: rows of `x` with the indexed axes in front, flat.

    Attributes:
        order: the axes of `x`, the indexed ones first.
        shape: of `x` in that order.
        count: of indexed axes.
        index_shape: of the indices, broadcast together.
        rows: the row of each index, flat, an expression.
        out_axis: where the axes of the indices stand in what is read.
    """

    def __init__(self, graph: Graph, shape: tuple[int, ...], indices: Sequence[Any]) -> None:
        axes = [axis for axis, index in enumerate(indices) if index is not None]
        rest = [axis for axis in range(len(shape)) if axis not in axes]
        self.order = [*axes, *rest]
        self.shape = tuple(shape[axis] for axis in self.order)
        self.count = len(axes)
        given = [indices[axis] for axis in axes]
        self.index_shape = np.broadcast_shapes(*[shape_of(item) for item in given])
        is_adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
        self.out_axis = axes[0] if is_adjacent else 0
        self.rows = self._flat_rows(graph, given)

    @property
    def row_count(self) -> int:
        return prod(self.shape[: self.count])

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[self.count :]

    def _flat_rows(self, graph: Graph, indices: Sequence[Any]) -> Any:
        total: Any = None
        for index, size in zip(indices, self.shape, strict=False):
            place = within(graph, graph.cast(index, "int64"), size)
            if total is None:
                total = place
                continue
            total = _plus(graph, _scaled(graph, total, size), place)
        total = graph.broadcast(total, self.index_shape)
        return graph.reshape(total, (prod(self.index_shape),))

    def in_rows(self, graph: Graph, data: Any) -> Any:
        """`x` with one axis in place of the indexed ones, in front, and the others flat."""
        turned = graph.permute(data, self.order)
        return graph.reshape(turned, (self.row_count, prod(self.row_shape)))

    def from_rows(self, graph: Graph, rows: Any) -> Any:
        """The reverse of `in_rows`."""
        turned = graph.reshape(rows, self.shape)
        return graph.permute(turned, np.argsort(self.order).tolist())

    def out_order(self) -> list[int]:
        """How axes (indices, others) are put to make (others, indices, others)."""
        first, size = self.out_axis, len(self.index_shape)
        rank = size + len(self.row_shape)
        return [*range(size, size + first), *range(size), *range(size + first, rank)]


def _scaled(graph: Graph, value: Any, factor: int) -> Any:
    array = known(value)
    if array is not None:
        return graph.const(array * factor, "int64")
    return graph.emit(op.multiply(value, graph.const(factor, "int64")))


def _plus(graph: Graph, left: Any, right: Any) -> Any:
    arrays = known(left), known(right)
    if arrays[0] is not None and arrays[1] is not None:
        return graph.const(arrays[0] + arrays[1], "int64")
    return graph.emit(op.add(left, right))


def _without_masks(graph: Graph, indices: Sequence[Any]) -> list[Any]:
    """Indices with masks that depend on no input as the indices where they are true.

    Raises:
        Unsupported: a mask depends on an input.
    """
    plain: list[Any] = []
    for index in indices:
        if index is None or dtype_of(index) not in ("bool", "uint8"):
            plain.append(index)
            continue
        mask = known(index)
        if mask is None:
            raise Unsupported("a mask that depends on an input, among other indices")
        plain.extend(graph.const(places, "int64") for places in np.nonzero(mask))
    return plain


@converts("index.Tensor", "_unsafe_index.Tensor", moves=True)
def _index(graph: Graph, self: Any, indices: Sequence[Any]) -> Any:
    indices = _without_masks(graph, indices)
    used = [axis for axis, index in enumerate(indices) if index is not None]
    if not used:
        return self
    if len(used) == 1:
        [axis] = used
        places = from_start(graph, indices[axis], shape_of(self)[axis])
        return graph.take(self, places, axis)
    places = _Places(graph, shape_of(self), indices)
    rows = graph.take(places.in_rows(graph, self), places.rows, 0)
    read = graph.reshape(rows, (*places.index_shape, *places.row_shape))
    return graph.permute(read, places.out_order())


@converts("index_put.default", "_unsafe_index_put.default", "_index_put_impl.default")
def _index_put(
    graph: Graph,
    self: Any,
    indices: Sequence[Any],
    values: Any,
    accumulate: bool = False,
    **_: Any,
) -> Any:
    given = [index for index in indices if index is not None]
    if not given:
        base = op.add(self, values) if accumulate else values
        return graph.broadcast(graph.emit(base), shape_of(self))
    if dtype_of(given[0]) in ("bool", "uint8") and known(given[0]) is None:
        return _masked_put(graph, self, indices, values, accumulate)
    places = _Places(graph, shape_of(self), _without_masks(graph, indices))
    rows = places.in_rows(graph, self)
    new = _value_rows(graph, places, graph.cast(values, dtype_of(self)))
    written = put_rows(graph, rows, places.rows, new, "add" if accumulate else "update")
    return places.from_rows(graph, written)


def _masked_put(
    graph: Graph, data: Any, indices: Sequence[Any], values: Any, accumulate: bool
) -> Any:
    """`x[:, mask] = value`: a choice, where the value is one for all that are chosen."""
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    if len(axes) > 1:
        raise Unsupported("a mask that depends on an input, among other indices")
    mask = indices[axes[0]]
    rank, mask_rank = len(shape_of(data)), len(shape_of(mask))
    values_shape = shape_of(values)
    behind = rank - axes[0] - mask_rank
    # Axes of the values: those before the mask, one for what the mask chooses, those behind it.
    if len(values_shape) > behind and values_shape[-1 - behind] != 1:
        raise Unsupported("values of a number that depends on the mask")
    before = values_shape[: max(len(values_shape) - behind - 1, 0)]
    after = values_shape[len(values_shape) - min(behind, len(values_shape)) :]
    values = graph.reshape(values, (*before, *[1] * mask_rank, *after))
    values = graph.cast(values, dtype_of(data))
    mask = graph.cast(graph.reshape(mask, (*shape_of(mask), *[1] * behind)), "bool")
    return op.where(mask, op.add(data, values) if accumulate else values, data)


def _value_rows(graph: Graph, places: _Places, values: Any) -> Any:
    """Values, broadcast to what an index reads, as rows in the order of the indices."""
    order = places.out_order()
    plain = (*places.index_shape, *places.row_shape)
    turned = graph.broadcast(values, tuple(plain[axis] for axis in order))
    turned = graph.permute(turned, np.argsort(order).tolist())
    return graph.reshape(turned, (prod(places.index_shape), prod(places.row_shape)))


def put_rows(graph: Graph, data: Any, rows: Any, new: Any, reduction: str) -> Any:
    """`data` (n, m) with rows `new` (k, m) written at `rows` (k).

    Args:
        reduction: "update", where the last one stays, or "add", "mul", "min", "max".
    """
    places = known(rows)
    if places is not None:
        reads = _reads(places, shape_of(data)[0], reduction)
        if reads is not None:
            return _put_by_reading(graph, data, new, reads, reduction)
    indices = graph.reshape(rows, (shape_of(rows)[0], 1))
    return graph.emit(op.scatter_nd(data, indices, new, reduction))


def _reads(places: np.ndarray[Any, Any], size: int, reduction: str) -> Any:
    """For each row the numbers of the new rows that go into it, -1 where there is none more.

    Returns:
        (rows, most that go into one), or None where that is too many.
    """
    if reduction == "update":
        last = np.full((size, 1), -1)
        last[places, 0] = np.arange(len(places))
        return last
    counts = np.bincount(places, minlength=size)
    most = int(counts.max(initial=0))
    if most > _MOST_READS or most * size > 8 * max(len(places), size):
        return None
    table = np.full((size, most), -1)
    order = np.argsort(places, kind="stable")
    firsts = np.cumsum(counts) - counts
    table[places[order], np.arange(len(places)) - firsts[places[order]]] = order
    return table


def _put_by_reading(graph: Graph, data: Any, new: Any, reads: Any, reduction: str) -> Any:
    combine = {
        "add": op.add, "mul": op.multiply, "min": op.minimum, "max": op.maximum,
        "update": lambda old, fresh: fresh,
    }[reduction]  # fmt: skip
    result = data
    for column in reads.T:
        fresh = graph.take(new, np.maximum(column, 0), 0)
        is_written = graph.const((column >= 0)[:, None], "bool")
        result = graph.emit(op.where(is_written, combine(result, fresh), result))
    return result


# Scattering along one axis.


@converts("scatter.src", "scatter.value")
def _scatter(graph: Graph, self: Any, dim: int, index: Any, **source: Any) -> Any:
    [new] = source.values()
    return scattered(graph, self, dim, index, new, "update")


@converts("scatter.reduce", "scatter.value_reduce")
def _scatter_with(graph: Graph, self: Any, dim: int, index: Any, **options: Any) -> Any:
    reduction = {"add": "add", "multiply": "mul"}[options.pop("reduce")]
    [new] = options.values()
    return scattered(graph, self, dim, index, new, reduction)


@converts("scatter_add.default")
def _scatter_add(graph: Graph, self: Any, dim: int, index: Any, src: Any) -> Any:
    return scattered(graph, self, dim, index, src, "add")


@converts("scatter_reduce.two")
def _scatter_reduce(
    graph: Graph,
    self: Any,
    dim: int,
    index: Any,
    src: Any,
    reduce: str,
    include_self: bool = True,
) -> Any:
    dtype, shape = dtype_of(self), shape_of(self)
    kind = {"sum": "add", "mean": "add", "prod": "mul", "amax": "max", "amin": "min"}[reduce]
    if not include_self:
        neutral = {"add": 0, "mul": 1, "max": _lowest(dtype), "min": _highest(dtype)}[kind]
        self = scattered(graph, self, dim, index, neutral, "update")
    total = scattered(graph, self, dim, index, src, kind)
    if reduce != "mean":
        return total
    # Counted as floats: TVM adds up integers of 64 bits and floats alike.
    start = graph.broadcast(graph.const(1, "float32"), shape)
    if not include_self:
        start = scattered(graph, start, dim, index, 0, "update")
    count = graph.emit(scattered(graph, start, dim, index, 1, "add"))
    count = graph.cast(graph.emit(op.maximum(count, graph.const(1, "float32"))), dtype)
    return (op.divide if dtype.startswith("float") else op.floor_divide)(total, count)


def _lowest(dtype: str) -> float | int:
    return -np.inf if dtype.startswith("float") else int(np.iinfo(dtype).min)


def _highest(dtype: str) -> float | int:
    return np.inf if dtype.startswith("float") else int(np.iinfo(dtype).max)


def scattered(graph: Graph, data: Any, dim: int, index: Any, new: Any, reduction: str) -> Any:
    """`data` with `new` (a tensor, or a number) written where `index` says along an axis."""
    shape, index_shape, dtype = shape_of(data), shape_of(index), dtype_of(data)
    if not shape:
        flat = scattered(
            graph,
            graph.reshape(data, (1,)),
            0,
            graph.reshape(index, (1,)),
            graph.reshape(new, (1,)) if hasattr(new, "ty") else new,
            reduction,
        )
        return graph.reshape(flat, ())
    if not index_shape:
        index, index_shape = graph.reshape(index, (1,)), (1,)
    axis = dim % len(shape)
    if not hasattr(new, "ty") or not shape_of(new):
        new = graph.broadcast(graph.cast(new, dtype), index_shape)
    for other, size in enumerate(index_shape):
        new = graph.slice(new, other, 0, size)
    new = graph.cast(new, dtype)
    index = within(graph, index, shape[axis])
    places = known(index)
    if places is None:
        return graph.emit(scatter_elements(graph.emit, data, index, new, axis, reduction))
    grid = np.indices(index_shape)
    grid[axis] = places
    flat_places = np.ravel_multi_index(tuple(grid), shape).reshape(-1)
    written = put_rows(
        graph,
        graph.reshape(data, (prod(shape), 1)),
        graph.const(flat_places, "int64"),
        graph.reshape(new, (prod(index_shape), 1)),
        reduction,
    )
    return graph.reshape(written, shape)
