"""What an ONNX graph does with its inputs, as far as that says what they may hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from tunekit.models.samples import Use
from tunekit.processes.quiet import quiet

_MOVING = frozenset(
    {
        *("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose"),
        *("Expand", "Slice", "Concat", "Split", "Tile", "Add"),
    }
)
"""Operators whose result holds the values of their input, at other places or shifted."""
_KEEPING_SIGN = frozenset(
    {
        *("MatMul", "Gemm", "Mul", "Div", "Conv", "Sum"),
        *("ReduceSum", "ReduceMean", "ReduceMax", "MaxPool", "AveragePool", "GlobalAveragePool"),
    }
)
"""Operators whose result is not negative where none of their inputs is."""
_POSITIVE = frozenset({"Log", "Sqrt"})
_INDEXED = {
    "Gather": (0, 1, 0),
    "GatherElements": (0, 1, 0),
    "ScatterElements": (0, 1, 0),
}
"""Operators with the positions of the table and the indices, and the default of `axis`."""
_EMBEDDED = ((0, 2), (1, 4))
"""EmbedLayerNormalization's ids with their tables: words, segments."""

_COUNTED = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (0, 4, 0, 1)),
    "ReverseSequence": (0, 1, 0, 1),
    "RoiAlign": (0, 2, 0, 0),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), (0, 1, 1, 0)),
}
"""Operators with a tensor, integers that count along an axis of it, the axis, and 1 where they may
be its size."""


def uses_of_inputs(model: onnx.ModelProto) -> dict[str, Use]:
    """How the graph uses each of its inputs; those of which nothing is known are left out."""
    if model.functions:
        try:
            with quiet():
                model = onnx.inliner.inline_local_functions(model)
        except Exception:  # noqa: BLE001 - optional: it is the import that says what is wrong
            return {}
    return _Graph(model).uses()


class _Graph:
    """The nodes of a model's main graph, walked once from inputs to outputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._weights[node.output[0]] = node.attribute[0].t
        # From a value to the input whose values it holds, and how far they are shifted at most.
        self._moved = {
            value.name: (value.name, 0)
            for value in model.graph.input
            if value.name not in self._weights
        }
        self._signed = {name: name for name in self._moved}
        self._sizes: dict[str, list[int]] = {}
        self._positive: set[str] = set()

    def uses(self) -> dict[str, Use]:
        for node in self._model.graph.node:
            for indices, size in self._tables(node):
                self._note_table(indices, size)
            self._follow(node)
        names = [*self._sizes, *self._positive]
        return {
            name: Use(min(self._sizes.get(name, []), default=None), name in self._positive)
            for name in names
        }

    def _note_table(self, indices: str, size: int | None) -> None:
        if indices in self._moved and size is not None:
            name, shift = self._moved[indices]
            self._sizes.setdefault(name, []).append(size - shift)

    def _follow(self, node: onnx.NodeProto) -> None:
        """Where the values, and the signs, of inputs go."""
        carriers = [name for name in node.input if name in self._moved]
        if node.op_type in _MOVING and len(carriers) == 1:
            name, shift = self._moved[carriers[0]]
            if node.op_type == "Add":
                shift += self._largest([other for other in node.input if other != carriers[0]])
            self._moved.update(dict.fromkeys(node.output, (name, shift)))
        signed = [name for name in node.input if name in self._signed]
        if not signed:
            return
        if node.op_type in _POSITIVE or (node.op_type == "Pow" and self._is_root(node)):
            self._positive.add(self._signed[signed[0]])
        elif node.op_type in _MOVING | _KEEPING_SIGN and all(
            name in self._signed or self._is_positive(name) for name in node.input if name
        ):
            self._signed.update(dict.fromkeys(node.output, self._signed[signed[0]]))

    def _tables(self, node: onnx.NodeProto) -> Iterator[tuple[str, int | None]]:
        """Names of indices, with the size of what they index."""
        attributes = {item.name: item for item in node.attribute}
        if node.op_type in _INDEXED:
            table, indices, axis = _INDEXED[node.op_type]
            if "axis" in attributes:
                axis = attributes["axis"].i
            shape = self._shape(node.input[table])
            if shape and -len(shape) <= axis < len(shape):
                yield node.input[indices], shape[axis] or None
        elif node.op_type == "OneHot" and node.input[1] in self._weights:
            yield node.input[0], int(self._array(node.input[1]).reshape(-1)[0])
        elif node.op_type == "EmbedLayerNormalization":
            for ids, table in _EMBEDDED:
                shape = self._shape(node.input[table]) if table < len(node.input) else None
                if shape:
                    yield node.input[ids], shape[0] or None
        elif node.op_type in ("GatherND", "ScatterND"):
            batch = attributes["batch_dims"].i if "batch_dims" in attributes else 0
            shape, places = (self._shape(name) or () for name in node.input[:2])
            sizes = shape[batch:][: places[-1]] if places else ()
            yield node.input[1], min(sizes, default=0) or None
        elif node.op_type in _COUNTED:
            data, indices, axis, more = _COUNTED[node.op_type]
            if node.op_type == "ReverseSequence" and "time_axis" in attributes:
                axis = attributes["time_axis"].i
            if "layout" in attributes:
                axis = attributes["layout"].i
            shape = self._shape(node.input[data]) or ()
            if indices < len(node.input) and axis < len(shape) and shape[axis]:
                yield node.input[indices], shape[axis] + more

    def _shape(self, name: str) -> tuple[int, ...] | None:
        if name in self._weights:
            return tuple(self._weights[name].dims)
        return self._inferred.get(name)

    @cached_property
    def _inferred(self) -> dict[str, tuple[int, ...]]:
        """Shapes that are no constants', with 0 for sizes that are open."""
        try:
            with quiet():
                graph = onnx.shape_inference.infer_shapes(self._model).graph
        except Exception:  # noqa: BLE001 - optional
            graph = self._model.graph
        return {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info)
            if value.type.tensor_type.HasField("shape")
        }

    def _array(self, name: str) -> Any:
        return numpy_helper.to_array(self._weights[name])

    def _largest(self, names: list[str]) -> int:
        known = [self._array(name) for name in names if name in self._weights]
        return max((int(array.max()) for array in known if array.size), default=0)

    def _is_positive(self, name: str) -> bool:
        if name not in self._weights:
            return False
        array = self._array(name)
        return array.dtype.kind not in "fiu" or bool((array >= 0).all())

    def _is_root(self, node: onnx.NodeProto) -> bool:
        if node.input[1] not in self._weights:
            return False
        exponent = self._array(node.input[1]).astype(np.float64)
        return not bool((exponent == np.round(exponent)).all())
