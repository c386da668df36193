"""Poolings: windows that slide over the spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.linear import windows
from tunekit.onnx_frontend.operators.padding import padded
from tunekit.onnx_frontend.operators.reductions import reduced
from tunekit.onnx_frontend.operators.shapes import reshaped
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Array, Value, is_float

_MAX = {1: relax.op.nn.max_pool1d, 2: relax.op.nn.max_pool2d, 3: relax.op.nn.max_pool3d}
_AVERAGE = {1: relax.op.nn.avg_pool1d, 2: relax.op.nn.avg_pool2d, 3: relax.op.nn.avg_pool3d}
_ADAPTIVE = {
    1: relax.op.nn.adaptive_avg_pool1d,
    2: relax.op.nn.adaptive_avg_pool2d,
    3: relax.op.nn.adaptive_avg_pool3d,
}


class _Windows:
    """The windows of a pooling: one for each output, some partly on padding.

    Attributes:
        kernel, strides, dilations, before, after: for each spatial axis.
        counts: of windows along each axis.
    """

    def __init__(self, node: OnnxNode) -> None:
        self.sizes = node.shape()[2:]
        self.kernel = [int(size) for size in node.attribute("kernel_shape")]
        self.strides, self.dilations, self.before, self.after = windows(
            node, self.sizes, self.kernel
        )
        self.counts = [
            self._count(axis, bool(node.attribute("ceil_mode"))) for axis in range(self.rank)
        ]

    @property
    def rank(self) -> int:
        return len(self.kernel)

    def reach(self, axis: int) -> int:
        """Elements from the first to the last of a window."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def end(self, axis: int) -> int:
        """Elements of the padded axis that the windows need."""
        return (self.counts[axis] - 1) * self.strides[axis] + self.reach(axis)

    def is_whole(self) -> bool:
        """Whether all windows lie within the padding that was asked for."""
        return all(
            self.end(axis) <= self.before[axis] + size + self.after[axis]
            for axis, size in enumerate(self.sizes)
        )

    def _count(self, axis: int, rounds_up: bool) -> int:
        size, stride = self.sizes[axis], self.strides[axis]
        room = self.before[axis] + size + self.after[axis] - self.reach(axis)
        # The division rounds down towards zero: a window wider than the axis may be one still.
        count = (-(-room // stride) if rounds_up else int(room / stride)) + 1
        # A window that would start on the padding behind is none.
        if rounds_up and (count - 1) * stride >= self.before[axis] + size:
            count -= 1
        return count

    def shares(self, counts_padding: bool) -> Array:
        """How many elements each window has; those of the padding, where they count."""
        total = np.ones([1, 1, *[1] * self.rank])
        for axis in range(self.rank):
            starts = np.arange(self.counts[axis]) * self.strides[axis] - self.before[axis]
            places = starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]
            low, high = 0, self.sizes[axis]
            if counts_padding:
                low, high = -self.before[axis], high + self.after[axis]
            inside = ((places >= low) & (places < high)).sum(1)
            total = total * inside.reshape(
                [-1 if item == axis + 2 else 1 for item in range(self.rank + 2)]
            )
        return total


@converts("MaxPool")
def _max_pool(node: OnnxNode) -> Value:
    pool = _Windows(node)
    if len(node.outputs) > 1 and node.outputs[1]:
        return _max_with_indices(node, pool)
    simple = pool.is_whole() and is_float(node.value(0)) and _is_inside(pool)
    if simple and pool.rank in _MAX:
        return _MAX[pool.rank](
            node.tensor(), pool.kernel, pool.strides, [*pool.before, *pool.after], pool.dilations
        )
    return pooled(node, node.value(0), pool, "max")


def _is_inside(pool: _Windows) -> bool:
    """Whether each window has an element that is no padding."""
    return bool((pool.shares(counts_padding=False) > 0).all())


@converts("AveragePool")
def _average_pool(node: OnnxNode) -> Value:
    pool = _Windows(node)
    counts_padding = bool(node.attribute("count_include_pad"))
    if pool.is_whole() and pool.rank in _AVERAGE and set(pool.dilations) == {1}:
        return _AVERAGE[pool.rank](
            node.tensor(),
            pool.kernel,
            pool.strides,
            [*pool.before, *pool.after],
            count_include_pad=counts_padding,
        )
    total = pooled(node, node.value(0), pool, "sum")
    shares = pool.shares(counts_padding).astype(node.dtype())
    return node.call("Div", total, shares)


@converts("LpPool")
def _lp_pool(node: OnnxNode) -> Value:
    power = np.array(node.attribute("p", 2), node.dtype())
    value = node.call("Pow", node.call("Abs", node.value(0)), power)
    return node.call("Pow", pooled(node, value, _Windows(node), "sum"), 1 / power)


def pooled(node: OnnxNode, value: Value, pool: _Windows, kind: str) -> Value:
    """The sum or the largest of each window, whatever the windows are."""
    return node.emit_te(_pooled, value, pool=pool, kind=kind, name=f"{kind}_pool")


def _pooled(data: Any, pool: _Windows, kind: str) -> Any:
    from tvm import te, tirx

    dtype = str(data.dtype)
    nothing = tirx.const(0, dtype) if kind == "sum" else tirx.min_value(dtype)
    padded = _padded(data, pool, nothing)
    axes = [te.reduce_axis((0, size), name=f"k{axis}") for axis, size in enumerate(pool.kernel)]
    reduce = te.sum if kind == "sum" else te.max

    def window(batch: Any, channel: Any, *places: Any) -> Any:
        inner = [
            place * stride + offset * dilation
            for place, stride, offset, dilation in zip(
                places, pool.strides, axes, pool.dilations, strict=True
            )
        ]
        return reduce(padded(batch, channel, *inner), axis=axes)

    return te.compute([*data.shape[:2], *pool.counts], window, name=f"{kind}_pool")


def _padded(data: Any, pool: _Windows, number: Any) -> Any:
    from tvm import topi

    after = [
        max(pool.end(axis) - pool.before[axis] - size, 0) for axis, size in enumerate(pool.sizes)
    ]
    if not any(pool.before) and not any(after):
        return data
    return topi.nn.pad(data, [0, 0, *pool.before], [0, 0, *after], pad_value=number)


def _max_with_indices(node: OnnxNode, pool: _Windows) -> Value:
    """The largest of each window, and where it lies in the flat input."""
    shape = node.shape()
    flat = node.emit_te(_unfolded, node.value(0), pool=pool, name="pool_windows")
    largest = reduced(node, "ReduceMax", flat, [2], keep=False)
    chosen = node.emit(relax.op.argmax(flat, 2, False))
    # Where each element of each window lies within its image.
    places = _places(pool, column_major=bool(node.attribute("storage_order")))
    count, inner = places.shape
    index = node.call("Add", chosen, np.arange(count, dtype=np.int64)[None, None] * inner)
    within = node.emit(relax.op.take(node.expr(places.reshape(-1)), index, 0, mode="clip"))
    images = np.arange(math.prod(shape[:2]), dtype=np.int64).reshape(*shape[:2], 1)
    index = node.call("Add", within, images * math.prod(shape[2:]))
    sizes = [*shape[:2], *pool.counts]
    return reshaped(node, largest, sizes), reshaped(node, index, sizes)


def _unfolded(data: Any, pool: _Windows) -> Any:
    """(batch, channels, elements of a window, windows)"""
    from tvm import te, tirx

    lowest = tirx.min_value(str(data.dtype))
    padded = _padded(data, pool, lowest)
    shape = [*data.shape[:2], math.prod(pool.kernel), math.prod(pool.counts)]

    def element(batch: Any, channel: Any, inner: Any, outer: Any) -> Any:
        offsets, places = _unraveled(inner, pool.kernel), _unraveled(outer, pool.counts)
        axes = zip(places, pool.strides, offsets, pool.dilations, strict=True)
        return padded(
            batch, channel, *(p * stride + o * dilation for p, stride, o, dilation in axes)
        )

    return te.compute(shape, element, name="pool_windows")


def _unraveled(index: Any, sizes: Sequence[int]) -> list[Any]:
    from tvm import te

    parts = []
    for size in reversed(sizes):
        parts.append(te.indexmod(index, size))
        index = te.indexdiv(index, size)
    return parts[::-1]


def _places(pool: _Windows, column_major: bool) -> Array:
    """Flat index within an image of (each window, each of its elements)."""
    grids = []
    for axis in range(pool.rank):
        starts = np.arange(pool.counts[axis]) * pool.strides[axis] - pool.before[axis]
        grids.append(starts[:, None] + np.arange(pool.kernel[axis]) * pool.dilations[axis])
    sizes = list(pool.sizes)
    steps = [
        math.prod(sizes[:axis] if column_major else sizes[axis + 1 :]) for axis in range(pool.rank)
    ]
    total = np.zeros([*pool.counts, *pool.kernel], np.int64)
    for axis, (grid, step) in enumerate(zip(grids, steps, strict=True)):
        spread = [1] * (2 * pool.rank)
        spread[axis], spread[axis + pool.rank] = grid.shape
        total = total + (grid * step).reshape(spread)
    return total.reshape(math.prod(pool.counts), math.prod(pool.kernel))


@converts("GlobalAveragePool")
def _global_average_pool(node: OnnxNode) -> Value:
    rank = len(node.shape()) - 2
    if rank in _ADAPTIVE:
        return _ADAPTIVE[rank](node.tensor(), [1] * rank)
    return reduced(node, "ReduceMean", node.value(0), list(range(2, rank + 2)))


@converts("GlobalMaxPool")
def _global_max_pool(node: OnnxNode) -> Value:
    return reduced(node, "ReduceMax", node.value(0), list(range(2, len(node.shape()))))


@converts("GlobalLpPool")
def _global_lp_pool(node: OnnxNode) -> Value:
    power = np.array(node.attribute("p", 2), node.dtype())
    value = node.call("Pow", node.call("Abs", node.value(0)), power)
    total = reduced(node, "ReduceSum", value, list(range(2, len(node.shape()))))
    return node.call("Pow", total, 1 / power)


@converts("MaxUnpool")
def _max_unpool(node: OnnxNode) -> Value:
    kernel = [int(size) for size in node.attribute("kernel_shape")]
    rank = len(kernel)
    strides = node.attribute("strides") or [1] * rank
    pads = node.attribute("pads") or [0] * (2 * rank)
    shape = node.shape()
    natural = [
        *shape[:2],
        *(
            (size - 1) * stride + window - pads[axis] - pads[axis + rank]
            for axis, (size, stride, window) in enumerate(
                zip(shape[2:], strides, kernel, strict=True)
            )
        ),
    ]
    target = [int(size) for size in node.known(2, "output_shape")] if node.has(2) else natural
    if target[:2] != list(shape[:2]):
        raise Unsupported("its output_shape has another batch or number of channels")
    # The indices are of the natural output, also where another size is asked for.
    flat = node.call(
        "ScatterElements",
        np.zeros(math.prod(natural), node.dtype()),
        reshaped(node, node.value(1), [-1]),
        reshaped(node, node.value(0), [-1]),
    )
    more = [size - own for size, own in zip(target, natural, strict=True)]
    return padded(node, reshaped(node, flat, natural), [0] * len(more), more)
