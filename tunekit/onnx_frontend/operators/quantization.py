"""Quantization: numbers as integers of 8 or 16 bits, with a scale and a zero point.

Computed in single precision, which holds such integers and their sums exactly: it is as fast as the
network was before it was quantized, in all that the layouts and spaces know. Constant weights
become floating-point ones.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.ir.relax import constant_value, operator_name
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.elementwise import cast
from tunekit.onnx_frontend.operators.shapes import channels_first, channels_last, reshaped
from tunekit.onnx_frontend.registry import MICROSOFT, converts
from tunekit.onnx_frontend.values import Array, Value, shape_of

_INTEGERS = ("int8", "uint8", "int16", "uint16")
# Added and taken away again, it leaves the nearest integer of a number below 2^22, halves to the
# even neighbour; unlike a rounding operator it is arithmetic that every layout knows.
# The second number is another tensor, because TVM takes a sum apart that is undone by the same.
_ROUNDS = np.array(1.5 * 2**23, "float32"), np.array(-1.5 * 2**23, "float32")
# Sums below it are exact in single precision.
_EXACT = 1 << 24


# What the operators are made of.


def quantized(node: OnnxNode, quotient: Value, zero: Value, dtype: str) -> Value:
    """Integers nearest to numbers in steps: `clip(round(quotient) + zero)`.

    Args:
        node: that asks for it.
        quotient: float32, numbers divided by their scale.
        zero: an integer that stands for nought, broadcast; None for 0.
        dtype: of the result.
    """
    if dtype not in _INTEGERS:
        raise Unsupported(f"it computes numbers of type {dtype} at run time", _WIDE_TYPES)
    limits = np.iinfo(dtype)
    low, high = np.array(limits.min, "float32"), np.array(limits.max, "float32")
    if zero is None or isinstance(zero, np.ndarray):
        shift = np.zeros((), "float32") if zero is None else zero.astype("float32")
        rounded = _rounded(node, _clipped(node, quotient, low - shift, high - shift))
        result = node.call("Add", rounded, shift) if shift.any() else rounded
    else:
        span = high - low
        rounded = _rounded(node, _clipped(node, quotient, -span, span))
        total = node.call("Add", rounded, numbers(node, zero))
        result = _clipped(node, total, low, high)
    return node.emit(relax.op.astype(node.expr(result), dtype))


_WIDE_TYPES = "quantize activations to 8 or 16 bits; weights may be of any type"


def _rounded(node: OnnxNode, value: Value) -> Value:
    large, back = _ROUNDS
    return node.call("Add", node.call("Add", value, large), back)


def _clipped(node: OnnxNode, value: Value, low: Array, high: Array) -> Value:
    if low.size == 1 and high.size == 1:
        return node.call("Clip", value, low.reshape(()), high.reshape(()))
    return node.call("Min", node.call("Max", value, low), high)


def numbers(node: OnnxNode, value: Value) -> Value:
    """Integers in single precision; those that were just made of it are not converted back."""
    if isinstance(value, np.ndarray):
        return value.astype("float32")
    source: Any = _binding(node, value)
    if operator_name(source) == "astype":
        [made_of] = source.args
        if _is_rounded(node, made_of):
            return made_of
    return cast(node, value, "float32")


def centred(node: OnnxNode, value: Value, zero: Value) -> Value:
    """Integers less their zero point, in single precision."""
    plain = numbers(node, value)
    if zero is None or (isinstance(zero, np.ndarray) and not zero.astype("float32").any()):
        return plain
    if isinstance(plain, np.ndarray) and isinstance(zero, np.ndarray):
        return plain - zero.astype("float32")
    source = _binding(node, plain)
    if isinstance(zero, np.ndarray) and operator_name(source) == "add":
        added = constant_value(source.args[1])
        if added is not None and np.array_equal(added, zero.astype("float32")):
            return source.args[0]
    return node.call("Sub", plain, numbers(node, zero))


def _binding(node: OnnxNode, value: Value) -> Any:
    """What a variable stands for; None for all else."""
    return node.binding(value) if isinstance(value, relax.Var) else None


def _is_rounded(node: OnnxNode, value: Any) -> bool:
    """Whether a float32 value was made by `quantized`, and so is an integer within its range."""
    source = _binding(node, value)
    while operator_name(source) in ("add", "minimum", "maximum", "clip"):
        added = constant_value(source.args[1])
        if added is not None and np.array_equal(added, _ROUNDS[1]):
            return True
        source = _binding(node, source.args[0])
    return False


def zero_point(node: OnnxNode, index: int) -> Value:
    return scalar(node.value(index)) if node.has(index) else None


def scalar(value: Value) -> Value:
    """A tensor of one number as one of no axes; others as they are."""
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.reshape(())
    return value


# QuantizeLinear and DequantizeLinear.


def _aligned(node: OnnxNode, value: Value) -> Value:
    """A scale or a zero point that broadcasts to the first input."""
    if value is None:
        return None
    own, shape = shape_of(value), node.shape()
    if math.prod(own) == 1:
        return reshaped(node, value, [])
    axis = int(node.attribute("axis", 1)) % len(shape)
    if len(own) == 1:
        return reshaped(node, value, [-1 if item == axis else 1 for item in range(len(shape))])
    block = int(node.attribute("block_size", 0)) or -(-shape[axis] // own[axis])
    places = np.arange(shape[axis], dtype=np.int64) // block
    return node.call("Gather", value, places, axis=axis)


@converts("QuantizeLinear")
@converts("QuantizeLinear", domain=MICROSOFT)
def _quantize_linear(node: OnnxNode) -> Value:
    scale, zero = _aligned(node, node.value(1)), None
    dtype = node.dtype_attribute("output_dtype", "uint8")
    if node.has(2):
        zero, dtype = _aligned(node, node.value(2)), node.dtype(2)
    quotient = node.call("Div", _single(node, node.value(0)), _single(node, scale))
    return quantized(node, quotient, zero, dtype)


@converts("DequantizeLinear")
@converts("DequantizeLinear", domain=MICROSOFT)
def _dequantize_linear(node: OnnxNode) -> Value:
    scale = _aligned(node, node.value(1))
    zero = _aligned(node, node.value(2)) if node.has(2) else None
    dtype = node.dtype_attribute("output_dtype", node.dtype(1))
    result = node.call("Mul", centred(node, node.value(0), zero), _single(node, scale))
    return cast(node, result, dtype)


def _single(node: OnnxNode, value: Value) -> Value:
    return cast(node, value, "float32")


def dynamically_quantized(node: OnnxNode, value: Value) -> tuple[Value, Value, Value]:
    """A tensor as uint8 in the range that it has now, its scale and its zero point (uint8).

    The range is widened to hold nought, which is then exact.
    """
    nought, whole = np.zeros((), "float32"), np.array(255, "float32")
    low = node.call("Min", node.call("ReduceMin", value, keepdims=0), nought)
    high = node.call("Max", node.call("ReduceMax", value, keepdims=0), nought)
    step = node.call("Div", node.call("Sub", high, low), whole)
    empty = node.call("Equal", step, nought)
    scale = node.call("Where", empty, np.ones((), "float32"), step)
    zero = quantized(node, node.call("Div", node.call("Neg", low), scale), None, "uint8")
    return quantized(node, node.call("Div", value, scale), zero, "uint8"), scale, zero


@converts("DynamicQuantizeLinear")
def _dynamic_quantize_linear(node: OnnxNode) -> Value:
    return dynamically_quantized(node, node.value(0))


# Products of integers.


def columns(node: OnnxNode, value: Value) -> Value:
    """A scale or a zero point of the second operand: one number, or one for each column."""
    if value is None or len(shape_of(value)) != 1:
        return value
    return scalar(value)


def rows(node: OnnxNode, value: Value) -> Value:
    """A scale or a zero point of the first operand: one number, or one for each row."""
    value = scalar(value)
    if value is None or len(shape_of(value)) != 1:
        return value
    return reshaped(node, value, [-1, 1])


@converts("MatMulInteger")
def _matmul_integer(node: OnnxNode) -> Value:
    left = centred(node, node.value(0), rows(node, node.value(2)))
    right = centred(node, node.value(1), columns(node, node.value(3)))
    return _exact_product(node, left, right)


def _exact_product(node: OnnxNode, left: Value, right: Value) -> Value:
    """The product of integers of 8 bits (held in float32), as int32.

    Where a sum may have more digits than float32, it is added up in parts.
    """
    depth = shape_of(left)[-1]
    parts = next(
        count for count in range(1, depth + 1) if _largest_sum(right, depth, count) < _EXACT
    )
    bounds = [part[0] for part in np.array_split(np.arange(depth), parts)] + [depth]
    total: Value = None
    for first, last in itertools.pairwise(bounds):
        pieces = (left, right)
        if parts > 1:
            taken = np.arange(first, last, dtype=np.int64)
            # Of a vector both axes are the same.
            axis = max(len(shape_of(right)) - 2, 0)
            pieces = (
                node.call("Gather", left, taken, axis=-1),
                node.call("Gather", right, taken, axis=axis),
            )
        product = node.emit(relax.op.astype(node.expr(node.call("MatMul", *pieces)), "int32"))
        total = product if total is None else node.call("Add", total, product)
    return total


def _largest_sum(right: Value, depth: int, parts: int) -> float:
    """How large a sum of products with numbers of 8 bits may be in one of so many parts."""
    if not isinstance(right, np.ndarray):
        return 255.0 * 255.0 * -(-depth // parts)
    sizes = np.abs(right.astype(np.float64))
    pieces = np.array_split(sizes, parts, axis=max(right.ndim - 2, 0))
    return 255.0 * max(float(piece.sum(max(right.ndim - 2, 0)).max()) for piece in pieces)


@converts("QLinearMatMul")
@converts("QLinearMatMul", domain=MICROSOFT)
def _qlinear_matmul(node: OnnxNode) -> Value:
    left = centred(node, node.value(0), rows(node, node.value(2)))
    right = centred(node, node.value(3), columns(node, node.value(5)))
    scale = node.call(
        "Div",
        node.call("Mul", rows(node, node.value(1)), columns(node, node.value(4))),
        rows(node, node.value(6)),
    )
    # Scales may be of half precision.
    product = node.call("Mul", node.call("MatMul", left, right), _single(node, scale))
    return quantized(node, product, rows(node, node.value(7)), node.dtype(7))


@converts("ConvInteger")
def _conv_integer(node: OnnxNode) -> Value:
    data = centred(node, node.value(0), scalar(node.value(2)))
    weights = centred(node, node.value(1), _channels(node, node.value(3), 0, 1))
    sums = node.shape(1)[1:]
    largest = 255.0 * 255.0 * math.prod(sums)
    if isinstance(weights, np.ndarray):
        largest = 255.0 * float(np.abs(weights).sum(tuple(range(1, weights.ndim))).max())
    if largest >= _EXACT:
        # Slow, and exact.
        data, weights = (cast(node, value, "float64") for value in (data, weights))
    result = node.call("Conv", data, weights, **node.attributes)
    return node.emit(relax.op.astype(node.expr(result), "int32"))


def _channels(node: OnnxNode, value: Value, axis: int, weights: int) -> Value:
    """A number for each output channel, aligned with `axis` of the weights' rank."""
    value = scalar(value)
    if value is None or not shape_of(value):
        return value
    rank = len(node.shape(weights))
    return reshaped(node, value, [-1 if item == axis else 1 for item in range(rank)])


@converts("QLinearConv")
@converts("QLinearConv", domain=MICROSOFT)
def _qlinear_conv(node: OnnxNode) -> Value:
    attributes = dict(node.attributes)
    last = bool(attributes.pop("channels_last", 0))
    data = centred(node, node.value(0), zero_point(node, 2))
    data = channels_first(node, data) if last else data
    weights = centred(node, node.value(3), _channels(node, node.value(5), 0, 3))
    bias = numbers(node, node.value(8)) if node.has(8) else None
    product = node.call("Conv", data, weights, bias, **attributes)
    scale = node.call(
        "Div",
        node.call("Mul", scalar(node.value(1)), _channels(node, node.value(4), 1, 3)),
        scalar(node.value(6)),
    )
    scaled = node.call("Mul", product, scale)
    scaled = channels_last(node, scaled) if last else scaled
    return quantized(node, scaled, zero_point(node, 7), node.dtype(7))
