"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from tvm.relax import op

from tunekit.frontends.problems import Unsupported
from tunekit.torch_frontend.converters.elementwise import is_float
from tunekit.torch_frontend.graph import Graph, dtype_of, shape_of
from tunekit.torch_frontend.table import converts

_LAYOUTS = ("NCW", "NCHW", "NCDHW")
_MAX = (op.nn.max_pool1d, op.nn.max_pool2d, op.nn.max_pool3d)
_AVERAGE = (op.nn.avg_pool1d, op.nn.avg_pool2d, op.nn.avg_pool3d)
_ADAPTIVE = (op.nn.adaptive_avg_pool1d, op.nn.adaptive_avg_pool2d, op.nn.adaptive_avg_pool3d)


def _each(value: Any, rank: int) -> list[int]:
    numbers = [value] if isinstance(value, int) else [int(number) for number in value]
    return numbers * rank if len(numbers) == 1 else numbers


def _batched(graph: Graph, data: Any, rank: int) -> Any:
    """With an axis for the batch, which torch lets be left out."""
    shape = shape_of(data)
    return data if len(shape) == rank + 2 else graph.reshape(data, (1, *shape))


def _windows(
    kernel_size: Any, stride: Any, padding: Any, rank: int
) -> tuple[list[int], list[int], list[int]]:
    kernel = _each(kernel_size, rank)
    return kernel, _each(stride, rank) if stride else kernel, _each(padding, rank)


def _needed_padding(
    sizes: Sequence[int],
    counts: Sequence[int],
    kernel: list[int],
    strides: list[int],
    pads: list[int],
    dilations: list[int],
) -> list[int]:
    """What must be added behind each axis so that its last window is whole."""
    return [
        max((count - 1) * stride + (width - 1) * dilation + 1 - size - pad, 0)
        for size, count, width, stride, pad, dilation in zip(
            sizes, counts, kernel, strides, pads, dilations, strict=True
        )
    ]


@converts("max_pool1d.default", "max_pool2d.default", "max_pool3d.default")
def _max_pool(
    graph: Graph,
    self: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    rank = int(str(graph.node.target).partition("pool")[2][0])
    kernel, strides, pads = _windows(kernel_size, stride, padding, rank)
    dilations = _each(dilation, rank)
    data = _batched(graph, self, rank)
    if dtype_of(data) == "bool" or dtype_of(data).startswith(("int", "uint")):
        raise Unsupported("a pooling of integers")
    behind = _needed_padding(
        shape_of(data)[2:], graph.result_shape[-rank:], kernel, strides, pads, dilations
    )
    pooled = _MAX[rank - 1](
        data,
        pool_size=kernel,
        strides=strides,
        padding=[*pads, *(max(a, b) for a, b in zip(behind, pads, strict=True))]
        if ceil_mode
        else [*pads, *pads],
        dilation=dilations,
        ceil_mode=False,
        layout=_LAYOUTS[rank - 1],
    )
    return _cut(graph, graph.emit(pooled))


def _cut(graph: Graph, pooled: Any) -> Any:
    """The windows that the node has, without those that only padding made."""
    wanted = graph.result_shape
    shape = shape_of(pooled)
    offset = len(shape) - len(wanted)
    for axis in range(2, len(shape)):
        pooled = graph.slice(pooled, axis, 0, wanted[axis - offset])
    return graph.reshape(pooled, wanted)


@converts("max_pool2d_with_indices.default", "max_pool3d_with_indices.default")
def _max_pool_with_indices(
    graph: Graph,
    self: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """The values, and where in its plane each stood; the latter only where it is used."""
    values_fake, _ = graph.result
    rank = 3 if "3d" in str(graph.node.target) else 2
    kernel, strides, pads = _windows(kernel_size, stride, padding, rank)
    dilations = _each(dilation, rank)
    data = _batched(graph, self, rank)
    sizes, counts = shape_of(data)[2:], tuple(values_fake.shape)[-rank:]
    table = _window_table(sizes, counts, kernel, strides, pads, dilations)
    leading = shape_of(data)[:2]
    flat = graph.reshape(data, (*leading, prod(sizes)))
    read = graph.take(flat, np.maximum(table, 0), 2)
    if (table < 0).any():
        dtype = dtype_of(data)
        lowest = graph.const(-np.inf if is_float(dtype) else np.iinfo(dtype).min, dtype)
        read = graph.emit(op.where(graph.const(table >= 0, "bool"), read, lowest))
    values = graph.emit(op.max(read, axis=[3]))
    chosen = graph.emit(op.argmax(read, axis=3, keepdims=True))
    # -1 where no element is beyond the least number that there is: the first that is no padding.
    first = graph.const((table >= 0).argmax(1)[:, None], "int64")
    chosen = graph.emit(op.where(op.less(chosen, graph.const(0, "int64")), first, chosen))
    columns = graph.emit(
        op.equal(graph.const(np.arange(table.shape[1]), "int64"), graph.cast(chosen, "int64"))
    )
    numbers = op.where(columns, graph.const(table, "int64"), graph.const(0, "int64"))
    indices = graph.emit(op.sum(numbers, axis=[3]))
    shape = tuple(values_fake.shape)
    return [graph.reshape(values, shape), graph.reshape(indices, shape)]


def _window_table(
    sizes: Sequence[int],
    counts: Sequence[int],
    kernel: list[int],
    strides: list[int],
    pads: list[int],
    dilations: list[int],
) -> Any:
    """(windows, elements of one): numbers of elements in a plane, -1 for those of the padding."""
    total = np.zeros((1, 1), dtype=np.int64)
    is_inside = np.ones((1, 1), dtype=bool)
    for size, count, width, stride, pad, dilation in zip(
        sizes, counts, kernel, strides, pads, dilations, strict=True
    ):
        places = np.arange(count)[:, None] * stride - pad + np.arange(width) * dilation
        inside = (places >= 0) & (places < size)
        total = _crossed(total * size, places, np.add)
        is_inside = _crossed(is_inside, inside, np.logical_and)
    return np.where(is_inside, total, -1)


def _crossed(left: Any, right: Any, combine: Any) -> Any:
    """Each (window, element) of one axis with each of another."""
    mixed = combine(left[:, None, :, None], right[None, :, None, :])
    return mixed.reshape(left.shape[0] * right.shape[0], left.shape[1] * right.shape[1])


@converts("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default")
def _average_pool(
    graph: Graph,
    self: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    rank = int(str(graph.node.target).partition("pool")[2][0])
    kernel, strides, pads = _windows(kernel_size, stride, padding, rank)
    data = _batched(graph, self, rank)
    sizes, counts = shape_of(data)[2:], graph.result_shape[-rank:]
    behind = _needed_padding(sizes, counts, kernel, strides, pads, [1] * rank)
    is_plain = divisor_override is None and all(
        more <= pad for more, pad in zip(behind, pads, strict=True)
    )
    pooled = graph.emit(
        _AVERAGE[rank - 1](
            data,
            pool_size=kernel,
            strides=strides,
            padding=[*pads, *(max(a, b) for a, b in zip(behind, pads, strict=True))],
            ceil_mode=False,
            count_include_pad=True if not is_plain else count_include_pad,
            layout=_LAYOUTS[rank - 1],
        )
    )
    result = _cut(graph, pooled)
    if is_plain:
        return result
    # The sum of each window, by the number that torch divides it by.
    divisors = np.ones((1,) * rank)
    for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        first = np.arange(count) * strides[axis] - pads[axis]
        last = np.minimum(first + kernel[axis], size + pads[axis])
        if not count_include_pad:
            first, last = np.maximum(first, 0), np.minimum(last, size)
        divisors = divisors * (last - first).reshape([-1 if i == axis else 1 for i in range(rank)])
    factor = prod(kernel) / (divisor_override or divisors)
    return op.multiply(result, graph.const(factor, dtype_of(result)))


@converts(
    "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default",
    "_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default",
)  # fmt: skip
def _adaptive_average_pool(graph: Graph, self: Any, output_size: Any) -> Any:
    rank = int(str(graph.node.target).partition("pool")[2][0])
    pool = _ADAPTIVE[rank - 1]
    data = _batched(graph, self, rank)
    size = list(graph.result_shape[-rank:])
    pooled = pool(data, output_size=size, layout=_LAYOUTS[rank - 1])
    return graph.reshape(graph.emit(pooled), graph.result_shape)
