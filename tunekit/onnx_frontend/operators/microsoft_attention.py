"""Attention as com.microsoft has it: with projections, packed inputs and caches."""

from __future__ import annotations

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.attention import (
    Attended,
    added,
    attend,
    causal_mask,
    joined_heads,
    mask_bias,
    rotated,
    split_heads,
)
from tunekit.onnx_frontend.operators.shapes import reshaped, sliced
from tunekit.onnx_frontend.registry import MICROSOFT, converts
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of

# What a masked score gets where the model does not say it.
_HIDDEN = -10000.0


@converts("Attention", domain=MICROSOFT)
def _attention(node: OnnxNode) -> Value:
    """The projections of one input are one product."""
    projected = node.call("MatMul", node.value(0), node.value(1))
    if node.has(2):
        projected = node.call("Add", projected, node.value(2))
    return _of_projections(node, projected, mask=3, past=4, bias=5)


@converts("QAttention", domain=MICROSOFT)
def _quantized_attention(node: OnnxNode) -> Value:
    """With quantized projections."""
    data, weight, bias, data_scale, weight_scale = node.inputs[:5]
    zeros = node.value(6), node.value(7)
    operands = data, weight, data_scale, weight_scale, *zeros, bias
    projected = node.call(f"{MICROSOFT}.MatMulIntegerToFloat", *operands)
    return _of_projections(node, projected, mask=5, past=8, bias=None)


def _of_projections(
    node: OnnxNode, projected: Value, *, mask: int, past: int, bias: int | None
) -> Value:
    """Attention of queries, keys and values side by side; the others are positions of inputs."""
    if node.attribute("do_rotary") or node.attribute("past_present_share_buffer"):
        raise Unsupported("its do_rotary or past_present_share_buffer is set")
    heads = int(node.attribute("num_heads"))
    width = shape_of(projected)[-1]
    sizes = [int(size) for size in node.attribute("qkv_hidden_sizes") or [width // 3] * 3]
    query, key, value = (split_heads(node, part, heads) for part in _cut(node, projected, sizes))
    before = 0
    if node.has(past):
        before = node.shape(past)[3]
        key, value = (
            node.call("Concat", _part(node, node.value(past), index), new, axis=2)
            for index, new in enumerate((key, value))
        )
    present: Value = None
    if len(node.outputs) > 1 and node.outputs[1]:
        pair = [node.call("Unsqueeze", part, np.array([0])) for part in (key, value)]
        present = node.call("Concat", *pair, axis=0)
    queries, keys = shape_of(query)[2], shape_of(key)[2]
    own = None if bias is None else node.value(bias)
    filtered = added(node, _padding(node, mask, queries, keys), own)
    return joined_heads(node, _attended(node, query, key, value, filtered, before).output), present


@converts("MultiHeadAttention", domain=MICROSOFT)
def _multi_head(node: OnnxNode) -> Value:
    if node.has(8) or node.has(9):
        raise Unsupported("its cache is a buffer that it shares")
    heads = int(node.attribute("num_heads"))
    query, key, value = _apart(node, heads)
    past = 0
    if node.has(6):
        past = node.shape(6)[2]
        key = node.call("Concat", node.value(6), key, axis=2)
        value = node.call("Concat", node.value(7), value, axis=2)
    queries, keys = shape_of(query)[2], shape_of(key)[2]
    bias = added(node, _padding(node, 4, queries, keys), node.value(5))
    result = _attended(node, query, key, value, bias, past)
    return joined_heads(node, result.output), key, value, result.masked


def _attended(
    node: OnnxNode, query: Value, key: Value, value: Value, bias: Value, past: int
) -> Attended:
    if node.attribute("unidirectional"):
        seen = causal_mask(shape_of(query)[2], shape_of(key)[2], past)
        # Nothing of a later position may get through, whatever the filter is.
        lowest = float(np.finfo(dtype_of(query)).min)
        bias = added(node, bias, mask_bias(node, seen, dtype_of(query), lowest))
    scale = float(node.attribute("scale", 0.0)) or None
    return attend(node, query, key, value, scale=scale, bias=bias)


def _apart(node: OnnxNode, heads: int) -> list[Value]:
    """Query, key and value, each `[batch, heads, length, size]`, with their biases."""
    query, key, value = node.value(0), node.value(1), node.value(2)
    if len(shape_of(query)) == 5:
        # [batch, length, heads, 3, size]
        return [_of_packed(node, query, index) for index in range(3)]
    biases: list[Value] = [None] * 3
    sizes = [shape_of(query)[-1], *(_width(item, heads) for item in (key, value))]
    if node.has(3):
        sizes[2] = sizes[2] or sizes[1]
        biases = _cut(node, node.value(3), sizes)
    query = split_heads(node, _biased(node, query, biases[0]), heads)
    if len(shape_of(key)) == 5:
        return [query, *(_of_packed(node, key, index) for index in range(2))]
    parts = []
    for part, bias in zip((key, value), biases[1:], strict=True):
        if len(shape_of(part)) == 3:
            parts.append(split_heads(node, _biased(node, part, bias), heads))
        elif bias is None:
            parts.append(part)
        else:
            across = node.call(
                "Transpose", reshaped(node, bias, [1, 1, heads, -1]), perm=[0, 2, 1, 3]
            )
            parts.append(node.call("Add", part, across))
    return [query, *parts]


def _width(value: Value, heads: int) -> int:
    if value is None:
        return 0
    shape = shape_of(value)
    return shape[-1] if len(shape) == 3 else shape[-1] * heads


def _biased(node: OnnxNode, value: Value, bias: Value) -> Value:
    return value if bias is None else node.call("Add", value, bias)


def _of_packed(node: OnnxNode, packed: Value, index: int) -> Value:
    shape = shape_of(packed)
    part = sliced(node, packed, {3: range(index, index + 1)}, shape)
    apart = reshaped(node, part, [*shape[:3], shape[4]])
    return node.call("Transpose", apart, perm=[0, 2, 1, 3])


def _part(node: OnnxNode, pair: Value, index: int) -> Value:
    shape = shape_of(pair)
    return reshaped(node, sliced(node, pair, {0: range(index, index + 1)}, shape), list(shape[1:]))


def _cut(node: OnnxNode, value: Value, sizes: list[int]) -> list[Value]:
    """Parts of the last axis."""
    shape = shape_of(value)
    ends = np.cumsum(sizes).tolist()
    return [
        sliced(node, value, {len(shape) - 1: range(end - size, end)}, shape)
        for size, end in zip(sizes, ends, strict=True)
    ]


def _padding(node: OnnxNode, index: int, queries: int, keys: int) -> Value:
    """The bias of a mask: lengths, ends and starts, or which keys each batch, or query, may see."""
    if not node.has(index):
        return None
    mask, dtype = node.value(index), node.dtype()
    hidden = float(node.attribute("mask_filter_value", _HIDDEN))
    shape = shape_of(mask)
    if len(shape) > 1:
        between = [1, shape[1] if len(shape) == 3 else 1, keys]
        if len(shape) > 3:
            raise Unsupported(f"its mask has {len(shape)} axes")
        wide = reshaped(node, mask, [shape[0], *between])
        seen = node.call("Not", node.call("Equal", wide, np.array(0, dtype_of(mask))))
        return mask_bias(node, seen, dtype, hidden)
    batch, places = node.shape()[0], np.arange(keys, dtype=dtype_of(mask)).reshape(1, 1, 1, -1)
    if shape[0] not in (batch, 2 * batch):
        raise Unsupported(f"its mask has {shape[0]} numbers for a batch of {batch}")
    ends = reshaped(node, sliced(node, mask, {0: range(batch)}, shape), [batch, 1, 1, 1])
    seen = node.call("Less", places, ends)
    if shape[0] > batch:
        starts = sliced(node, mask, {0: range(batch, 2 * batch)}, shape)
        after = node.call("GreaterOrEqual", places, reshaped(node, starts, [batch, 1, 1, 1]))
        seen = node.call("And", seen, after)
    return mask_bias(node, seen, dtype, hidden)


@converts("GroupQueryAttention", domain=MICROSOFT)
def _group_query(node: OnnxNode) -> Value:
    """A cache of known length, the same for the whole batch; new keys follow what it holds."""
    _refuse_unusual(node)
    heads, groups = int(node.attribute("num_heads")), int(node.attribute("kv_num_heads"))
    query, key, value = _projections(node, heads, groups)
    length = shape_of(query)[2]
    lengths = node.known(5, "seqlens_k").reshape(-1) + 1
    if len(set(lengths.tolist())) > 1:
        raise Unsupported("the sequences of its batch have several lengths (seqlens_k)")
    total = int(lengths[0])
    past = total - length
    if node.attribute("do_rotary"):
        query, key = (_turned(node, part, past) for part in (query, key))
    capacity = node.shape(3)[2] if node.has(3) else 0
    if past:
        kept = [node.value(3), node.value(4)]
        key, value = (
            node.call("Concat", sliced(node, old, {2: range(past)}, shape_of(old)), new, axis=2)
            for old, new in zip(kept, (key, value), strict=True)
        )
    result = attend(
        node,
        query,
        key,
        value,
        scale=float(node.attribute("scale", 0.0)) or None,
        bias=added(
            node, mask_bias(node, _window(node, length, total), node.dtype()), _extra(node, total)
        ),
        softcap=float(node.attribute("softcap", 0.0)),
    )
    presents = [_filled(node, part, capacity) for part in (key, value)]
    return joined_heads(node, result.output), *presents


def _refuse_unusual(node: OnnxNode) -> None:
    for name in ("smooth_softmax", "qk_output", "kv_cache_bit_width", "sliding_window_cache"):
        if int(node.attribute(name, 0) or 0) > 0:
            raise Unsupported(f"its {name} is set")
    for index in range(11, len(node.inputs)):
        if node.has(index):
            raise Unsupported(f"its input {index} is given")


def _projections(node: OnnxNode, heads: int, groups: int) -> list[Value]:
    if node.has(1):
        counts = (heads, groups, groups)
        return [split_heads(node, node.value(i), count) for i, count in enumerate(counts)]
    size = node.shape()[-1] // (heads + 2 * groups)
    parts = _cut(node, node.value(0), [heads * size, groups * size, groups * size])
    return [
        split_heads(node, part, count)
        for part, count in zip(parts, (heads, groups, groups), strict=True)
    ]


def _turned(node: OnnxNode, value: Value, past: int) -> Value:
    length = shape_of(value)[2]
    places = node.value(9) if node.has(9) else np.arange(past, past + length)[None, :]
    cosines, sines = (node.call("Gather", node.value(index), places) for index in (7, 8))
    size = 2 * shape_of(cosines)[-1]
    interleaved = bool(node.attribute("rotary_interleaved"))
    return rotated(node, value, cosines, sines, size, interleaved=interleaved)


def _window(node: OnnxNode, queries: int, keys: int) -> Value:
    seen = causal_mask(queries, keys, keys - queries)
    window = int(node.attribute("local_window_size", -1))
    if window > 0:
        seen = seen & ~causal_mask(queries, keys, keys - queries - window)
    return seen


def _extra(node: OnnxNode, keys: int) -> Value:
    if not node.has(10):
        return None
    return sliced(node, node.value(10), {3: range(keys)}, node.shape(10))


def _filled(node: OnnxNode, value: Value, capacity: int) -> Value:
    """With zeros up to the capacity of the cache."""
    batch, groups, length, size = shape_of(value)
    if length >= capacity:
        return value
    rest = np.zeros((batch, groups, capacity - length, size), dtype_of(value))
    return node.call("Concat", value, rest, axis=2)


@converts("RotaryEmbedding", domain=MICROSOFT)
def _rotary(node: OnnxNode) -> Value:
    """Positions are for each token, or that of the first one."""
    if node.attribute("is_packed_batching"):
        raise Unsupported("its is_packed_batching is set")
    x, positions, cosines, sines = node.inputs
    size, heads = (
        int(node.attribute("rotary_embedding_dim", 0)),
        int(node.attribute("num_heads", 0)),
    )
    flat = len(shape_of(x)) == 3
    if flat:
        width = 2 * shape_of(cosines)[-1]
        x = split_heads(node, x, heads or shape_of(x)[-1] // width)
    if len(shape_of(positions)) == 1:
        steps = np.arange(shape_of(x)[2], dtype=dtype_of(positions))
        positions = node.call("Unsqueeze", node.call("Add", positions, steps), np.array([0]))
    cosines, sines = (node.call("Gather", table, positions) for table in (cosines, sines))
    scale = float(node.attribute("scale", 1.0))
    if scale != 1:
        x = node.call("Mul", x, np.array(scale, dtype_of(x)))
    interleaved = bool(node.attribute("interleaved"))
    turned = rotated(node, x, cosines, sines, size or shape_of(x)[3], interleaved=interleaved)
    return joined_heads(node, turned) if flat else turned
