"""Normalizations, and softmax with its kin."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.reductions import reduced
from tunekit.onnx_frontend.operators.shapes import reshaped
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of


@converts("BatchNormalization")
def _batch_normalization(node: OnnxNode) -> Value:
    epsilon = float(node.attribute("epsilon", 1e-5))
    if node.attribute("training_mode") or (node.version < 7 and not node.attribute("is_test")):
        return _of_the_batch(node, epsilon)
    data, *parts = map(node.expr, node.inputs)
    result = node.emit(
        relax.op.nn.batch_norm(data, *parts, axis=1, epsilon=epsilon, training=False)
    )
    return node.emit(relax.TupleGetItem(result, 0))


def _of_the_batch(node: OnnxNode, epsilon: float) -> Value:
    """With the statistics of the batch itself, and the running ones that follow from them."""
    x, scale, bias, running_mean, running_variance = node.inputs
    shape = shape_of(x)
    axes = [axis for axis in range(len(shape)) if axis != 1]
    mean = reduced(node, "ReduceMean", x, axes)
    centred = node.call("Sub", x, mean)
    variance = reduced(node, "ReduceMean", node.call("Mul", centred, centred), axes)
    aligned = [1, -1, *[1] * (len(shape) - 2)]
    result = _normalized(
        node,
        centred,
        variance,
        epsilon,
        reshaped(node, scale, aligned),
        reshaped(node, bias, aligned),
    )
    momentum = float(node.attribute("momentum", 0.9))

    def running(old: Value, new: Value) -> Value:
        dtype = dtype_of(old)
        kept = node.call("Mul", old, np.array(momentum, dtype))
        flat = reshaped(node, new, [-1])
        return node.call("Add", kept, node.call("Mul", flat, np.array(1 - momentum, dtype)))

    means, variances = running(running_mean, mean), running(running_variance, variance)
    return (result, means, variances, *[None] * (len(node.outputs) - 3))


def _normalized(
    node: OnnxNode, centred: Value, variance: Value, epsilon: float, scale: Value, bias: Value
) -> Value:
    """`centred / sqrt(variance + epsilon) * scale + bias`; either may be left out."""
    inverse = _inverse_deviation(node, variance, epsilon)
    result = node.call("Mul", centred, inverse)
    if scale is not None:
        result = node.call("Mul", result, scale)
    return result if bias is None else node.call("Add", result, bias)


def _inverse_deviation(node: OnnxNode, variance: Value, epsilon: float) -> Value:
    wide = node.call("Add", variance, np.array(epsilon, dtype_of(variance)))
    return node.call("Reciprocal", node.call("Sqrt", wide))


@converts("LayerNormalization")
def _layer_normalization(node: OnnxNode) -> Value:
    shape, epsilon = node.shape(), float(node.attribute("epsilon", 1e-5))
    axis = int(node.attribute("axis", -1)) % len(shape)
    axes, normal = list(range(axis, len(shape))), shape[axis:]
    scale, bias = node.value(1), node.value(2)
    outputs = [*node.outputs, False, False]
    plain = all(value is None or shape_of(value) == normal for value in (scale, bias))
    # TVM has the whole operator for no wider numbers.
    plain = plain and node.dtype() in ("float32", "float16")
    if plain and scale is not None and not outputs[1] and not outputs[2]:
        if bias is None:
            bias = np.zeros(normal, dtype_of(scale))
        return relax.op.nn.layer_norm(
            node.tensor(0), node.expr(scale), node.expr(bias), axes, epsilon
        )
    mean = reduced(node, "ReduceMean", node.value(0), axes)
    centred = node.call("Sub", node.value(0), mean)
    variance = reduced(node, "ReduceMean", node.call("Mul", centred, centred), axes)
    result = _normalized(node, centred, variance, epsilon, scale, bias)
    inverse = _inverse_deviation(node, variance, epsilon)
    return (result, mean, inverse)[: len(node.outputs)]


@converts("RMSNormalization", "SimplifiedLayerNormalization")
def _rms_normalization(node: OnnxNode) -> Value:
    shape, epsilon = node.shape(), float(node.attribute("epsilon", 1e-5))
    axis = int(node.attribute("axis", -1)) % len(shape)
    x, scale = node.value(0), node.value(1)
    squares = reduced(node, "ReduceMean", node.call("Mul", x, x), list(range(axis, len(shape))))
    result = node.call("Mul", x, _inverse_deviation(node, squares, epsilon))
    return node.call("Mul", result, scale)


@converts("InstanceNormalization")
def _instance_normalization(node: OnnxNode) -> Value:
    shape = node.shape()
    return _grouped(node, groups=shape[1], affine=[1, -1, *[1] * (len(shape) - 2)])


@converts("GroupNormalization")
def _group_normalization(node: OnnxNode) -> Value:
    """Scale and bias are for each group before opset 21, for each channel since then."""
    shape, groups = node.shape(), int(node.attribute("num_groups"))
    if node.shape(1)[0] == groups and node.version < 21:
        times = shape[1] // groups
        scale, bias = (
            reshaped(
                node,
                node.call("Tile", reshaped(node, value, [-1, 1]), np.array([1, times])),
                [-1],
            )
            for value in node.inputs[1:]
        )
    else:
        scale, bias = node.inputs[1:]
    aligned = [1, -1, *[1] * (len(shape) - 2)]
    return _grouped(node, groups, aligned, scale, bias)


def _grouped(
    node: OnnxNode, groups: int, affine: list[int], scale: Value = None, bias: Value = None
) -> Value:
    """Each group of channels normalized by itself, then scaled and shifted by channel."""
    shape, epsilon = node.shape(), float(node.attribute("epsilon", 1e-5))
    scale = node.value(1) if scale is None else scale
    bias = node.value(2) if bias is None else bias
    if dtype_of(node.value(0)) == "float32" and len(shape) > 2:
        tensors = map(node.expr, (node.value(0), scale, bias))
        axes = list(range(2, len(shape)))
        return node.emit(
            relax.op.nn.group_norm(
                *tensors, num_groups=groups, channel_axis=1, axes=axes, epsilon=epsilon
            )
        )
    rows = reshaped(node, node.value(0), [shape[0], groups, math.prod(shape[1:]) // groups])
    mean = reduced(node, "ReduceMean", rows, [2])
    centred = node.call("Sub", rows, mean)
    variance = reduced(node, "ReduceMean", node.call("Mul", centred, centred), [2])
    normalized = _normalized(node, centred, variance, epsilon, None, None)
    result = reshaped(node, normalized, list(shape))
    result = node.call("Mul", result, reshaped(node, scale, affine))
    return node.call("Add", result, reshaped(node, bias, affine))


@converts("LpNormalization")
def _lp_normalization(node: OnnxNode) -> Value:
    rank = len(node.shape())
    axis = int(node.attribute("axis", -1)) % rank
    operator = "ReduceL1" if node.attribute("p", 2) == 1 else "ReduceL2"
    size = node.call(operator, node.value(0), np.array([axis]), keepdims=1)
    zero = node.call("Equal", size, np.array(0, node.dtype()))
    safe = node.call("Where", zero, np.array(1, node.dtype()), size)
    return node.call("Div", node.value(0), safe)


@converts("LRN")
def _local_response(node: OnnxNode) -> Value:
    dtype, size = node.dtype(), int(node.attribute("size"))
    alpha, beta = float(node.attribute("alpha", 1e-4)), float(node.attribute("beta", 0.75))
    shape = node.shape()
    squares = node.call("Mul", node.value(0), node.value(0))
    # Sums over neighbouring channels are those of a window.
    flat = reshaped(node, squares, [shape[0], 1, shape[1], math.prod(shape[2:])])
    before = (size - 1) // 2
    mean = node.call(
        "AveragePool",
        flat,
        kernel_shape=[size, 1],
        pads=[before, 0, size - 1 - before, 0],
        count_include_pad=1,
    )
    scaled = node.call("Mul", reshaped(node, mean, list(shape)), np.array(alpha, dtype))
    base = node.call("Add", scaled, np.array(node.attribute("bias", 1.0), dtype))
    return node.call("Div", node.value(0), node.call("Pow", base, np.array(beta, dtype)))


@converts("Softmax", "LogSoftmax")
def _softmax(node: OnnxNode) -> Value:
    """Before opset 13 all axes from `axis` on are one."""
    shape = node.shape()
    function = relax.op.nn.softmax if node.operator == "Softmax" else relax.op.nn.log_softmax
    if node.version >= 13:
        return function(node.tensor(), int(node.attribute("axis", -1)) % len(shape))
    rows = _as_rows(node, int(node.attribute("axis", 1)) % len(shape))
    return reshaped(
        node, node.emit(function(node.expr(rows), len(shape_of(rows)) - 1)), list(shape)
    )


def _as_rows(node: OnnxNode, axis: int) -> Value:
    shape = node.shape()
    if axis == len(shape) - 1:
        return node.value(0)
    return reshaped(node, node.value(0), [math.prod(shape[:axis]), math.prod(shape[axis:])])


@converts("Hardmax")
def _hardmax(node: OnnxNode) -> Value:
    shape = node.shape()
    if node.version >= 13:
        rows, axis = node.value(0), int(node.attribute("axis", -1)) % len(shape)
    else:
        rows = _as_rows(node, int(node.attribute("axis", 1)) % len(shape))
        axis = len(shape_of(rows)) - 1
    sizes = shape_of(rows)
    largest = node.call("ArgMax", rows, axis=axis, keepdims=1)
    places = np.arange(sizes[axis]).reshape([-1 if a == axis else 1 for a in range(len(sizes))])
    hit = node.call("Equal", largest, places)
    dtype = node.dtype()
    return reshaped(
        node, node.call("Where", hit, np.array(1, dtype), np.array(0, dtype)), list(shape)
    )


@converts("MeanVarianceNormalization")
def _mean_variance(node: OnnxNode) -> Value:
    axes = [int(axis) % len(node.shape()) for axis in node.attribute("axes") or (0, 2, 3)]
    centred = node.call("Sub", node.value(0), reduced(node, "ReduceMean", node.value(0), axes))
    variance = reduced(node, "ReduceMean", node.call("Mul", centred, centred), axes)
    deviation = node.call("Add", node.call("Sqrt", variance), np.array(1e-9, node.dtype()))
    return node.call("Div", centred, deviation)
