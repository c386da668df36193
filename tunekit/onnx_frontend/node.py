"""What a converter sees of a node: its inputs as values, its attributes, and what it may emit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.values import Array, Value, dtype_of, shape_of

if TYPE_CHECKING:
    from tunekit.onnx_frontend.scope import Scope

OWN_OPSET = 21
"""The opset of the operators that converters are written with."""

_DTYPES = {
    kind: str(onnx.helper.tensor_dtype_to_np_dtype(kind))
    for kind in onnx.TensorProto.DataType.values()
    if kind not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
}


class Emitter(Protocol):
    """What the interpretation of a graph offers to a node."""

    builder: relax.BlockBuilder
    is_single: bool

    def expr(self, value: Value) -> Any:
        """A tensor as a Relax expression."""

    def call(
        self, operator: str, inputs: Sequence[Value], outputs: int, attributes: Mapping[str, Any]
    ) -> Value:
        """An operator applied to values."""

    def run_graph(
        self, graph: onnx.GraphProto, inputs: Sequence[Value], scope: Scope
    ) -> list[Value]:
        """The outputs of a graph within the graph."""

    def value_needed(self, value: Value, what: str) -> Unsupported:
        """Why a graph that depends on numbers known at run time only cannot be converted."""


class OnnxNode:
    """An operator that is applied to values.

    Attributes:
        operator: its name.
        version: of the operator set that defined it as it is here (7 for an Add of opset 9).
        inputs: None for one that is left out; trailing ones may be missing.
        outputs: for each output whether it is used.
        attributes: by name, in Python's types; a graph stays a `GraphProto`.
        scope: what names of graphs among the attributes stand for.
    """

    def __init__(
        self,
        emitter: Emitter,
        operator: str,
        version: int,
        inputs: Sequence[Value],
        outputs: Sequence[bool],
        attributes: Mapping[str, Any],
        scope: Scope,
    ) -> None:
        self._emitter = emitter
        self.operator = operator
        self.version = version
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.attributes = attributes
        self.scope = scope

    # What it is given.

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute; bytes as text."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def dtype_attribute(self, name: str, default: str) -> str:
        """An attribute that is a number of ONNX's data types, in numpy's names."""
        kind = self.attributes.get(name)
        if not kind:
            return default
        if kind not in _DTYPES:
            raise Unsupported(f"its {name} is {onnx.TensorProto.DataType.Name(kind)}")
        dtype = _DTYPES[kind]
        return "float32" if self._emitter.is_single and "float" in dtype else dtype

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """An input, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def tensor(self, index: int = 0) -> Any:
        """An input as a Relax expression."""
        return self.expr(self.inputs[index])

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of an input."""
        return shape_of(self.inputs[index])

    def dtype(self, index: int = 0) -> str:
        """The dtype of an input."""
        return dtype_of(self.inputs[index])

    def known(self, index: int, what: str) -> Array:
        """The numbers of an input that the rest of the graph depends on, called `what`.

        Raises:
            Unsupported: they are known at run time only; says which of the model's inputs
                they come from.
        """
        value = self.inputs[index]
        if isinstance(value, np.ndarray):
            return value
        raise self.needed(index, what)

    def needed(self, index: int, what: str) -> Unsupported:
        """Why the node cannot be converted: `what` depends on the values of an input."""
        return self._emitter.value_needed(self.inputs[index], what)

    def sizes(self, index: int, name: str) -> list[int] | None:
        """Integers that older opsets have as an attribute and newer ones as an input."""
        if name in self.attributes:
            value = self.attributes[name]
            return [int(item) for item in value] if isinstance(value, Sequence) else [int(value)]
        if not self.has(index):
            return None
        return [int(item) for item in self.known(index, name).reshape(-1)]

    def axes(self, index: int, rank: int, name: str = "axes") -> list[int] | None:
        """Like `sizes`, counted from the front."""
        axes = self.sizes(index, name)
        return None if axes is None else [axis % rank for axis in axes]

    def binding(self, value: Value) -> Any:
        """The expression that a variable stands for; None for an input of the model."""
        return self._emitter.builder.lookup_binding(value)

    # What it may emit.

    @property
    def builder(self) -> relax.BlockBuilder:
        """Of the function that is being written."""
        return self._emitter.builder

    def expr(self, value: Value) -> Any:
        """A tensor as a Relax expression."""
        return self._emitter.expr(value)

    def scalar(self, number: float, dtype: str) -> Any:
        """A constant of no axes."""
        return relax.const(np.asarray(number, dtype), dtype)

    def emit(self, expr: Any) -> Any:
        """Binds a Relax expression to a variable."""
        return self._emitter.builder.emit(expr)

    def emit_te(
        self, function: Callable[..., Any], *tensors: Value, name: str, **keywords: Any
    ) -> Any:
        """Binds a kernel made by a function of tensor expressions.

        Args:
            function: takes the tensors, then the keywords.
            tensors: values, also in lists.
            name: of the kernel.
            keywords: anything.
        """
        return self._emitter.builder.emit_te(
            lambda *inputs: function(*inputs, **keywords),
            *[self._as_argument(item) for item in tensors],
            primfunc_name_hint=name,
        )

    def call(self, operator: str, *inputs: Value, outputs: int = 1, **attributes: Any) -> Value:
        """An ONNX operator, of opset 21 or of com.microsoft, on values; known inputs are folded."""
        values = [np.asarray(item) if isinstance(item, np.generic) else item for item in inputs]
        return self._emitter.call(operator, values, outputs, attributes)

    def run_graph(self, graph: onnx.GraphProto, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a graph among the attributes, called with these inputs."""
        return self._emitter.run_graph(graph, inputs, self.scope)

    def _as_argument(self, item: Any) -> Any:
        if isinstance(item, list | tuple):
            return [self._as_argument(part) for part in item]
        return self.expr(item) if isinstance(item, np.ndarray) else item
