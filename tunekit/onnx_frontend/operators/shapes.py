"""Operators that move numbers without computing any, and those that read shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of


@converts("Constant")
def _constant(node: OnnxNode) -> Value:
    """Only what the evaluation of known nodes leaves: text."""
    raise Unsupported(f"a constant of {', '.join(node.attributes)} is no tensor of numbers")


@converts("Shape")
def _shape(node: OnnxNode) -> Value:
    shape = np.array(node.shape(), np.int64)
    start, end = node.attribute("start", 0), node.attribute("end")
    return shape[start:end]


@converts("Size")
def _size(node: OnnxNode) -> Value:
    return np.array(math.prod(node.shape()), np.int64)


@converts("Reshape")
def _reshape(node: OnnxNode) -> Value:
    sizes = node.sizes(1, "shape")
    assert sizes is not None
    shape = node.shape()
    if not node.attribute("allowzero"):
        sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return reshaped(node, node.value(0), sizes)


def reshaped(node: OnnxNode, value: Value, sizes: list[int]) -> Value:
    """A tensor in another shape, in which one size may be -1."""
    if isinstance(value, np.ndarray):
        return value.reshape(sizes)
    if -1 in sizes:
        rest = math.prod(size for size in sizes if size != -1)
        sizes = [math.prod(shape_of(value)) // rest if size == -1 else size for size in sizes]
    if tuple(sizes) == shape_of(value):
        return value
    return node.emit(relax.op.reshape(value, sizes))


@converts("Flatten")
def _flatten(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return reshaped(node, node.value(0), [math.prod(shape[:axis]), math.prod(shape[axis:])])


@converts("Squeeze")
def _squeeze(node: OnnxNode) -> Value:
    shape = node.shape()
    axes = node.axes(1, len(shape))
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    kept = [size for axis, size in enumerate(shape) if axis not in axes]
    if any(shape[axis] != 1 for axis in axes):
        raise Unsupported(f"it squeezes axes {axes} of a tensor of shape {list(shape)}")
    return reshaped(node, node.value(0), kept)


@converts("Unsqueeze")
def _unsqueeze(node: OnnxNode) -> Value:
    axes = node.sizes(1, "axes")
    assert axes is not None
    rank = len(node.shape()) + len(axes)
    axes = [axis % rank for axis in axes]
    rest = iter(node.shape())
    return reshaped(
        node, node.value(0), [1 if axis in axes else next(rest) for axis in range(rank)]
    )


@converts("Transpose")
def _transpose(node: OnnxNode) -> Value:
    rank = len(node.shape())
    order = [int(axis) for axis in node.attribute("perm") or reversed(range(rank))]
    if order == list(range(rank)):
        return node.value(0)
    return relax.op.permute_dims(node.tensor(), order)


def channels_first(node: OnnxNode, value: Value) -> Value:
    """(batch, spatial axes, channels) with the channels moved behind the batch."""
    rank = len(shape_of(value))
    return node.call("Transpose", value, perm=[0, rank - 1, *range(1, rank - 1)])


def channels_last(node: OnnxNode, value: Value) -> Value:
    """(batch, channels, spatial axes) with the channels moved to the end."""
    rank = len(shape_of(value))
    return node.call("Transpose", value, perm=[0, *range(2, rank), 1])


@converts("Concat")
def _concat(node: OnnxNode) -> Value:
    axis = int(node.attribute("axis", 1))
    # A part without elements may have lost its dtype's tensor, but not its axes.
    parts = [value for value in node.inputs if shape_of(value)[axis] != 0]
    if len(parts) == 1:
        return parts[0]
    return relax.op.concat([node.expr(value) for value in parts], axis)


@converts("Split")
def _split(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = int(node.attribute("axis", 0)) % len(shape)
    sizes = node.sizes(1, "split")
    if sizes is None:
        count = int(node.attribute("num_outputs") or len(node.outputs))
        # The last part is smaller where they cannot be equal.
        size = -(-shape[axis] // count)
        sizes = [min(size, shape[axis] - part * size) for part in range(count)]
    return split(node, node.value(0), sizes, axis)


def split(node: OnnxNode, value: Value, sizes: list[int], axis: int) -> tuple[Value, ...]:
    """Parts of a tensor of these sizes along an axis."""
    if len(sizes) == 1:
        return (value,)
    bounds = [int(bound) for bound in np.cumsum(sizes)[:-1]]
    if isinstance(value, np.ndarray):
        return tuple(np.split(value, bounds, axis))
    if 0 in sizes:
        shape = shape_of(value)
        starts = [0, *bounds]
        return tuple(
            sliced(node, value, {axis: range(start, start + size)}, shape)
            for start, size in zip(starts, sizes, strict=True)
        )
    parts = node.emit(relax.op.split(value, bounds, axis))
    return tuple(node.emit(relax.TupleGetItem(parts, part)) for part in range(len(sizes)))


_LARGEST = (2**31 - 1, 2**63 - 1)


@converts("Slice")
def _slice(node: OnnxNode) -> Value:
    shape = node.shape()
    starts, ends = (node.sizes(index, name) for index, name in ((1, "starts"), (2, "ends")))
    assert starts is not None
    assert ends is not None
    axes = node.axes(3, len(shape)) or list(range(len(starts)))
    steps = node.sizes(4, "steps") or [1] * len(starts)
    taken = {
        axis: _indices(start, end, step, shape[axis])
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }
    return sliced(node, node.value(0), taken, shape)


def _indices(start: int, end: int, step: int, size: int) -> range:
    """What is taken of an axis. Other than in Python, a start before the first element is the first
    one backwards, too, and the largest integers end at the far side in both directions."""
    before, last = (-1, size - 1) if step < 0 else (0, size)
    start = min(max(start + size if start < 0 else start, 0), last)
    if end in _LARGEST:
        end = before if step < 0 else last
    else:
        end = min(max(end + size if end < 0 else end, before), last)
    return range(start, end, step)


def sliced(node: OnnxNode, value: Value, taken: dict[int, range], shape: tuple[int, ...]) -> Value:
    """The elements of some axes, in their order."""
    if isinstance(value, np.ndarray):
        return value[tuple(_python_slice(taken, axis, size) for axis, size in enumerate(shape))]
    if any(len(indices) == 0 for indices in taken.values()):
        sizes = [len(taken.get(axis, range(size))) for axis, size in enumerate(shape)]
        return np.zeros(sizes, dtype_of(value))
    # Backwards is forwards on the flipped axis.
    for axis, indices in taken.items():
        if indices.step < 0:
            value = node.emit(relax.op.flip(value, axis))
            first, size = shape[axis] - 1 - indices[0], shape[axis]
            taken = {**taken, axis: range(first, size, -indices.step)[: len(indices)]}
    cut = {axis: i for axis, i in taken.items() if i != range(shape[axis])}
    if not cut:
        return value
    return node.emit(
        relax.op.strided_slice(
            value,
            list(cut),
            [indices[0] for indices in cut.values()],
            [indices[-1] + 1 for indices in cut.values()],
            [indices.step for indices in cut.values()],
        )
    )


def _python_slice(taken: dict[int, range], axis: int, size: int) -> Any:
    indices = taken.get(axis, range(size))
    stop: int | None = indices.stop if indices.stop >= 0 else None
    return slice(indices.start, stop, indices.step)


@converts("Expand")
def _expand(node: OnnxNode) -> Value:
    sizes = node.sizes(1, "shape")
    assert sizes is not None
    shape = np.broadcast_shapes(node.shape(), tuple(sizes))
    if shape == node.shape():
        return node.value(0)
    return relax.op.broadcast_to(node.tensor(), list(shape))


@converts("Tile")
def _tile(node: OnnxNode) -> Value:
    if node.version < 6:
        repeats = [1] * len(node.shape())
        [count, axis] = (
            int(node.known(index, name)) for index, name in ((1, "tiles"), (2, "axis"))
        )
        repeats[axis] = count
    else:
        repeats = node.sizes(1, "repeats") or []
    if 0 in repeats:
        sizes = [size * times for size, times in zip(node.shape(), repeats, strict=True)]
        return np.zeros(sizes, node.dtype())
    return relax.op.tile(node.tensor(), repeats)


@converts("ConstantOfShape", "Range")
def _made_of_sizes(node: OnnxNode) -> Value:
    """Known inputs are evaluated, but for what ONNX Runtime lacks."""
    if node.operator == "Range":
        start, limit, delta = (node.known(index, "size").reshape(()) for index in range(3))
        count = max(math.ceil((limit.astype(float) - float(start)) / float(delta)), 0)
        return (start + delta * np.arange(count)).astype(start.dtype)
    sizes = node.known(0, "size")
    value = node.attribute("value")
    number = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(sizes, number.reshape(()))


@converts("EyeLike")
def _eye_like(node: OnnxNode) -> Value:
    dtype = node.dtype_attribute("dtype", node.dtype())
    rows, columns = node.shape()
    return np.eye(rows, columns, k=node.attribute("k", 0)).astype(dtype)


@converts("Trilu")
def _trilu(node: OnnxNode) -> Value:
    rows, columns = node.shape()[-2:]
    diagonal = int(node.known(1, "diagonal").reshape(())) if node.has(1) else 0
    lower = np.tri(rows, columns, diagonal - 1 if node.attribute("upper", 1) else diagonal, bool)
    kept = ~lower if node.attribute("upper", 1) else lower
    return relax.op.where(node.expr(kept), node.tensor(), node.scalar(0, node.dtype()))


@converts("DepthToSpace")
def _depth_to_space(node: OnnxNode) -> Value:
    batch, channels, height, width = node.shape()
    block = int(node.attribute("blocksize"))
    inner = channels // block**2
    if node.attribute("mode", "DCR") == "DCR":
        grouped, order = [batch, block, block, inner, height, width], [0, 3, 4, 1, 5, 2]
    else:
        grouped, order = [batch, inner, block, block, height, width], [0, 1, 4, 2, 5, 3]
    moved = node.call("Transpose", reshaped(node, node.value(0), grouped), perm=order)
    return reshaped(node, moved, [batch, inner, height * block, width * block])


@converts("SpaceToDepth")
def _space_to_depth(node: OnnxNode) -> Value:
    batch, channels, height, width = node.shape()
    block = int(node.attribute("blocksize"))
    grouped = [batch, channels, height // block, block, width // block, block]
    in_blocks = node.attribute("mode", "DCR") == "DCR"
    order = [0, 3, 5, 1, 2, 4] if in_blocks else [0, 1, 3, 5, 2, 4]
    moved = node.call("Transpose", reshaped(node, node.value(0), grouped), perm=order)
    return reshaped(node, moved, [batch, channels * block**2, height // block, width // block])


@converts("Dropout")
def _dropout(node: OnnxNode) -> Value:
    """As in inference: nothing is left out."""
    training = node.has(2) and bool(node.known(2, "training_mode").reshape(()))
    ratio = float(node.known(1, "ratio").reshape(())) if node.has(1) else 0.5
    if training and ratio:
        raise Unsupported("it drops values at random, as in training", "export it for inference")
    return node.value(0), np.ones(node.shape(), bool)
