"""Attention and rotary position embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.reductions import reduced
from tunekit.onnx_frontend.operators.shapes import reshaped, sliced
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Array, Value, dtype_of, is_float, shape_of

_FLOAT = 1
_SHORT = {"float16": 10, "bfloat16": 16}
# What an output of the scores may hold (`qk_matmul_output_mode`).
_PRODUCTS, _CAPPED, _MASKED, _PROBABILITIES = range(4)


@dataclass(frozen=True)
class Attended:
    """What attention gives.

    Attributes:
        output: `[batch, heads, queries, value size]`.
        scores: `[batch, heads, queries, keys]`: products, capped, masked, as probabilities.
    """

    output: Value
    scores: tuple[Value, Value, Value, Value]

    @property
    def masked(self) -> Value:
        """The scores that the probabilities are made of."""
        return self.scores[_MASKED]


def attend(
    node: OnnxNode,
    query: Value,
    key: Value,
    value: Value,
    *,
    scale: float | None = None,
    bias: Value = None,
    softcap: float = 0.0,
) -> Attended:
    """`softmax(softcap(query @ key^T * scale) + bias) @ value`.

    Args:
        node: that it is for.
        query: `[batch, heads, queries, size]`.
        key: `[batch, key heads, keys, size]`; each key head serves as many queries in a row.
        value: `[batch, key heads, keys, value size]`.
        scale: one by the root of the size where left out.
        bias: what is added to the scores and broadcasts to them; a row of nothing but -inf gets
            the output zero.
        softcap: bound of the scores, by tanh; 0 for none.
    """
    if dtype_of(query) in _SHORT:
        # In single precision, as ONNX Runtime does: the sums are too coarse in short floats.
        tensors = [node.call("Cast", tensor, to=_FLOAT) for tensor in (query, key, value)]
        bias = bias if bias is None else node.call("Cast", bias, to=_FLOAT)
        wide = attend(node, *tensors, scale=scale, bias=bias, softcap=softcap)
        narrow = [
            node.call("Cast", tensor, to=_SHORT[dtype_of(query)])
            for tensor in (wide.output, *wide.scores)
        ]
        return Attended(narrow[0], (narrow[1], narrow[2], narrow[3], narrow[4]))
    batch, heads, queries, size = shape_of(query)
    _, groups, keys, value_size = shape_of(value)
    factor = 1 / math.sqrt(size) if scale is None else scale
    scaled = node.call("Mul", query, np.array(factor, dtype_of(query)))
    # Queries that share a key are rows of one product.
    rows = heads // groups * queries
    flat = reshaped(node, scaled, [batch, groups, rows, size])
    product = node.call("MatMul", flat, node.call("Transpose", key, perm=[0, 1, 3, 2]))
    products = reshaped(node, product, [batch, heads, queries, keys])
    capped = products
    if softcap:
        cap = np.array(softcap, dtype_of(query))
        capped = node.call("Mul", node.call("Tanh", node.call("Div", products, cap)), cap)
    masked = capped if bias is None else node.call("Add", capped, bias)
    probabilities = _without_masked_rows(node, node.call("Softmax", masked, axis=-1), bias)
    weights = reshaped(node, probabilities, [batch, groups, rows, keys])
    output = reshaped(
        node, node.call("MatMul", weights, value), [batch, heads, queries, value_size]
    )
    return Attended(output, (products, capped, masked, probabilities))


def _without_masked_rows(node: OnnxNode, probabilities: Value, bias: Value) -> Value:
    """Zero where a row of the bias masks every key, in place of what is not a number."""
    if bias is None or (isinstance(bias, np.ndarray) and not np.isneginf(bias.max(-1)).any()):
        return probabilities
    dtype = dtype_of(bias)
    largest = reduced(node, "ReduceMax", bias, [len(shape_of(bias)) - 1])
    # TVM's maximum begins with the lowest finite number, which it gives for nothing but -inf.
    lowest = np.array(np.finfo(dtype).min, dtype)
    nothing = node.call("LessOrEqual", largest, lowest)
    return node.call("Where", nothing, np.array(0, dtype), probabilities)


def added(node: OnnxNode, first: Value, second: Value) -> Value:
    """The sum of two biases, each of which may be None."""
    if first is None or second is None:
        return second if first is None else first
    return node.call("Add", first, second)


def mask_bias(node: OnnxNode, mask: Value, dtype: str, hidden: float = -np.inf) -> Value:
    """A bias that is `hidden` where a mask of booleans is false."""
    return node.call("Where", mask, np.array(0, dtype), np.array(hidden, dtype))


def causal_mask(queries: int, keys: int, before: int) -> Array:
    """Which keys each query may see, as booleans; the first has `before` keys in front of it."""
    return np.tri(queries, keys, before, dtype=bool)


def split_heads(node: OnnxNode, value: Value, heads: int) -> Value:
    """`[batch, length, heads * size]` as `[batch, heads, length, size]`."""
    batch, length, width = shape_of(value)
    apart = reshaped(node, value, [batch, length, heads, width // heads])
    return node.call("Transpose", apart, perm=[0, 2, 1, 3])


def joined_heads(node: OnnxNode, value: Value) -> Value:
    """`[batch, heads, length, size]` as `[batch, length, heads * size]`."""
    batch, heads, length, size = shape_of(value)
    moved = node.call("Transpose", value, perm=[0, 2, 1, 3])
    return reshaped(node, moved, [batch, length, heads * size])


@converts("Attention")
def _attention(node: OnnxNode) -> Value:
    query, key, value = node.inputs[:3]
    flat = len(shape_of(query)) == 3
    if flat:
        heads, groups = int(node.attribute("q_num_heads")), int(node.attribute("kv_num_heads"))
        query = split_heads(node, query, heads)
        key, value = split_heads(node, key, groups), split_heads(node, value, groups)
    past = 0
    if node.has(4):
        past = node.shape(4)[2]
        key = node.call("Concat", node.value(4), key, axis=2)
        value = node.call("Concat", node.value(5), value, axis=2)
    scale = node.attribute("scale")
    result = attend(
        node,
        query,
        key,
        value,
        scale=None if scale is None else float(scale),
        bias=_bias(node, shape_of(query)[2], shape_of(key)[2], past),
        softcap=float(node.attribute("softcap", 0.0)),
    )
    output = joined_heads(node, result.output) if flat else result.output
    mode = int(node.attribute("qk_matmul_output_mode", 0))
    return output, key, value, result.scores[mode]


def _bias(node: OnnxNode, queries: int, keys: int, past: int) -> Value:
    """All masks together."""
    dtype, bias = node.dtype(), None
    if node.has(3):
        bias = node.value(3)
        if not is_float(bias):
            bias = mask_bias(node, bias, dtype)
        missing = keys - shape_of(bias)[-1]
        if missing > 0:
            hidden = np.full([*shape_of(bias)[:-1], missing], -np.inf, dtype)
            bias = node.call("Concat", bias, hidden, axis=-1)
    lengths = None
    if node.has(6):
        lengths = node.call("Reshape", node.value(6), np.array([-1, 1, 1, 1]))
        places = np.arange(keys, dtype=dtype_of(lengths))
        inside = node.call("Less", places.reshape(1, 1, 1, -1), lengths)
        bias = added(node, bias, mask_bias(node, inside, dtype))
    left = int(node.attribute("left_window_size", -1))
    right = int(node.attribute("right_window_size", -1))
    if node.attribute("is_causal"):
        right = 0 if right < 0 else min(right, 0)
    if left < 0 and right < 0:
        return bias
    if lengths is None or past:
        distance: Value = np.arange(keys)[None, :] - np.arange(past, past + queries)[:, None]
    else:
        # The last query is at the end of the keys that are valid.
        number = dtype_of(lengths)
        steps = np.arange(keys, dtype=number) - np.arange(queries, dtype=number)[:, None]
        before = node.call("Sub", lengths, np.array(queries, number))
        distance = node.call("Sub", steps.reshape(1, 1, queries, keys), before)
    if right >= 0:
        seen = node.call("LessOrEqual", distance, np.array(right, dtype_of(distance)))
        bias = added(node, bias, mask_bias(node, seen, dtype))
    if left >= 0:
        seen = node.call("GreaterOrEqual", distance, np.array(-left, dtype_of(distance)))
        bias = added(node, bias, mask_bias(node, seen, dtype))
    return bias


@converts("RotaryEmbedding")
def _rotary(node: OnnxNode) -> Value:
    x, cosines, sines = node.inputs[:3]
    flat = len(shape_of(x)) == 3
    if flat:
        heads = int(node.attribute("num_heads", 0))
        if not heads:
            raise Unsupported("its input has three axes and its num_heads is not given")
        x = split_heads(node, x, heads)
    if node.has(3):
        cosines = node.call("Gather", cosines, node.value(3))
        sines = node.call("Gather", sines, node.value(3))
    size = int(node.attribute("rotary_embedding_dim", 0)) or shape_of(x)[3]
    turned = rotated(node, x, cosines, sines, size, interleaved=bool(node.attribute("interleaved")))
    return joined_heads(node, turned) if flat else turned


def rotated(
    node: OnnxNode, x: Value, cosines: Value, sines: Value, size: int, *, interleaved: bool
) -> Value:
    """The first numbers of each head, turned as pairs.

    Args:
        node: that it is for.
        x: `[batch, heads, length, head size]`.
        cosines: of the angles, `[batch or 1, length, size / 2]`.
        sines: likewise.
        size: how many numbers of each head are turned.
        interleaved: pairs are neighbours; else the first half and the second half are pairs.
    """
    shape = shape_of(x)
    half = size // 2
    cosines, sines = (
        node.call(
            "Unsqueeze", sliced(node, table, {2: range(half)}, shape_of(table)), np.array([1])
        )
        for table in (cosines, sines)
    )
    if interleaved:
        first, second = (sliced(node, x, {3: range(i, size, 2)}, shape) for i in (0, 1))
    else:
        first = sliced(node, x, {3: range(half)}, shape)
        second = sliced(node, x, {3: range(half, size)}, shape)
    real = node.call("Sub", node.call("Mul", first, cosines), node.call("Mul", second, sines))
    imaginary = node.call("Add", node.call("Mul", first, sines), node.call("Mul", second, cosines))
    if interleaved:
        axis = np.array([4])
        pairs = [node.call("Unsqueeze", part, axis) for part in (real, imaginary)]
        turned = reshaped(node, node.call("Concat", *pairs, axis=4), [*shape[:3], size])
    else:
        turned = node.call("Concat", real, imaginary, axis=3)
    if size == shape[3]:
        return turned
    return node.call("Concat", turned, sliced(node, x, {3: range(size, shape[3])}, shape), axis=3)
