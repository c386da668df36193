"""If, Loop and Scan, written out: a library has no branches and loops of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.shapes import reshaped, sliced
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.scope import nodes_of
from tunekit.onnx_frontend.values import Value, dtype_of, is_known, shape_of

# Nodes that a loop may become. Beyond it, compiling takes minutes.
_MOST_NODES = 20_000
_COUNTLESS = 1 << 31


@converts("If")
def _if(node: OnnxNode) -> Value:
    """The branch of a known condition; else both, and a choice between their results."""
    then, other = node.attribute("then_branch"), node.attribute("else_branch")
    condition = node.value(0)
    if isinstance(condition, np.ndarray):
        return tuple(node.run_graph(then if condition.all() else other, []))
    results = zip(node.run_graph(then, []), node.run_graph(other, []), strict=True)
    return tuple(_chosen(node, condition, yes, no, 0) for yes, no in results)


def _chosen(node: OnnxNode, condition: Value, yes: Value, no: Value, index: int) -> Value:
    """One of two values of the same form, by a condition (that input of the node)."""
    if yes is no:
        return yes
    if isinstance(yes, list) and isinstance(no, list) and len(yes) == len(no):
        pairs = zip(yes, no, strict=True)
        return [_chosen(node, condition, *pair, index) for pair in pairs]
    if _form(yes) != _form(no) or _form(yes) is None:
        problem = node.needed(index, "condition")
        raise Unsupported(
            f"{problem.reason}, and what it chooses between has different shapes or types",
            hint=problem.hint,
            inputs=problem.inputs,
        )
    return node.call("Where", reshaped(node, condition, []), yes, no)


def _form(value: Value) -> tuple[tuple[int, ...], str] | None:
    if value is None or isinstance(value, list):
        return None
    return shape_of(value), dtype_of(value)


@converts("Loop")
def _loop(node: OnnxNode) -> Value:
    """Written out. A condition of run time keeps the states as they were once it is false."""
    body = node.attribute("body")
    states = list(node.inputs[2:])
    condition: Value = np.array(True) if node.value(1) is None else node.value(1)
    most = int(node.known(0, "trip count").reshape(-1)[0]) if node.has(0) else None
    rows: list[list[Value]] = []
    for step in itertools.count():
        if step == most or (isinstance(condition, np.ndarray) and not condition.all()):
            break
        _require_short(body, step, most, condition)
        go_on, *results = node.run_graph(body, [np.array(step), condition, *states])
        new, scanned = results[: len(states)], results[len(states) :]
        if isinstance(condition, np.ndarray):
            states, condition = new, go_on
        else:
            if scanned:
                raise node.needed(1, "number of steps")
            states = [_chosen(node, condition, *pair, 1) for pair in zip(new, states, strict=True)]
            condition = node.call("And", *(reshaped(node, c, []) for c in (condition, go_on)))
        rows.append(scanned)
    scans = list(body.output)[1 + len(states) :]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(scans)
    return (
        *states,
        *(_stacked(node, column, 0, out) for column, out in zip(columns, scans, strict=True)),
    )


def _require_short(body: onnx.GraphProto, step: int, most: int | None, condition: Value) -> None:
    nodes = sum(1 for _ in nodes_of(body))
    # A number beyond any is how exporters write "as long as the condition holds".
    steps = step if most is None or most > _COUNTLESS else most
    if steps * nodes > _MOST_NODES:
        raise Unsupported(
            f"a loop of {nodes} nodes that runs {steps} times or more would be written out",
            hint="export the model with fewer steps, or leave the loop out of it",
        )
    if most is None and not is_known(condition):
        raise Unsupported(
            "it has no trip count, and its condition is known at run time only",
            hint="export the model with a largest number of steps",
        )


def _stacked(
    node: OnnxNode, parts: Sequence[Value], axis: int, declared: onnx.ValueInfoProto
) -> Value:
    """Tensors along a new axis; without any, of the declared shape."""
    if not parts:
        tensor = declared.type.tensor_type
        sizes = [dim.dim_value for dim in tensor.shape.dim]
        sizes.insert(axis, 0)
        return np.zeros(sizes, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    place = np.array([axis if axis >= 0 else axis + len(shape_of(parts[0])) + 1])
    return node.call(
        "Concat", *(node.call("Unsqueeze", p, place) for p in parts), axis=int(place[0])
    )


@converts("Scan")
def _scan(node: OnnxNode) -> Value:
    """Written out; each sequence of a batch by itself before opset 9."""
    if node.version >= 9:
        return tuple(_scanned(node, node.inputs, "scan_input_directions"))
    values = node.inputs[1:]
    if node.has(0) and not _are_full(node):
        raise node.needed(0, "lengths of the sequences")
    batch = shape_of(values[0])[0]
    results = [
        _scanned(node, [_element(node, value, 0, index) for value in values], "directions")
        for index in range(batch)
    ]
    info = onnx.ValueInfoProto()
    return tuple(_stacked(node, parts, 0, info) for parts in zip(*results, strict=True))


def _are_full(node: OnnxNode) -> bool:
    lengths, count = node.value(0), int(node.attribute("num_scan_inputs"))
    steps = shape_of(node.inputs[-count])[1]
    return isinstance(lengths, np.ndarray) and bool((lengths == steps).all())


def _scanned(node: OnnxNode, values: Sequence[Value], directions: str) -> list[Value]:
    body, count = node.attribute("body"), int(node.attribute("num_scan_inputs"))
    states, inputs = list(values[:-count]), list(values[-count:])
    axes = [
        axis % len(shape_of(value))
        for axis, value in zip(_numbers(node, "scan_input_axes", count), inputs, strict=True)
    ]
    backward = _numbers(node, directions, count)
    steps = shape_of(inputs[0])[axes[0]]
    _require_short(body, steps, steps, np.array(True))
    rows = []
    for step in range(steps):
        taken = [
            _element(node, value, axis, steps - 1 - step if reverse else step)
            for value, axis, reverse in zip(inputs, axes, backward, strict=True)
        ]
        results = node.run_graph(body, [*states, *taken])
        states = results[: len(states)]
        rows.append(results[len(states) :])
    outs = list(body.output)[len(states) :]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in outs]
    reverse_outs = _numbers(node, "scan_output_directions", len(outs))
    out_axes = _numbers(node, "scan_output_axes", len(outs))
    return [
        *states,
        *(
            _stacked(node, column[::-1] if reverse else column, axis, out)
            for column, reverse, axis, out in zip(
                columns, reverse_outs, out_axes, outs, strict=True
            )
        ),
    ]


def _numbers(node: OnnxNode, name: str, count: int) -> list[int]:
    return [int(number) for number in node.attribute(name) or [0] * count]


def _element(node: OnnxNode, value: Value, axis: int, index: int) -> Value:
    """A tensor without an axis, at a place of it."""
    shape = shape_of(value)
    part = sliced(node, value, {axis: range(index, index + 1)}, shape)
    return reshaped(node, part, [*shape[:axis], *shape[axis + 1 :]])


@converts(
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)
def _random(node: OnnxNode) -> Any:
    raise Unsupported(
        "it draws random numbers, so that there is no right result to compare with",
        hint="make the random numbers an input of the model, or export it in inference mode",
    )
