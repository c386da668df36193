"""LSTM, GRU and RNN."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.frontends.recurrence import ACTIVATIONS, Activation, Cell, Layer, emit_layer
from tunekit.frontends.recurrence.cells import Kind
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.quantization import centred, dynamically_quantized
from tunekit.onnx_frontend.operators.shapes import reshaped, sliced
from tunekit.onnx_frontend.registry import MICROSOFT, converts
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of

_GATES: dict[str, tuple[Kind, str, tuple[str, ...]]] = {
    "GRU": ("GRU", "zrh", ("Sigmoid", "Tanh")),
    "LSTM": ("LSTM", "iofc", ("Sigmoid", "Tanh", "Tanh")),
    "RNN": ("RNN", "h", ("Tanh",)),
}
_BACKWARD = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_FLOAT, _INT32 = 1, 6
# Where the initial states and the peepholes are among the inputs.
_STATES = {5: "hidden", 6: "cell"}
_PEEPHOLES = 7


@converts("LSTM", "GRU", "RNN")
def _recurrent(node: OnnxNode) -> Value:
    """Each direction of its own functions is a layer of its own."""
    if node.attribute("output_sequence") is not None and node.version < 7:
        raise Unsupported("it is of an operator set before 7")
    dtype = node.dtype()
    batch_first = bool(node.attribute("layout", 0))
    inputs = _swapped(node, node.value(0)) if batch_first else node.value(0)
    results = _directions(node, _cells(node), _layer(node, batch_first), inputs)
    if dtype == "float16":
        results = [node.call("Cast", value, to=_FLOAT16) for value in results]
    if batch_first:
        states, *rest = results
        states = node.call("Transpose", states, perm=[2, 0, 1, 3])
        results = [states, *(_swapped(node, value) for value in rest)]
    return tuple(results)


_FLOAT16 = 10


@converts("DynamicQuantizeLSTM", domain=MICROSOFT)
def _dynamic_quantize_lstm(node: OnnxNode) -> Value:
    """An LSTM whose inputs, and whose state in each step, are rounded to 8 bits in their range."""
    layer = replace(
        _layer(node, batch_first=False),
        weights=_dequantized(node, 1, 8),
        recurrent=_dequantized(node, 2, 10),
    )
    data, scale, zero = dynamically_quantized(node, node.value(0))
    inputs = node.call("Mul", centred(node, data, zero), scale)
    cells = [replace(cell, rounds_state=True) for cell in _cells(node)]
    return tuple(_directions(node, cells, layer, inputs))


def _dequantized(node: OnnxNode, index: int, scale: int) -> Value:
    """Weights `[D, N, G * H]` as `[D, G * H, N]`; the scale, of each direction or also of each
    column, and the zero point are among the inputs."""
    directions = node.shape(index)[0]
    aligned = [reshaped(node, node.value(at), [directions, 1, -1]) for at in (scale, scale + 1)]
    real = node.call("Mul", centred(node, node.value(index), aligned[1]), aligned[0])
    return node.call("Transpose", real, perm=[0, 2, 1])


def _directions(node: OnnxNode, cells: list[Cell], layer: Layer, inputs: Value) -> list[Any]:
    """The results of a layer whose directions have these cells."""
    if len(set(cells)) == 1:
        return _emitted(node, cells[0], layer, inputs)
    parts = [
        _emitted(node, cell, _direction(node, layer, index), inputs)
        for index, cell in enumerate(cells)
    ]
    return [
        node.call("Concat", *values, axis=1 if index == 0 else 0)
        for index, values in enumerate(zip(*parts, strict=True))
    ]


def _emitted(node: OnnxNode, cell: Cell, layer: Layer, inputs: Value) -> list[Any]:
    exprs = {
        name: value if name == "backward" or value is None else node.expr(value)
        for name, value in vars(layer).items()
    }
    return emit_layer(node.builder, cell, Layer(**exprs), node.expr(_wide(node, inputs)))


def _cells(node: OnnxNode) -> list[Cell]:
    """The cell of each direction."""
    kind, gates, defaults = _GATES[node.operator.removeprefix("DynamicQuantize")]
    directions = len(_BACKWARD[node.attribute("direction", "forward")])
    names = [
        item.decode() if isinstance(item, bytes) else item
        for item in node.attribute("activations") or defaults * directions
    ]
    activations = _activations(
        names, node.attribute("activation_alpha"), node.attribute("activation_beta")
    )
    clip = node.attribute("clip")
    count = len(defaults)
    return [
        Cell(
            kind,
            gates,
            tuple(activations[index * count : (index + 1) * count]),
            reset_after=kind == "GRU" and bool(node.attribute("linear_before_reset", 0)),
            coupled=kind == "LSTM" and bool(node.attribute("input_forget", 0)),
            clip=float(clip) if clip else None,
        )
        for index in range(directions)
    ]


def _activations(names: list[str], alphas: Any, betas: Any) -> list[Activation]:
    """Parameters are given in order to those functions that take one."""
    known = {name.lower(): name for name in ACTIVATIONS}
    left = [list(alphas or []), list(betas or [])]
    result = []
    for name in names:
        if name.lower() not in known:
            raise Unsupported(f"its activation {name} is not known")
        standard = known[name.lower()]
        count = len(ACTIVATIONS[standard]) - 1
        result.append(
            Activation(standard, *(float(some.pop(0)) if some else None for some in left[:count]))
        )
    return result


def _layer(node: OnnxNode, batch_first: bool) -> Layer:
    bias = recurrent_bias = None
    if node.has(3):
        half = node.shape(3)[1] // 2
        both, shape = _wide(node, node.value(3)), node.shape(3)
        bias = sliced(node, both, {1: range(half)}, shape)
        recurrent_bias = sliced(node, both, {1: range(half, 2 * half)}, shape)
    states = {
        name: _wide(node, _swapped(node, node.value(index)) if batch_first else node.value(index))
        for index, name in _STATES.items()
        if node.has(index)
    }
    steps = node.shape()[1 if batch_first else 0]
    return Layer(
        _wide(node, node.value(1)),
        _wide(node, node.value(2)),
        bias,
        recurrent_bias,
        peepholes=_wide(node, node.value(_PEEPHOLES)) if node.has(_PEEPHOLES) else None,
        lengths=None if _are_full(node.value(4), steps) else node.value(4),
        backward=_BACKWARD[node.attribute("direction", "forward")],
        **states,
    )


def _are_full(lengths: Value, steps: int) -> bool:
    return lengths is None or (isinstance(lengths, np.ndarray) and bool((lengths >= steps).all()))


def _direction(node: OnnxNode, layer: Layer, index: int) -> Layer:
    """A layer of one of the directions."""
    parts = {
        name: sliced(node, value, {0: range(index, index + 1)}, shape_of(value))
        for name, value in vars(layer).items()
        if name not in ("lengths", "backward") and value is not None
    }
    return replace(layer, **parts, backward=layer.backward[index : index + 1])


def _wide(node: OnnxNode, value: Value) -> Value:
    """Half precision is computed in single precision."""
    return node.call("Cast", value, to=_FLOAT) if dtype_of(value) == "float16" else value


def _swapped(node: OnnxNode, value: Value) -> Value:
    """Its first two axes exchanged."""
    first, second, *rest = shape_of(value)
    if 1 in (first, second):
        return reshaped(node, value, [second, first, *rest])
    return node.call("Transpose", value, perm=[1, 0, *range(2, 2 + len(rest))])
