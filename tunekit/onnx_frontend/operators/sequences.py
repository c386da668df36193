"""Sequences of known length, which are lists, and optional values."""

from __future__ import annotations

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.shapes import sliced
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, shape_of


@converts("SequenceEmpty")
def _empty(node: OnnxNode) -> Value:
    return []


@converts("SequenceConstruct")
def _construct(node: OnnxNode) -> Value:
    return list(node.inputs)


@converts("SequenceLength")
def _length(node: OnnxNode) -> Value:
    return np.array(len(node.inputs[0]))


@converts("SequenceAt")
def _at(node: OnnxNode) -> Value:
    return node.inputs[0][_position(node, 1)]


@converts("SequenceErase")
def _erase(node: OnnxNode) -> Value:
    index = _position(node, 1)
    return [item for place, item in enumerate(node.inputs[0]) if place != index]


@converts("SequenceInsert")
def _insert(node: OnnxNode) -> Value:
    items = node.inputs[0]
    index = _position(node, 2, beyond=1) if node.has(2) else len(items)
    return [*items[:index], node.value(1), *items[index:]]


def _position(node: OnnxNode, index: int, beyond: int = 0) -> int:
    """A place in the sequence, the last one where left out, counted from the front."""
    length = len(node.inputs[0])
    place = int(node.known(index, "position").reshape(-1)[0]) if node.has(index) else -1
    if not -length <= place < length + beyond:
        raise Unsupported(f"its position {place} is outside of a sequence of {length}")
    return place + length if place < 0 else place


@converts("ConcatFromSequence")
def _concat(node: OnnxNode) -> Value:
    items, axis = node.inputs[0], int(node.attribute("axis"))
    if node.attribute("new_axis"):
        axis = axis if axis >= 0 else axis + len(shape_of(items[0])) + 1
        items = [node.call("Unsqueeze", item, np.array([axis])) for item in items]
    return node.call("Concat", *items, axis=axis)


@converts("SplitToSequence")
def _split(node: OnnxNode) -> Value:
    value, shape = node.value(0), node.shape()
    axis = int(node.attribute("axis", 0)) % len(shape)
    sizes = [1] * shape[axis]
    if node.has(1):
        given = node.known(1, "split")
        step = int(given) if given.ndim == 0 else 0
        sizes = (
            [min(step, shape[axis] - start) for start in range(0, shape[axis], step)]
            if step
            else [int(size) for size in given]
        )
    ends = np.cumsum(sizes).tolist()
    parts = [
        sliced(node, value, {axis: range(end - size, end)}, shape)
        for size, end in zip(sizes, ends, strict=True)
    ]
    if node.has(1) or node.attribute("keepdims", 1):
        return parts
    return [node.call("Squeeze", part, np.array([axis])) for part in parts]


@converts("SequenceMap")
def _map(node: OnnxNode) -> Value:
    """The other inputs are sequences as well, or the same for each element."""
    body = node.attribute("body")
    rows = [
        node.run_graph(
            body, [item[index] if isinstance(item, list) else item for item in node.inputs]
        )
        for index in range(len(node.inputs[0]))
    ]
    return tuple(list(column) for column in zip(*rows, strict=True)) or ([],) * len(body.output)


@converts("Optional", "OptionalGetElement")
def _optional(node: OnnxNode) -> Value:
    value = node.value(0)
    if value is None and node.operator == "OptionalGetElement":
        raise Unsupported("its optional value is empty")
    return value


@converts("OptionalHasElement")
def _has_element(node: OnnxNode) -> Value:
    return np.array(node.value(0) is not None)
