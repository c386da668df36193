"""Operators that read or write through indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.frontends.scatter import scatter_elements
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of

# What ONNX calls a reduction, and what Relax does.
_REDUCTIONS = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def from_the_start(node: OnnxNode, indices: Value, sizes: int | np.ndarray[Any, Any]) -> Value:
    """Indices with the size of their axis added where they are negative."""
    dtype = dtype_of(indices)
    if dtype.startswith("uint"):
        return indices
    extents = np.asarray(sizes, dtype)
    if isinstance(indices, np.ndarray):
        return np.where(indices < 0, indices + extents, indices)
    negative = node.call("Less", indices, np.array(0, dtype))
    return node.call("Where", negative, node.call("Add", indices, extents), indices)


def _checked(node: OnnxNode, indices: Value, sizes: int | np.ndarray[Any, Any]) -> Value:
    """Indices from the start.

    Raises:
        Unsupported: they are known, and one is beyond its axis.
    """
    indices = from_the_start(node, indices, sizes)
    if isinstance(indices, np.ndarray) and ((indices < 0) | (indices >= np.asarray(sizes))).any():
        sides = ", ".join(map(str, np.atleast_1d(sizes)))
        raise Unsupported(f"an index lies beyond its axis, which has {sides} elements")
    return indices


def _within(node: OnnxNode, indices: Value, sizes: int | np.ndarray[Any, Any]) -> Value:
    """Checked indices; those beyond their axis that depend on an input, which ONNX Runtime refuses
    as it runs, are its first or last place."""
    indices = _checked(node, indices, sizes)
    if isinstance(indices, np.ndarray):
        return indices
    lowest = node.call("Max", indices, np.zeros((), dtype_of(indices)))
    last = np.maximum(np.asarray(sizes) - 1, 0)
    return node.call("Min", lowest, last.astype(dtype_of(indices)))


@converts("Gather")
def _gather(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = int(node.attribute("axis", 0)) % len(shape)
    indices = _checked(node, node.value(1), shape[axis])
    if isinstance(indices, np.ndarray) and indices.ndim == 0:
        return _element(node, int(indices), axis)
    return relax.op.take(node.tensor(0), node.expr(indices), axis, mode="clip")


def _element(node: OnnxNode, index: int, axis: int) -> Value:
    """One place of an axis: a slice, which can be scheduled without reading an index."""
    taken = node.emit(relax.op.strided_slice(node.tensor(0), [axis], [index], [index + 1]))
    return relax.op.squeeze(taken, [axis])


@converts("GatherElements")
def _gather_elements(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = int(node.attribute("axis", 0)) % len(shape)
    indices = _within(node, node.value(1), shape[axis])
    return relax.op.gather_elements(node.tensor(0), node.expr(indices), axis)


@converts("GatherND")
def _gather_nd(node: OnnxNode) -> Value:
    batch = int(node.attribute("batch_dims", 0))
    extents = node.shape()[batch : batch + node.shape(1)[-1]]
    given = node.value(1)
    if dtype_of(given) != "int64":  # com.microsoft takes others too
        given = node.call("Cast", given, to=7)
    indices = _within(node, given, np.array(extents))
    return relax.op.gather_nd(node.tensor(0), node.expr(indices), batch)


@converts("ScatterElements", "Scatter")
def _scatter_elements(node: OnnxNode) -> Value:
    shape = node.shape()
    axis = int(node.attribute("axis", 0)) % len(shape)
    if 0 in node.shape(1):
        return node.value(0)
    indices = _within(node, node.value(1), shape[axis])
    reduction = _REDUCTIONS[node.attribute("reduction", "none")]
    return scatter_elements(
        node.emit, node.tensor(0), node.expr(indices), node.tensor(2), axis, reduction
    )


@converts("ScatterND")
def _scatter_nd(node: OnnxNode) -> Value:
    if 0 in node.shape(1):
        return node.value(0)
    depth = node.shape(1)[-1]
    indices = _within(node, node.value(1), np.array(node.shape()[:depth]))
    reduction = _REDUCTIONS[node.attribute("reduction", "none")]
    return relax.op.scatter_nd(node.tensor(0), node.expr(indices), node.tensor(2), reduction)


@converts("OneHot")
def _one_hot(node: OnnxNode) -> Value:
    indices, values = node.value(0), node.value(2)
    depth = int(node.known(1, "depth").reshape(-1)[0])
    rank = len(shape_of(indices)) + 1
    axis = int(node.attribute("axis", -1)) % rank
    if "int" not in dtype_of(indices):
        indices = node.call("Cast", indices, to=_INT64)
    indices = from_the_start(node, indices, depth)
    places = np.arange(depth, dtype=dtype_of(indices))
    places = places.reshape([-1 if item == axis else 1 for item in range(rank)])
    hit = node.call("Equal", node.call("Unsqueeze", indices, np.array([axis])), places)
    off, on = (node.call("Gather", values, np.array(index)) for index in (0, 1))
    return node.call("Where", hit, on, off)


_INT64 = 7


@converts("Compress", "NonZero", "Unique")
def _of_open_size(node: OnnxNode) -> Value:
    """Known inputs are evaluated; for others, only a condition of Compress may be known."""
    if node.operator != "Compress":
        raise node.needed(0, "elements")
    chosen = np.flatnonzero(node.known(1, "condition"))
    axis, value = node.attribute("axis"), node.value(0)
    if axis is None:
        value, axis = node.call("Reshape", value, np.array([-1])), 0
    chosen = chosen[chosen < shape_of(value)[axis]]
    return node.call("Gather", value, chosen, axis=axis)


@converts("ReverseSequence")
def _reverse_sequence(node: OnnxNode) -> Value:
    """Each sequence of a batch backwards, up to its own length."""
    shape = node.shape()
    time, batch = int(node.attribute("time_axis", 0)), int(node.attribute("batch_axis", 1))
    steps = np.arange(shape[time], dtype=np.int64)
    lengths = node.call("Unsqueeze", node.value(1), np.array([0]))
    mirrored = node.call("Sub", node.call("Sub", lengths, np.array(1)), steps[:, None])
    inside = node.call("Less", steps[:, None], lengths)
    source = node.call("Where", inside, mirrored, steps[:, None])
    if batch < time:
        source = node.call("Transpose", source)
    aligned = [size if axis in (time, batch) else 1 for axis, size in enumerate(shape)]
    indices = node.call("Expand", node.call("Reshape", source, np.array(aligned)), np.array(shape))
    return node.call("GatherElements", node.value(0), indices, axis=time)


@converts("TensorScatter")
def _tensor_scatter(node: OnnxNode) -> Value:
    """A cache with new entries written from a place of each sequence on."""
    shape = node.shape()
    starts = node.value(2) if node.has(2) else np.zeros(shape[0], np.int64)
    return node.emit_te(
        _written,
        *map(node.expr, (node.value(0), node.value(1), starts)),
        axis=int(node.attribute("axis", -2)) % len(shape),
        circular=node.attribute("mode", "linear") == "circular",
        name="tensor_scatter",
    )


def _written(cache: Any, update: Any, starts: Any, axis: int, circular: bool) -> Any:
    from tvm import te, tirx

    size, count = int(cache.shape[axis]), int(update.shape[axis])

    def element(*axes: Any) -> Any:
        place = axes[axis] - starts[axes[0]]
        if circular:
            place = te.indexmod(place + size, size)
        inside = tirx.all(place >= 0, place < count)
        source = [*axes[:axis], te.max(te.min(place, count - 1), 0), *axes[axis + 1 :]]
        return tirx.if_then_else(inside, update(*source), cache(*axes))

    return te.compute(cache.shape, element, name="tensor_scatter")
