"""Operators that put elements elsewhere: views, slices, concatenation, padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch.nn import functional
from tvm import relax
from tvm.relax import op

from tunekit.frontends.problems import Unsupported
from tunekit.torch_frontend.graph import Graph, dtype_of, shape_of
from tunekit.torch_frontend.table import converts


@converts(
    "view.default", "reshape.default", "_unsafe_view.default", "unflatten.int",
    "flatten.using_ints", "_reshape_alias.default", "view_copy.default", moves=True,
)  # fmt: skip
def _view(graph: Graph, self: Any, **_: Any) -> Any:
    return graph.reshape(self, graph.result_shape)


@converts("squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", moves=True)
def _squeeze(graph: Graph, self: Any, dim: Any = None) -> Any:
    before, after = shape_of(self), graph.result_shape
    if len(after) > len(before):
        return op.expand_dims(self, [dim])
    dims = [dim] if isinstance(dim, int) else dim
    dropped = [
        axis
        for axis in range(len(before))
        if before[axis] == 1 and (dims is None or axis in [item % len(before) for item in dims])
    ]
    return op.squeeze(self, dropped) if dropped else self


@converts("permute.default", "transpose.int", "t.default", moves=True)
def _permute(
    graph: Graph,
    self: Any,
    dims: Sequence[int] | None = None,
    dim0: int = 0,
    dim1: int = 1,
) -> Any:
    rank = len(shape_of(self))
    axes = list(range(rank))
    if dims is not None:
        axes = [axis % rank for axis in dims]
    elif rank > 1:
        axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return graph.permute(self, axes)


@converts("expand.default", "broadcast_to.default", moves=True)
def _expand(graph: Graph, self: Any, **_: Any) -> Any:
    return graph.broadcast(self, graph.result_shape)


@converts("full.default", "full_like.default", "new_full.default", "scalar_tensor.default")
def _full(graph: Graph, **arguments: Any) -> Any:
    value = arguments["fill_value"] if "fill_value" in arguments else arguments["s"]
    return graph.broadcast(graph.cast(value, graph.result_dtype), graph.result_shape)


@converts("fill.Scalar", "fill.Tensor")
def _fill(graph: Graph, self: Any, value: Any) -> Any:
    return graph.broadcast(graph.cast(value, graph.result_dtype), graph.result_shape)


@converts("copy.default")
def _copy(graph: Graph, self: Any, src: Any, **_: Any) -> Any:
    return graph.broadcast(graph.cast(src, dtype_of(self)), shape_of(self))


@converts("select.int", moves=True)
def _select(graph: Graph, self: Any, dim: int, index: int) -> Any:
    axis = dim % len(shape_of(self))
    start = index % shape_of(self)[axis]
    return op.squeeze(graph.slice(self, axis, start, start + 1), [axis])


def bounds(size: int, start: int | None, end: int | None, step: int) -> tuple[int, int]:
    """Where a slice begins and ends within an axis."""
    begin, stop, _ = slice(start, end, step).indices(size)
    return begin, max(begin, stop)


@converts("slice.Tensor", moves=True)
def _slice(
    graph: Graph,
    self: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Any:
    axis = dim % len(shape_of(self))
    begin, stop = bounds(shape_of(self)[axis], start, end, step)
    return graph.slice(self, axis, begin, stop, step)


@converts("narrow.default", moves=True)
def _narrow(graph: Graph, self: Any, dim: int, start: int, length: int) -> Any:
    axis = dim % len(shape_of(self))
    begin = start % shape_of(self)[axis]
    return graph.slice(self, axis, begin, begin + length)


@converts("slice_scatter.default", "select_scatter.default", moves=True)
def _slice_scatter(
    graph: Graph,
    self: Any,
    src: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
    index: int | None = None,
) -> Any:
    """A slice replaced: what comes before it, the new, what comes behind; or by a choice."""
    shape = shape_of(self)
    axis = dim % len(shape)
    size = shape[axis]
    if index is not None:
        start = index % size
        end = start + 1
        src = graph.reshape(src, (*shape[:axis], 1, *shape[axis + 1 :]))
    begin, stop = bounds(size, start, end, step)
    src = graph.cast(src, dtype_of(self))
    places = torch.arange(size)
    is_new = (places >= begin) & (places < stop) & ((places - begin) % step == 0)
    if step == 1:
        parts = [(self, 0, begin), (src, 0, stop - begin), (self, stop, size)]
        pieces = [graph.slice(part, axis, low, high) for part, low, high in parts if high > low]
        return op.concat(pieces, axis) if len(pieces) > 1 else pieces[0]
    sources = torch.where(is_new, (places - begin) // step, 0).clamp(0, shape_of(src)[axis] - 1)
    aligned = graph.const(is_new.view(-1, *[1] * (len(shape) - axis - 1)), "bool")
    return op.where(aligned, graph.take(src, sources, axis), self)


@converts("cat.default", "concat.default", moves=True)
def _cat(graph: Graph, tensors: Sequence[Any], dim: int = 0) -> Any:
    # torch lets an empty vector stand among others.
    full = [tensor for tensor in tensors if prod(shape_of(tensor))]
    dtype = str(graph.result.dtype).removeprefix("torch.")
    parts = [graph.cast(tensor, dtype) for tensor in full]
    return op.concat(parts, dim % len(graph.result_shape)) if len(parts) > 1 else parts[0]


@converts("stack.default", moves=True)
def _stack(graph: Graph, tensors: Sequence[Any], dim: int = 0) -> Any:
    dtype = str(graph.result.dtype).removeprefix("torch.")
    axis = dim % len(graph.result_shape)
    parts = [graph.emit(op.expand_dims(graph.cast(item, dtype), [axis])) for item in tensors]
    return op.concat(parts, axis) if len(parts) > 1 else parts[0]


@converts("split_with_sizes.default", moves=True)
def _split(graph: Graph, self: Any, split_sizes: Sequence[int], dim: int = 0) -> Any:
    axis = dim % len(shape_of(self))
    ends = list(accumulate(split_sizes))
    return [
        graph.slice(self, axis, end - size, end) if size else torch.empty(0)
        for size, end in zip(split_sizes, ends, strict=True)
    ]


@converts("unbind.int", moves=True)
def _unbind(graph: Graph, self: Any, dim: int = 0) -> Any:
    axis = dim % len(shape_of(self))
    return [
        graph.emit(op.squeeze(graph.slice(self, axis, place, place + 1), [axis]))
        for place in range(shape_of(self)[axis])
    ]


@converts("repeat.default", moves=True)
def _repeat(graph: Graph, self: Any, repeats: Sequence[int]) -> Any:
    rank, shape = len(repeats), shape_of(self)
    data = graph.reshape(self, (*[1] * (rank - len(shape)), *shape))
    return op.tile(data, list(repeats)) if any(count != 1 for count in repeats) else data


@converts("flip.default", moves=True)
def _flip(graph: Graph, self: Any, dims: Sequence[int]) -> Any:
    shape = shape_of(self)
    for dim in dims:
        self = graph.take(self, torch.arange(shape[dim]).flip(0), dim % len(shape))
    return self


@converts("roll.default", moves=True)
def _roll(graph: Graph, self: Any, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    shape = shape_of(self)
    if not dims:
        flat = graph.reshape(self, (prod(shape),))
        return graph.reshape(_rolled(graph, flat, shifts[0], 0), shape)
    for shift, dim in zip(shifts, dims, strict=True):
        self = _rolled(graph, self, shift, dim % len(shape))
    return self


def _rolled(graph: Graph, data: Any, shift: int, axis: int) -> Any:
    size = shape_of(data)[axis]
    split = -shift % size
    if not split:
        return data
    parts = [graph.slice(data, axis, split, size), graph.slice(data, axis, 0, split)]
    return graph.emit(op.concat(parts, axis))


def _numbered(node: Any, shape: Sequence[int]) -> torch.Tensor:
    """The numbers of a tensor's elements, which lie in memory as the tensor's own do."""
    fake = node.meta["val"]
    numbers = torch.arange(prod(shape)).reshape(shape)
    strides, offset = fake.stride(), int(fake.storage_offset())
    reach = (
        offset + 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    )
    view = torch.full((max(reach, 1),), -1).as_strided(shape, strides, offset)
    view.copy_(numbers)
    return view


@converts(
    "diagonal.default", "as_strided.default", "unfold.default", "rot90.default",
    "diagonal_copy.default", "unfold_copy.default", "as_strided_copy.default", moves=True,
)  # fmt: skip
def _rearranged(graph: Graph, self: Any, **arguments: Any) -> Any:
    """Whatever puts elements elsewhere: done to their numbers, which are then read."""
    shape = shape_of(self)
    places = graph.node.target(_numbered(graph.node.args[0], shape), **arguments)
    if (places < 0).any():
        raise Unsupported("it reads memory between the elements of a view")
    flat = graph.reshape(self, (prod(shape),))
    return graph.reshape(graph.take(flat, places.reshape(-1), 0), graph.result_shape)


@converts("constant_pad_nd.default", moves=True)
def _constant_pad(graph: Graph, self: Any, pad: Sequence[int], value: Any = 0) -> Any:
    rank, dtype = len(shape_of(self)), dtype_of(self)
    widths = [[0, 0] for _ in range(rank)]
    for place, amount in enumerate(pad):
        axis = rank - 1 - place // 2
        widths[axis][place % 2] = max(amount, 0)
        if amount < 0:
            size = shape_of(self)[axis]
            begin, end = (-amount, size) if place % 2 == 0 else (0, size + amount)
            self = graph.slice(self, axis, begin, end)
    if not any(map(any, widths)):
        return self
    if dtype == "bool":
        padded = relax.op.nn.pad(
            graph.cast(self, "int8"), [amount for pair in widths for amount in pair], "constant",
            float(bool(value)),
        )  # fmt: skip
        return graph.cast(graph.emit(padded), "bool")
    return op.nn.pad(self, [amount for pair in widths for amount in pair], "constant", float(value))


@converts(
    "reflection_pad1d.default", "reflection_pad2d.default", "reflection_pad3d.default",
    "replication_pad1d.default", "replication_pad2d.default", "replication_pad3d.default",
    moves=True,
)  # fmt: skip
def _mirrored(graph: Graph, self: Any, padding: Sequence[int]) -> Any:
    """Each axis is padded by reading again; which elements, torch says of their numbers."""
    mode = "reflect" if "reflection" in str(graph.node.target) else "replicate"
    rank = len(shape_of(self))
    for place in range(len(padding) // 2):
        axis = rank - 1 - place
        widths = padding[2 * place : 2 * place + 2]
        if any(widths):
            numbers = torch.arange(shape_of(self)[axis], dtype=torch.float64).view(1, 1, -1)
            places = functional.pad(numbers, list(widths), mode=mode)
            self = graph.take(self, places.view(-1).long(), axis)
    return self
