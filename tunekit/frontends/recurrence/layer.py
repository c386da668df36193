"""A recurrent layer in Relax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from tunekit.frontends.recurrence.cells import Cell
from tunekit.frontends.recurrence.kernel import Sizes, UnitBlocks, recurrence
from tunekit.ir.relax import constant_value, static_shape


@dataclass(frozen=True)
class Layer:
    """The tensors of a layer, as Relax expressions; D directions, G gates, H units.

    Attributes:
        weights: of the inputs, `[D, G * H, inputs]`.
        recurrent: of the state, `[D, G * H, H]`.
        bias: `[D, G * H]`, added to the product with the inputs.
        recurrent_bias: `[D, G * H]`, added to the product with the state.
        hidden: the state at the start, `[D, batch, H]`; zero where left out.
        cell: the cell of an LSTM at the start, likewise.
        peepholes: of an LSTM, `[D, 3 * H]`, for the gates i, o, f.
        lengths: of the sequences, `[batch]` integers; a state stays as it is after the end of its
            sequence and the output is zero there.
        backward: for each direction whether it runs from the end to the start.
    """

    weights: Any
    recurrent: Any
    bias: Any = None
    recurrent_bias: Any = None
    hidden: Any = None
    cell: Any = None
    peepholes: Any = None
    lengths: Any = None
    backward: tuple[bool, ...] = (False,)


def emit_layer(builder: relax.BlockBuilder, cell: Cell, layer: Layer, inputs: Any) -> list[Any]:
    """Binds a layer's results to variables, in a block of dataflow.

    Args:
        builder: within a function.
        cell: what a step computes.
        layer: weights and states, of the dtype of the inputs.
        inputs: `[steps, batch, inputs]`.

    Returns:
        The states of all steps `[steps, D, batch, H]`, the last state `[D, batch, H]` and, of an
        LSTM, the last cell `[D, batch, H]`.
    """
    steps, batch, _ = _shape(inputs)
    hidden = _shape(layer.recurrent)[2]
    sizes = Sizes(steps, layer.backward, batch, hidden)
    blocking = UnitBlocks.of(cell, sizes)
    tensors = {"projected": _projected(builder, cell, layer, inputs, blocking)}
    for phase, gates in enumerate(cell.phases):
        chosen = [cell.gates.index(gate) for gate in gates]
        tensors[f"weights{phase}"] = _packed(
            builder, layer.recurrent, len(cell.gates), chosen, blocking
        )
    optional = {
        "hidden": layer.hidden,
        "cell": layer.cell,
        "peepholes": _columns(builder, layer.peepholes, 3, [0, 1, 2], blocking),
        "inner": _inner_bias(builder, cell, layer, blocking),
        "lengths": layer.lengths,
    }
    tensors |= {name: value for name, value in optional.items() if value is not None}
    names = list(tensors)
    result = builder.emit_te(
        lambda *values: recurrence(cell, sizes, names, *values),
        *tensors.values(),
        primfunc_name_hint=cell.kind.lower(),
    )
    count = 3 if cell.kind == "LSTM" else 2
    return [builder.emit(relax.TupleGetItem(result, index)) for index in range(count)]


def _projected(
    builder: relax.BlockBuilder, cell: Cell, layer: Layer, inputs: Any, blocking: UnitBlocks
) -> Any:
    """The products of all inputs with the weights, `[steps, batch, D, blocks, G, units]`."""
    steps, batch, width = _shape(inputs)
    gates, directions = len(cell.gates), len(layer.backward)
    every = list(range(gates))
    packed = _packed(builder, layer.weights, gates, every, blocking)
    columns = directions * blocking.padded * gates
    matrix = builder.emit(relax.op.permute_dims(packed, [2, 0, 1, 3, 4]))
    matrix = builder.emit(relax.op.reshape(matrix, (width, columns)))
    rows = builder.emit(relax.op.reshape(inputs, (steps * batch, width)))
    product = builder.emit(relax.op.matmul(rows, matrix))
    for bias, chosen in (
        (layer.bias, every),
        (layer.recurrent_bias, _outside(cell)),
    ):
        if bias is not None:
            row = _packed(builder, bias, gates, every, blocking, chosen)
            row = builder.emit(relax.op.reshape(row, (1, columns)))
            product = builder.emit(relax.op.add(product, row))
    shape = (steps, batch, directions, blocking.blocks, gates, blocking.units)
    return builder.emit(relax.op.reshape(product, shape))


def _outside(cell: Cell) -> list[int]:
    """The gates whose recurrent bias may be added beforehand."""
    inside = "h" if cell.kind == "GRU" and cell.reset_after else ""
    return [index for index, gate in enumerate(cell.gates) if gate not in inside]


def _inner_bias(builder: relax.BlockBuilder, cell: Cell, layer: Layer, blocking: UnitBlocks) -> Any:
    gates = [index for index in range(len(cell.gates)) if index not in _outside(cell)]
    if not gates:
        return None
    return _columns(builder, layer.recurrent_bias, len(cell.gates), gates, blocking)


def _columns(
    builder: relax.BlockBuilder, values: Any, gates: int, chosen: list[int], blocking: UnitBlocks
) -> Any:
    """`[D, gates * H]` as `[D, chosen gates, padded]`."""
    if values is None:
        return None
    directions = _shape(values)[0]
    packed = _packed(builder, values, gates, chosen, blocking)
    ordered = builder.emit(relax.op.permute_dims(packed, [0, 2, 3, 1, 4]))
    return builder.emit(relax.op.reshape(ordered, (directions, len(chosen), blocking.padded)))


def _packed(
    builder: relax.BlockBuilder,
    values: Any,
    gates: int,
    order: list[int],
    blocking: UnitBlocks,
    kept: list[int] | None = None,
) -> Any:
    """`[D, gates * H, N]`, or without N, as `[D, blocks, N, gates in that order, units]`.

    Args:
        builder: within a function.
        values: the tensor.
        gates: that it has.
        order: the gates of the result.
        blocking: of the units; those that stick out are zero.
        kept: the gates that are not zero in the result; all where left out.
    """
    directions, rows, *rest = _shape(values)
    hidden, width = rows // gates, rest[0] if rest else 1
    units, blocks = blocking.units, blocking.blocks
    zero = [gate for gate in range(gates) if kept is not None and gate not in kept]
    array = constant_value(values)
    if array is not None:
        wide = np.zeros((directions, gates, blocking.padded, width), array.dtype)
        wide[:, :, :hidden] = array.reshape(directions, gates, hidden, width)
        wide[:, zero] = 0
        parts = wide[:, order].reshape(directions, len(order), blocks, units, width)
        return relax.const(np.ascontiguousarray(parts.transpose(0, 2, 4, 1, 3)))

    def pack(tensor: te.Tensor) -> te.Tensor:
        def element(d: Any, block: Any, n: Any, gate: Any, unit: Any) -> Any:
            index: Any = order[-1]
            for place in range(len(order) - 1):
                index = tirx.Select(gate == place, order[place], index)
            column = block * units + unit
            inside = column < hidden
            for other in zero:
                inside = tirx.And(inside, index != other)
            indices = (d, index * hidden + column, *([n] if rest else []))
            return tirx.if_then_else(inside, tensor(*indices), tirx.const(0, tensor.dtype))

        shape = (directions, blocks, width, len(order), units)
        return te.compute(shape, element, name="packed")

    return builder.emit_te(pack, values, primfunc_name_hint="packed")


def _shape(expr: Any) -> tuple[int, ...]:
    shape = static_shape(expr)
    assert shape is not None
    return shape
