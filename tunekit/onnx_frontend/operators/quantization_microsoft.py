"""ONNX Runtime's own operators on quantized tensors."""

from __future__ import annotations

import math

import numpy as np

from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.quantization import (
    centred,
    columns,
    dynamically_quantized,
    numbers,
    quantized,
    rows,
    scalar,
    zero_point,
)
from tunekit.onnx_frontend.operators.shapes import channels_first, channels_last, reshaped
from tunekit.onnx_frontend.registry import MICROSOFT, converts
from tunekit.onnx_frontend.values import Array, Value


@converts("QGemm", domain=MICROSOFT)
def _qgemm(node: OnnxNode) -> Value:
    left = centred(node, node.value(0), zero_point(node, 2))
    right = node.value(3)
    zero = node.value(5)
    if node.attribute("transB"):
        right = node.call("Transpose", right)
    right = centred(node, right, columns(node, zero))
    if node.attribute("transA"):
        left = node.call("Transpose", left)
    product = node.call("MatMul", left, right)
    if node.has(6):
        product = node.call("Add", product, numbers(node, node.value(6)))
    alpha = np.array(node.attribute("alpha", 1.0), "float32")
    scale = node.call("Mul", scalar(node.value(1)), columns(node, node.value(4)))
    result = node.call("Mul", product, node.call("Mul", scale, alpha))
    if not node.has(7):
        return result
    return _requantized(node, result, 7, node.dtype(8) if node.has(8) else node.dtype(0))


@converts("DynamicQuantizeMatMul", domain=MICROSOFT)
def _dynamic_quantize_matmul(node: OnnxNode) -> Value:
    left, scale, zero = dynamically_quantized(node, node.value(0))
    right = centred(node, node.value(1), columns(node, node.value(3)))
    product = node.call("MatMul", centred(node, left, zero), right)
    scales = node.call("Mul", scale, columns(node, node.value(2)))
    return _with_bias(node, node.call("Mul", product, scales), 4)


@converts("MatMulIntegerToFloat", domain=MICROSOFT)
def _matmul_integer_to_float(node: OnnxNode) -> Value:
    left = centred(node, node.value(0), rows(node, node.value(4)))
    right = centred(node, node.value(1), columns(node, node.value(5)))
    scales = node.call("Mul", scalar(node.value(2)), columns(node, node.value(3)))
    return _with_bias(node, node.call("Mul", node.call("MatMul", left, right), scales), 6)


def _with_bias(node: OnnxNode, value: Value, index: int) -> Value:
    return node.call("Add", value, node.value(index)) if node.has(index) else value


@converts("MatMulNBits", domain=MICROSOFT)
def _matmul_n_bits(node: OnnxNode) -> Value:
    """A product with weights in blocks of few bits, which become floating-point weights."""
    bits, block = int(node.attribute("bits", 4)), int(node.attribute("block_size"))
    outputs, depth = int(node.attribute("N")), int(node.attribute("K"))
    blocks = -(-depth // block)
    codes = _unpacked(node.known(1, "weights").reshape(outputs, -1), bits)[:, : blocks * block]
    scales = node.known(2, "scales").astype("float32").reshape(outputs, blocks)
    zeros: Array = np.full((outputs, blocks), 1 << (bits - 1), "float32")
    if node.has(3):
        given = node.known(3, "zero points")
        packed = given.dtype == np.uint8
        zeros = (
            _unpacked(given.reshape(outputs, -1), bits) if packed else given.reshape(outputs, -1)
        )
        zeros = zeros[:, :blocks].astype("float32")
    group = np.arange(blocks * block) // block
    if node.has(4):
        group[:depth] = node.known(4, "g_idx")[:depth]
    weights = ((codes - zeros[:, group]) * scales[:, group])[:, :depth]
    product = node.call("MatMul", node.value(0), weights.T.astype(node.dtype()))
    return _with_bias(node, product, 5)


def _unpacked(packed: Array, bits: int) -> Array:
    """The numbers of `bits` bits in the bytes of each row, the lowest first; float32."""
    wide = packed.astype(np.uint8)[..., None] >> np.arange(0, 8, bits, dtype=np.uint8)
    codes: Array = (wide & np.uint8((1 << bits) - 1)).reshape(len(packed), -1).astype("float32")
    return codes


def _real(node: OnnxNode, index: int) -> Value:
    """Input `index` with the scale and the zero point that follow it, dequantized by tensor."""
    scale = scalar(node.value(index + 1))
    return node.call("Mul", centred(node, node.value(index), zero_point(node, index + 2)), scale)


def _requantized(node: OnnxNode, value: Value, index: int, dtype: str) -> Value:
    """A float32 result quantized by the scale at `index` and the zero point after it."""
    quotient = node.call("Div", value, scalar(node.value(index)))
    return quantized(node, quotient, zero_point(node, index + 1), dtype)


# Other operators between quantized tensors.


@converts("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def _qlinear_binary(node: OnnxNode) -> Value:
    left, right = (
        centred(node, node.value(index), zero_point(node, index + 2)) for index in (0, 3)
    )
    scales = [scalar(node.value(index)) for index in (1, 4, 6)]
    if node.operator == "QLinearMul":
        scale = node.call("Div", node.call("Mul", scales[0], scales[1]), scales[2])
        result = node.call("Mul", node.call("Mul", left, right), scale)
    else:
        terms = (
            node.call("Mul", value, node.call("Div", scale, scales[2]))
            for value, scale in ((left, scales[0]), (right, scales[1]))
        )
        result = node.call("Add", *terms)
    return quantized(node, result, zero_point(node, 7), node.dtype(0))


@converts("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", domain=MICROSOFT)
def _qlinear_unary(node: OnnxNode) -> Value:
    attributes = {
        name: value for name, value in node.attributes.items() if name in ("alpha", "axis")
    }
    if node.operator == "QLinearSoftmax" and int(node.attribute("opset", 13)) < 13:
        return _old_softmax(node)
    result = node.call(node.operator.removeprefix("QLinear"), _real(node, 0), **attributes)
    return _requantized(node, result, 3, node.dtype(0))


def _old_softmax(node: OnnxNode) -> Value:
    """Over all axes from `axis` on, as before opset 13."""
    shape = node.shape()
    axis = int(node.attribute("axis", 1)) % len(shape)
    flat = reshaped(node, _real(node, 0), [math.prod(shape[:axis]), math.prod(shape[axis:])])
    result = reshaped(node, node.call("Softmax", flat, axis=1), list(shape))
    return _requantized(node, result, 3, node.dtype(0))


@converts("QLinearAveragePool", "QLinearGlobalAveragePool", domain=MICROSOFT)
def _qlinear_pool(node: OnnxNode) -> Value:
    attributes = dict(node.attributes)
    last = bool(attributes.pop("channels_last", 0))
    data = _real(node, 0)
    data = channels_first(node, data) if last else data
    result = node.call(node.operator.removeprefix("QLinear"), data, **attributes)
    result = channels_last(node, result) if last else result
    return _requantized(node, result, 3, node.dtype(0))


@converts("NhwcMaxPool", domain=MICROSOFT)
def _nhwc_max_pool(node: OnnxNode) -> Value:
    data = channels_first(node, node.value(0))
    return channels_last(node, node.call("MaxPool", data, **node.attributes))


@converts("QLinearConcat", domain=MICROSOFT)
def _qlinear_concat(node: OnnxNode) -> Value:
    parts = [_real(node, index) for index in range(2, len(node.inputs), 3)]
    result = node.call("Concat", *parts, axis=node.attribute("axis"))
    return _requantized(node, result, 0, node.dtype(1))


@converts("QLinearWhere", domain=MICROSOFT)
def _qlinear_where(node: OnnxNode) -> Value:
    result = node.call("Where", node.value(0), _real(node, 1), _real(node, 4))
    return _requantized(node, result, 7, node.dtype(8))
