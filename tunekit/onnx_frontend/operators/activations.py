"""Activation functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.extremes import maximum
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, shape_of


@converts("Relu")
def _relu(node: OnnxNode) -> Value:
    return relax.op.nn.relu(node.tensor())


@converts("LeakyRelu")
def _leaky_relu(node: OnnxNode) -> Value:
    return relax.op.nn.leakyrelu(node.tensor(), float(node.attribute("alpha", 0.01)))


@converts("PRelu")
def _prelu(node: OnnxNode) -> Value:
    """The slope broadcasts to x from behind, or, before opset 7, is one for each channel."""
    x, slope = node.inputs
    if len(shape_of(slope)) == 1 and len(shape_of(x)) > 2 and node.version < 7:
        slope = node.call("Reshape", slope, np.array([-1] + [1] * (len(shape_of(x)) - 2)))
    data = node.expr(x)
    negative = node.emit(relax.op.multiply(data, node.expr(slope)))
    return relax.op.where(node.emit(_below_zero(node, data)), negative, data)


@converts("Elu")
def _elu(node: OnnxNode) -> Value:
    return _scaled_elu(node, alpha=node.attribute("alpha", 1.0))


@converts("Celu")
def _celu(node: OnnxNode) -> Value:
    alpha = float(node.attribute("alpha", 1.0))
    return _scaled_elu(node, alpha=alpha, inner=1 / alpha)


@converts("Selu")
def _selu(node: OnnxNode) -> Value:
    return _scaled_elu(
        node,
        alpha=node.attribute("alpha", 1.67326319217681884765625),
        outer=node.attribute("gamma", 1.05070102214813232421875),
    )


def _scaled_elu(node: OnnxNode, alpha: float, inner: float = 1.0, outer: float = 1.0) -> Value:
    """`outer * x` where x is above zero, else `outer * alpha * (exp(inner * x) - 1)`."""
    x, dtype = node.tensor(), node.dtype()
    exponent = x if inner == 1 else node.emit(relax.op.multiply(x, node.scalar(inner, dtype)))
    exponential = node.emit(relax.op.exp(exponent))
    below = node.emit(relax.op.subtract(exponential, node.scalar(1, dtype)))
    below = node.emit(relax.op.multiply(below, node.scalar(outer * alpha, dtype)))
    above = x if outer == 1 else node.emit(relax.op.multiply(x, node.scalar(outer, dtype)))
    return relax.op.where(node.emit(_below_zero(node, x)), below, above)


@converts("HardSigmoid")
def _hard_sigmoid(node: OnnxNode) -> Value:
    return _clipped_line(node, node.attribute("alpha", 0.2), node.attribute("beta", 0.5))


@converts("HardSwish")
def _hard_swish(node: OnnxNode) -> Value:
    x, dtype = node.tensor(), node.dtype()
    clipped = node.emit(relax.op.clip(node.emit(relax.op.add(x, node.scalar(3, dtype))), 0, 6))
    return relax.op.multiply(x, node.emit(relax.op.divide(clipped, node.scalar(6, dtype))))


def _clipped_line(node: OnnxNode, slope: float, offset: float) -> Any:
    x, dtype = node.tensor(), node.dtype()
    line = node.emit(relax.op.multiply(x, node.scalar(slope, dtype)))
    line = node.emit(relax.op.add(line, node.scalar(offset, dtype)))
    return relax.op.clip(line, 0, 1)


@converts("ThresholdedRelu")
def _thresholded_relu(node: OnnxNode) -> Value:
    x, dtype = node.tensor(), node.dtype()
    above = node.emit(relax.op.greater(x, node.scalar(node.attribute("alpha", 1.0), dtype)))
    return relax.op.where(above, x, node.scalar(0, dtype))


@converts("Shrink")
def _shrink(node: OnnxNode) -> Value:
    x, dtype = node.tensor(), node.dtype()
    threshold, bias = node.attribute("lambd", 0.5), node.attribute("bias", 0.0)
    zero, bias_value = node.scalar(0, dtype), node.scalar(bias, dtype)
    below = node.emit(relax.op.less(x, node.scalar(-threshold, dtype)))
    above = node.emit(relax.op.greater(x, node.scalar(threshold, dtype)))
    raised = node.emit(relax.op.add(x, bias_value))
    lowered = node.emit(relax.op.subtract(x, bias_value))
    inner = node.emit(relax.op.where(above, lowered, zero))
    return relax.op.where(below, raised, inner)


@converts("Softplus")
def _softplus(node: OnnxNode) -> Value:
    """`max(x, 0) + log(1 + exp(-|x|))`, which does not overflow."""
    x, dtype = node.tensor(), node.dtype()
    size = node.emit(relax.op.negative(node.emit(relax.op.abs(x))))
    exponential = node.emit(relax.op.exp(size))
    small = node.emit(relax.op.log(node.emit(relax.op.add(exponential, node.scalar(1, dtype)))))
    return relax.op.add(node.emit(maximum(x, node.scalar(0, dtype))), small)


@converts("Softsign")
def _softsign(node: OnnxNode) -> Value:
    x, dtype = node.tensor(), node.dtype()
    size = node.emit(relax.op.add(node.emit(relax.op.abs(x)), node.scalar(1, dtype)))
    return relax.op.divide(x, size)


@converts("Mish")
def _mish(node: OnnxNode) -> Value:
    x = node.value(0)
    return node.call("Mul", x, node.call("Tanh", node.call("Softplus", x)))


@converts("Swish")
def _swish(node: OnnxNode) -> Value:
    x, dtype = node.tensor(), node.dtype()
    alpha = float(node.attribute("alpha", 1.0))
    if alpha == 1:
        return relax.op.nn.silu(x)
    gate = node.emit(relax.op.multiply(x, node.scalar(alpha, dtype)))
    return relax.op.multiply(x, node.emit(relax.op.sigmoid(gate)))


@converts("Gelu")
def _gelu(node: OnnxNode) -> Value:
    if node.attribute("approximate", "none") == "tanh":
        return relax.op.nn.gelu_tanh(node.tensor())
    return relax.op.nn.gelu(node.tensor())


def _below_zero(node: OnnxNode, x: Any) -> Any:
    return relax.op.less(x, node.scalar(0, str(x.ty.dtype)))
