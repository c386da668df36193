"""Operators of com.microsoft, which ONNX Runtime's optimizer and its exporters write."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.shapes import (
    channels_first,
    channels_last,
    reshaped,
    sliced,
)
from tunekit.onnx_frontend.registry import MICROSOFT, converts
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of


@converts("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def _fused_matmul(node: OnnxNode) -> Value:
    left, right = (
        _operand(node, value, side) for side, value in zip("AB", node.inputs, strict=True)
    )
    product = node.call("MatMul", left, right)
    alpha = float(node.attribute("alpha", 1.0))
    return product if alpha == 1 else node.call("Mul", product, np.array(alpha, node.dtype()))


def _operand(node: OnnxNode, value: Value, side: str) -> Value:
    """A side of a product: its first axis put behind the batch's, its last two exchanged."""
    rank = len(shape_of(value))
    if node.attribute(f"transBatch{side}") and rank > 2:
        value = node.call("Transpose", value, perm=[*range(1, rank - 1), 0, rank - 1])
    return _transposed(node, value) if node.attribute(f"trans{side}") else value


def _transposed(node: OnnxNode, value: Value) -> Value:
    """Its last two axes exchanged; a vector stays as it is."""
    rank = len(shape_of(value))
    if rank < 2:
        return value
    return node.call("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


@converts("FusedGemm", domain=MICROSOFT)
def _fused_gemm(node: OnnxNode) -> Value:
    names = ("alpha", "beta", "transA", "transB")
    given = {name: node.attribute(name) for name in names if name in node.attributes}
    result = node.call("Gemm", *node.inputs, **given)
    parameters = [node.attribute(f"activation_{name}") for name in ("alpha", "beta")]
    return _activated(node, result, [item for item in parameters if item is not None])


@converts("FusedConv", domain=MICROSOFT)
def _fused_conv(node: OnnxNode) -> Value:
    """A sum with the fourth input comes before the activation."""
    result = node.call("Conv", *node.inputs[:3], **_of_convolution(node))
    if node.has(3):
        result = node.call("Add", result, node.value(3))
    return _activated(node, result, node.attribute("activation_params") or [])


def _of_convolution(node: OnnxNode) -> dict[str, Any]:
    names = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    return {name: node.attribute(name) for name in names if name in node.attributes}


_PARAMETERS = {
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
}


def _activated(node: OnnxNode, value: Value, parameters: list[float]) -> Value:
    name = node.attribute("activation")
    if not name:
        return value
    if name == "Clip":
        bounds = [np.array(bound, dtype_of(value)) for bound in parameters]
        return node.call("Clip", value, *bounds)
    named: dict[str, Any] = dict(
        zip(_PARAMETERS.get(name, ()), map(float, parameters), strict=False)
    )
    return node.call(name, value, **named)


@converts("NhwcConv", domain=MICROSOFT)
def _nhwc_conv(node: OnnxNode) -> Value:
    inputs = [channels_first(node, node.value(0)), channels_first(node, node.value(1))]
    result = node.call("Conv", *inputs, *node.inputs[2:], **_of_convolution(node))
    return channels_last(node, result)


@converts("BiasGelu", domain=MICROSOFT)
def _bias_gelu(node: OnnxNode) -> Value:
    return node.call("Gelu", node.call("Add", *node.inputs))


@converts("Gelu", domain=MICROSOFT)
def _gelu(node: OnnxNode) -> Value:
    return node.call("Gelu", node.value(0))


@converts("FastGelu", domain=MICROSOFT)
def _fast_gelu(node: OnnxNode) -> Value:
    value = node.call("Add", *node.inputs) if node.has(1) else node.value(0)
    return node.call("Gelu", value, approximate="tanh")


@converts("QuickGelu", domain=MICROSOFT)
def _quick_gelu(node: OnnxNode) -> Value:
    x, alpha = node.value(0), float(node.attribute("alpha", 1.702))
    gate = node.call("Sigmoid", node.call("Mul", x, np.array(alpha, node.dtype())))
    return node.call("Mul", x, gate)


@converts("BiasAdd", domain=MICROSOFT)
def _bias_add(node: OnnxNode) -> Value:
    return _sum(node, *node.inputs)


@converts("BiasSplitGelu", domain=MICROSOFT)
def _bias_split_gelu(node: OnnxNode) -> Value:
    value = node.call("Add", *node.inputs)
    shape = shape_of(value)
    axis, half = len(shape) - 1, shape[-1] // 2
    left = sliced(node, value, {axis: range(half)}, shape)
    right = sliced(node, value, {axis: range(half, 2 * half)}, shape)
    return node.call("Mul", left, node.call("Gelu", right))


@converts("SkipLayerNormalization", domain=MICROSOFT)
def _skip_layer_norm(node: OnnxNode) -> Value:
    total = _sum(node, node.value(0), node.value(1), node.value(4))
    outputs = _count(node)
    results = node.call(
        "LayerNormalization",
        total,
        node.value(2),
        node.value(3),
        outputs=max(1, min(outputs, 3)),
        axis=-1,
        epsilon=float(node.attribute("epsilon", 1e-12)),
    )
    results = results if isinstance(results, tuple) else (results,)
    return (*results, *[None] * (3 - len(results)), total)


@converts("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def _skip_simplified(node: OnnxNode) -> Value:
    total = _sum(node, node.value(0), node.value(1), node.value(3))
    result, inverse = _simplified(node, total, node.value(2), 1e-12, -1)
    return result, None, inverse, total


def _simplified(
    node: OnnxNode, value: Value, scale: Value, epsilon: float, axis: int
) -> tuple[Value, Value]:
    """Divided by its root mean square, and one by that."""
    rank = len(shape_of(value))
    axes = np.arange(axis % rank, rank)
    squares = node.call("ReduceMean", node.call("Mul", value, value), axes, keepdims=1)
    epsilon = float(node.attribute("epsilon", epsilon))
    safe = node.call("Add", squares, np.array(epsilon, dtype_of(value)))
    inverse = node.call("Reciprocal", node.call("Sqrt", safe))
    return node.call("Mul", node.call("Mul", value, inverse), scale), inverse


@converts("EmbedLayerNormalization", domain=MICROSOFT)
def _embed_layer_norm(node: OnnxNode) -> Value:
    ids, segments, words, positions, kinds, scale, bias = node.inputs[:7]
    batch, length = shape_of(ids)
    places = node.value(8) if node.has(8) else np.arange(length)[None, :]
    embedded = node.call(
        "Add", node.call("Gather", words, ids), node.call("Gather", positions, places)
    )
    if segments is not None and kinds is not None:
        embedded = node.call("Add", embedded, node.call("Gather", kinds, segments))
    epsilon = float(node.attribute("epsilon", 1e-12))
    result = node.call("LayerNormalization", embedded, scale, bias, axis=-1, epsilon=epsilon)
    index: Value = np.zeros(batch, np.int32)
    if node.has(7):
        index = node.call("ReduceSum", node.value(7), np.array([1]), keepdims=0)
    return result, index, embedded


@converts("GroupNorm", "SkipGroupNorm", domain=MICROSOFT)
def _group_norm(node: OnnxNode) -> Value:
    """Scale and bias come as single precision, whatever the rest is."""
    value, dtype = node.value(0), node.dtype()
    scale, bias = (_as(node, item, dtype) for item in node.inputs[1:3])
    last = bool(node.attribute("channels_last", 1))
    if node.operator == "SkipGroupNorm":
        skip = node.value(3)
        if len(shape_of(skip)) == 2:
            batch, channels = shape_of(skip)
            skip = reshaped(node, skip, [batch, 1, 1, channels])
        value = _sum(node, value, skip, node.value(4))
    total = value
    if last:
        value = channels_first(node, value)
    result = node.call(
        "GroupNormalization",
        value,
        scale,
        bias,
        num_groups=int(node.attribute("groups")),
        epsilon=float(node.attribute("epsilon", 1e-5)),
    )
    if node.attribute("activation"):
        result = node.call("Mul", result, node.call("Sigmoid", result))
    result = channels_last(node, result) if last else result
    return (result, total) if node.operator == "SkipGroupNorm" else result


@converts("Inverse", domain=MICROSOFT)
def _inverse(node: OnnxNode) -> Value:
    """By the adjugate: of the small matrices of transformations."""
    size = node.shape()[-1]
    if size > 3:
        raise Unsupported(f"the matrices are {size}x{size}; up to 3x3 is possible")
    determinant = node.call("Det", node.value(0))
    scale = reshaped(node, determinant, [*node.shape()[:-2], 1, 1])
    if size == 1:
        return node.call("Reciprocal", node.value(0))
    rows = [
        node.call("Concat", *(_cofactor(node, row, column) for row in range(size)), axis=-1)
        for column in range(size)
    ]
    return node.call("Div", node.call("Concat", *rows, axis=-2), scale)


def _cofactor(node: OnnxNode, row: int, column: int) -> Value:
    size, leading = node.shape()[-1], list(node.shape()[:-2])
    rows = np.array([index for index in range(size) if index != row])
    columns = np.array([index for index in range(size) if index != column])
    minor = node.call("Gather", node.call("Gather", node.value(0), rows, axis=-2), columns, axis=-1)
    value = reshaped(node, node.call("Det", minor), [*leading, 1, 1])
    return node.call("Neg", value) if (row + column) % 2 else value


@converts("Trilu", domain=MICROSOFT)
def _trilu(node: OnnxNode) -> Value:
    return node.call("Trilu", *node.inputs, upper=int(node.attribute("upper", 1)))


@converts("GatherND", "GridSample", domain=MICROSOFT)
def _as_the_standard(node: OnnxNode) -> Value:
    return node.call(node.operator, *node.inputs, **node.attributes)


@converts("Pad", domain=MICROSOFT)
def _pad(node: OnnxNode) -> Value:
    pads = node.known(1, "pads").reshape(-1)
    return node.call("Pad", node.value(0), pads, *node.inputs[2:], **node.attributes)


@converts("CDist", domain=MICROSOFT)
def _cdist(node: OnnxNode) -> Value:
    """Distances of each row of one matrix from each of another."""
    rows = node.call("Unsqueeze", node.value(0), np.array([1]))
    difference = node.call("Sub", rows, node.value(1))
    metric = node.attribute("metric", "sqeuclidean")
    operators = {"sqeuclidean": "ReduceSumSquare", "euclidean": "ReduceL2"}
    if metric not in operators:
        raise Unsupported(f"its metric is {metric!r}")
    return node.call(operators[metric], difference, np.array([-1]), keepdims=0)


@converts("ExpandDims", domain=MICROSOFT)
def _expand_dims(node: OnnxNode) -> Value:
    return node.call("Unsqueeze", node.value(0), node.known(1, "axis").reshape(-1).astype(np.int64))


def _as(node: OnnxNode, value: Value, dtype: str) -> Value:
    if dtype_of(value) == dtype:
        return value
    return node.call("Cast", value, to={"float16": 10, "float32": 1, "float64": 11}[dtype])


def _sum(node: OnnxNode, first: Value, *others: Value) -> Value:
    for other in others:
        if other is not None:
            first = node.call("Add", first, other)
    return first


def _count(node: OnnxNode) -> int:
    """How many outputs there are up to the last that is used, the sum of a skip aside."""
    return max((index + 1 for index, used in enumerate(node.outputs[:3]) if used), default=1)
