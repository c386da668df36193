"""LSTM, GRU and plain recurrent layers: one product for all inputs and one kernel over time.

A layer whose states are projected (`proj_size`) is written out step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm.relax import op

from tunekit.frontends.recurrence import Activation, Cell, Layer, emit_layer
from tunekit.frontends.recurrence.cells import Kind
from tunekit.torch_frontend.converters.linear import matmul
from tunekit.torch_frontend.graph import Graph, dtype_of, known, shape_of
from tunekit.torch_frontend.table import converts

Step = Callable[[Graph, Any, list[Any], "_Weights"], list[Any]]
"""From the products of the input, and the states, to the states of the next step."""


class _Weights:
    """Of one direction of one layer, in torch's order: input, state, biases, projection."""

    def __init__(self, graph: Graph, parts: Sequence[Any], has_biases: bool) -> None:
        self.input = graph.permute(parts[0], (1, 0))
        self.state = graph.permute(parts[1], (1, 0))
        self.input_bias: Any = parts[2] if has_biases else None
        self.state_bias: Any = parts[3] if has_biases else None
        rest = parts[4:] if has_biases else parts[2:]
        self.projection = graph.permute(rest[0], (1, 0)) if rest else None


@converts("lstm.input")
def _lstm(graph: Graph, input: Any, hx: Sequence[Any], **options: Any) -> Any:  # noqa: A002
    outputs, states = _layers(
        graph,
        input,
        list(hx),
        _lstm_step,
        _cell("LSTM", "ifco", "Sigmoid", "Tanh", "Tanh"),
        **options,
    )
    return [outputs, *states]


@converts("gru.input")
def _gru(graph: Graph, input: Any, hx: Any, **options: Any) -> Any:  # noqa: A002
    outputs, states = _layers(
        graph, input, [hx], _gru_step, _cell("GRU", "rzh", "Sigmoid", "Tanh"), **options
    )
    return [outputs, *states]


@converts("rnn_tanh.input")
def _rnn_tanh(graph: Graph, input: Any, hx: Any, **options: Any) -> Any:  # noqa: A002
    outputs, states = _layers(
        graph, input, [hx], _plain_step(op.tanh), _cell("RNN", "h", "Tanh"), **options
    )
    return [outputs, *states]


@converts("rnn_relu.input")
def _rnn_relu(graph: Graph, input: Any, hx: Any, **options: Any) -> Any:  # noqa: A002
    outputs, states = _layers(
        graph, input, [hx], _plain_step(op.nn.relu), _cell("RNN", "h", "Relu"), **options
    )
    return [outputs, *states]


def _layers(
    graph: Graph,
    data: Any,
    initial: list[Any],
    step: Step,
    cell: Cell,
    *,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    **_: Any,
) -> tuple[Any, list[Any]]:
    """All layers, both directions: the outputs of the last layer and the final states."""
    directions = 2 if bidirectional else 1
    size = len(params) // (num_layers * directions)
    is_single = len(shape_of(data)) == 2
    if is_single:
        data = graph.emit(op.expand_dims(data, [1]))
        initial = [graph.emit(op.expand_dims(state, [1])) for state in initial]
    elif batch_first:
        data = graph.permute(data, (1, 0, 2))
    finals: list[list[Any]] = [[] for _ in initial]
    for layer in range(num_layers):
        first = layer * directions
        parts = [
            params[number * size : (number + 1) * size] for number in range(len(params) // size)
        ]
        chosen = parts[first : first + directions]
        starts = [graph.slice(state, 0, first, first + directions) for state in initial]
        # The kernel of a loop computes in float32.
        if size > (4 if has_biases else 2) or dtype_of(data) == "float64":
            data, states = _written_out(graph, data, starts, chosen, has_biases, step)
        else:
            data, states = _looped(graph, data, starts, chosen, has_biases, cell)
        for kept, state in zip(finals, states, strict=True):
            kept.append(state)
    stacked = [_joined(graph, states, 0) for states in finals]
    if is_single:
        stacked = [graph.emit(op.squeeze(state, [1])) for state in stacked]
        return graph.emit(op.squeeze(data, [1])), stacked
    return graph.permute(data, (1, 0, 2)) if batch_first else data, stacked


def _cell(kind: Kind, gates: str, *activations: str) -> Cell:
    functions = tuple(Activation(name) for name in activations)
    return Cell(kind, gates, functions, reset_after=kind == "GRU")


def _looped(
    graph: Graph,
    data: Any,
    starts: list[Any],
    parts: Sequence[Sequence[Any]],
    has_biases: bool,
    cell: Cell,
) -> tuple[Any, list[Any]]:
    """A layer's outputs, directions side by side, and final states (directions, batch, units)."""
    weights = [_together(graph, tensors) for tensors in zip(*parts, strict=True)]
    layer = Layer(
        weights[0],
        weights[1],
        weights[2] if has_biases else None,
        weights[3] if has_biases else None,
        hidden=starts[0],
        cell=starts[1] if len(starts) > 1 else None,
        backward=(False, True)[: len(parts)],
    )
    outputs, *states = emit_layer(graph.builder, cell, layer, data)
    steps, directions, batch, units = shape_of(outputs)
    outputs = graph.permute(outputs, (0, 2, 1, 3))
    return graph.reshape(outputs, (steps, batch, directions * units)), states


def _together(graph: Graph, tensors: Sequence[Any]) -> Any:
    """The tensors of all directions along a new first axis."""
    arrays = [known(tensor) for tensor in tensors]
    if all(array is not None for array in arrays):
        return graph.const(np.stack(arrays), dtype_of(tensors[0]))  # type: ignore[arg-type]
    return _stacked(graph, tensors)


def _joined(graph: Graph, parts: Sequence[Any], axis: int) -> Any:
    return graph.emit(op.concat(list(parts), axis)) if len(parts) > 1 else parts[0]


def _written_out(
    graph: Graph,
    data: Any,
    starts: list[Any],
    parts: Sequence[Sequence[Any]],
    has_biases: bool,
    step: Step,
) -> tuple[Any, list[Any]]:
    """The same, step by step."""
    outputs, finals = [], []
    for direction, tensors in enumerate(parts):
        states = [_row(graph, state, direction) for state in starts]
        weights = _Weights(graph, tensors, has_biases)
        output, states = _direction(graph, data, states, weights, step, direction == 1)
        outputs.append(output)
        finals.append(states)
    states = [_stacked(graph, states) for states in zip(*finals, strict=True)]
    return _joined(graph, outputs, 2), states


def _direction(
    graph: Graph, data: Any, states: list[Any], weights: _Weights, step: Step, backwards: bool
) -> tuple[Any, list[Any]]:
    steps, batch, width = shape_of(data)
    rows = graph.reshape(data, (steps * batch, width))
    products = matmul(graph, rows, weights.input)
    if weights.input_bias is not None:
        products = graph.emit(op.add(products, weights.input_bias))
    products = graph.reshape(products, (steps, batch, shape_of(products)[-1]))
    outputs: list[Any] = [None] * steps
    for time in reversed(range(steps)) if backwards else range(steps):
        states = step(graph, _row(graph, products, time), states, weights)
        outputs[time] = states[0]
    return _stacked(graph, outputs), states


def _row(graph: Graph, data: Any, place: int) -> Any:
    return graph.emit(op.squeeze(graph.slice(data, 0, place, place + 1), [0]))


def _stacked(graph: Graph, rows: Sequence[Any]) -> Any:
    wide = [graph.emit(op.expand_dims(row, [0])) for row in rows]
    return graph.emit(op.concat(wide, 0)) if len(wide) > 1 else wide[0]


def _gates(graph: Graph, data: Any, count: int) -> list[Any]:
    width = shape_of(data)[-1] // count
    return [graph.slice(data, 1, place * width, (place + 1) * width) for place in range(count)]


def _state_product(graph: Graph, state: Any, weights: _Weights) -> Any:
    product = matmul(graph, state, weights.state)
    if weights.state_bias is None:
        return product
    return graph.emit(op.add(product, weights.state_bias))


def _lstm_step(graph: Graph, product: Any, states: list[Any], weights: _Weights) -> list[Any]:
    hidden, cell = states
    total = graph.emit(op.add(product, _state_product(graph, hidden, weights)))
    enter, forget, new, leave = _gates(graph, total, 4)
    kept = op.multiply(op.sigmoid(forget), cell)
    cell = graph.emit(op.add(kept, op.multiply(op.sigmoid(enter), op.tanh(new))))
    hidden = graph.emit(op.multiply(op.sigmoid(leave), op.tanh(cell)))
    if weights.projection is not None:
        hidden = matmul(graph, hidden, weights.projection)
    return [hidden, cell]


def _gru_step(graph: Graph, product: Any, states: list[Any], weights: _Weights) -> list[Any]:
    [hidden] = states
    reset, update, new = _gates(graph, product, 3)
    old_reset, old_update, old_new = _gates(graph, _state_product(graph, hidden, weights), 3)
    r = op.sigmoid(op.add(reset, old_reset))
    z = graph.emit(op.sigmoid(op.add(update, old_update)))
    n = op.tanh(op.add(new, op.multiply(r, old_new)))
    kept = op.multiply(z, hidden)
    one = graph.const(1, dtype_of(hidden))
    return [graph.emit(op.add(op.multiply(op.subtract(one, z), n), kept))]


def _plain_step(activation: Callable[[Any], Any]) -> Step:
    def step(graph: Graph, product: Any, states: list[Any], weights: _Weights) -> list[Any]:
        total = op.add(product, _state_product(graph, states[0], weights))
        return [graph.emit(activation(total))]

    return step
