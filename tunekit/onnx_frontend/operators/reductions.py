"""Operators that make one number of many: sums, extremes, scans, searches for the largest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.extremes import place_of_extreme
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.shapes import reshaped
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, dtype_of, is_float, shape_of

_REDUCTIONS = {
    "ReduceMax": relax.op.max,
    "ReduceMean": relax.op.mean,
    "ReduceMin": relax.op.min,
    "ReduceProd": relax.op.prod,
    "ReduceSum": relax.op.sum,
}


def reduction_axes(node: OnnxNode) -> list[int] | None:
    """The axes that a node reduces over; None where it leaves its input as it is."""
    rank = len(node.shape())
    axes = node.axes(1, rank) if rank else []
    if axes:
        return axes
    return None if node.attribute("noop_with_empty_axes") else list(range(rank))


@converts(*_REDUCTIONS)
def _reduce(node: OnnxNode) -> Value:
    axes = reduction_axes(node)
    if axes is None:
        return node.value(0)
    return reduced(node, node.operator, node.value(0), axes, bool(node.attribute("keepdims", 1)))


def reduced(
    node: OnnxNode, operator: str, value: Value, axes: list[int], keep: bool = True
) -> Value:
    """A tensor reduced over axes counted from the front."""
    shape = shape_of(value)
    if not axes:
        return value
    dtype = dtype_of(value)
    if dtype == "bool":
        # The largest of booleans is whether any is true.
        numbers = node.call("Cast", value, to=_code("int8"))
        return node.call("Cast", reduced(node, operator, numbers, axes, keep), to=_code("bool"))
    if operator == "ReduceMean" and "int" in dtype:
        total = reduced(node, "ReduceSum", value, axes, keep)
        return node.call("Div", total, np.array(math.prod(shape[axis] for axis in axes), dtype))
    return node.emit(_REDUCTIONS[operator](node.expr(value), axes, keep))


def _code(dtype: str) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@converts("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
def _reduce_function(node: OnnxNode) -> Value:
    """A sum with a function before it, and after it."""
    axes = reduction_axes(node)
    value, keep = node.value(0), bool(node.attribute("keepdims", 1))
    summed = [] if axes is None else axes
    if node.operator == "ReduceLogSumExp":
        return _log_sum_exp(node, value, summed, keep)
    if node.operator == "ReduceL1":
        value = node.call("Abs", value)
    elif node.operator in ("ReduceL2", "ReduceSumSquare"):
        value = node.call("Mul", value, value)
    total = reduced(node, "ReduceSum", value, summed, keep)
    if node.operator == "ReduceL2":
        return _through_float(node, "Sqrt", total)
    return _through_float(node, "Log", total) if node.operator == "ReduceLogSum" else total


def _log_sum_exp(node: OnnxNode, value: Value, axes: list[int], keep: bool) -> Value:
    """With the largest taken out, so that nothing overflows."""
    dtype = dtype_of(value)
    if not is_float(value):
        value = node.call("Cast", value, to=_code("float64"))
    largest = reduced(node, "ReduceMax", value, axes)
    if not isinstance(largest, np.ndarray):
        # Infinity less infinity is no number.
        nothing = node.scalar(0, dtype_of(largest))
        largest = node.emit(relax.op.where(relax.op.isinf(largest), nothing, largest))
    exponential = node.call("Exp", node.call("Sub", value, largest))
    total = node.call("Log", reduced(node, "ReduceSum", exponential, axes))
    result = node.call("Add", total, largest)
    if not keep and axes:
        kept = [size for axis, size in enumerate(shape_of(value)) if axis not in axes]
        result = reshaped(node, result, kept)
    return result if dtype_of(result) == dtype else node.call("Cast", result, to=_code(dtype))


def _through_float(node: OnnxNode, operator: str, value: Value) -> Value:
    if is_float(value):
        return node.call(operator, value)
    wide = node.call(operator, node.call("Cast", value, to=_code("float64")))
    return node.call("Cast", wide, to=_code(dtype_of(value)))


@converts("ArgMax", "ArgMin")
def _arg_extreme(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = int(node.attribute("axis", 0)) % len(shape)
    function = relax.op.argmax if node.operator == "ArgMax" else relax.op.argmin
    data, keep = node.tensor(), bool(node.attribute("keepdims", 1))
    if not node.attribute("select_last_index"):
        return place_of_extreme(function, data, axis, keep)
    # The last one is the first of the flipped axis.
    flipped = node.emit(relax.op.flip(data, axis))
    first = node.emit(place_of_extreme(function, flipped, axis, keep))
    return relax.op.subtract(node.scalar(shape[axis] - 1, "int64"), first)


@converts("CumSum", "CumProd")
def _scan(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = int(node.known(1, "axis").reshape(())) % len(shape)
    function = relax.op.cumsum if node.operator == "CumSum" else relax.op.cumprod
    data = node.tensor()
    backwards = bool(node.attribute("reverse"))
    if backwards:
        data = node.emit(relax.op.flip(data, axis))
    exclusive = bool(node.attribute("exclusive"))
    result = node.emit(function(data, axis, dtype_of(data), exclusive))
    return relax.op.flip(result, axis) if backwards else result


_UNSORTED = {"int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32"}
"""Types that TVM does not sort, and wider ones that it does."""


@converts("TopK")
def _top_k(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = int(node.attribute("axis", -1)) % len(shape)
    [count] = node.sizes(1, "k") or [0]
    if count == 0:
        sizes = [0 if item == axis else size for item, size in enumerate(shape)]
        return np.zeros(sizes, node.dtype()), np.zeros(sizes, np.int64)
    data, dtype = node.tensor(), node.dtype()
    if dtype in _UNSORTED:
        data = node.emit(relax.op.astype(data, _UNSORTED[dtype]))
    largest = bool(node.attribute("largest", 1))
    pair = node.emit(relax.op.topk(data, count, axis, "both", largest, "int64"))
    values, places = _fields(node, pair, 2)
    return node.emit(relax.op.astype(values, dtype)) if dtype in _UNSORTED else values, places


def _fields(node: OnnxNode, values: Any, count: int) -> tuple[Value, ...]:
    return tuple(node.emit(relax.TupleGetItem(values, index)) for index in range(count))
