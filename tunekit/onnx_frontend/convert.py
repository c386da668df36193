"""The interpretation of a graph: each node by its converter, its function body, or by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import onnx
import tvm
from onnx import helper
from tvm import relax

from tunekit.errors import ImportFailed, ValueNeeded
from tunekit.frontends.batch_norm import fold_batch_norm
from tunekit.frontends.problems import Unsupported
from tunekit.ir.relax import static_shape
from tunekit.onnx_frontend.definitions import (
    body_of,
    is_defined,
    require_heeded,
    resolved,
    version_of,
    with_defaults,
)
from tunekit.onnx_frontend.evaluate import evaluate
from tunekit.onnx_frontend.node import OWN_OPSET, OnnxNode
from tunekit.onnx_frontend.registry import MICROSOFT, converter_of, full_name
from tunekit.onnx_frontend.scope import (
    Scope,
    domain_of,
    initial_values,
    nodes_of,
    opsets_of,
)
from tunekit.onnx_frontend.values import Value, dtype_of, is_float, is_known
from tunekit.processes.quiet import abandon, quiet
from tunekit.wording import first_line

_HINT = (
    "export the model with other operators (another opset, or torch.onnx.export with dynamo=True "
    "or False), leave that part out, or give the torch model itself as the source"
)


def proto_to_relax(
    model: onnx.ModelProto,
    order: Sequence[str],
    name: str,
    *,
    computed_single: Sequence[str] | None = None,
) -> tvm.IRModule:
    """A Relax module of an ONNX model, folded.

    Args:
        model: every input has a fixed shape.
        order: the names of its inputs, in the order that `main` shall take them.
        name: of the model, for people.
        computed_single: the outputs' dtypes, where floating-point numbers of any width shall be
            computed in float32; inputs and outputs keep theirs.

    Raises:
        ImportFailed: names the operator, its node and the node's index in the graph.
    """
    interpreter = Interpreter(model, name, computed_single)
    with quiet():
        try:
            module = interpreter.module()
        except BaseException:
            abandon(interpreter.builder)
            raise
        return fold_batch_norm(module, [str(v.name) for v in interpreter.parameters], order)


class Interpreter:
    """Interprets an ONNX model while it writes the Relax function.

    Attributes:
        builder: of the module.
        parameters: of `main`.
        is_single: whether floating-point numbers of any width are computed in float32.
    """

    def __init__(
        self, model: onnx.ModelProto, name: str, computed_single: Sequence[str] | None = None
    ) -> None:
        self.builder = relax.BlockBuilder()
        self.is_single = computed_single is not None
        self._output_dtypes = computed_single
        self.parameters: list[Any] = []
        self._model = model
        self._name = name
        self._functions = {
            (domain_of(function.domain), function.name): function for function in model.functions
        }
        self._constants: dict[int, tuple[Any, Any]] = {}
        self._origins: dict[Any, frozenset[str]] = {}
        self._places: list[tuple[int, onnx.NodeProto]] = []

    def module(self) -> tvm.IRModule:
        """The module; `main` has the inputs of the graph as parameters, in their order."""
        graph = self._model.graph
        scope = Scope(self._initial(graph), opsets_of(self._model.opset_import))
        for declared in graph.input:
            if declared.name not in scope.values:
                scope.values[declared.name] = self._parameter(declared)
        with self.builder.function("main", self.parameters):
            with self.builder.dataflow():
                for declared in graph.input:
                    scope.values[declared.name] = self._computed(scope.values[declared.name])
                self._run(graph.node, scope)
                outputs = [
                    self._output(value.name, index, scope)
                    for index, value in enumerate(graph.output)
                ]
                result = outputs[0] if len(outputs) == 1 else relax.Tuple(outputs)
                result = self.builder.emit_output(result)
            self.builder.emit_func_output(result)
        return self.builder.get()

    # What nodes ask for.

    def expr(self, value: Value) -> Any:
        """A tensor as a Relax expression; an array is the same constant wherever it is used."""
        if not isinstance(value, np.ndarray):
            if value is None or isinstance(value, list):
                raise Unsupported("a sequence or an empty optional stands where a tensor should")
            return value
        if value.dtype == object:
            raise Unsupported("it works on text")
        kept = self._constants.get(id(value))
        if kept is None:
            # The array is kept along, so that its id stays its own.
            constant = relax.const(np.asarray(value, order="C"), str(value.dtype))
            kept = self._constants[id(value)] = value, constant
        return kept[1]

    def call(
        self, operator: str, inputs: Sequence[Value], outputs: int, attributes: Mapping[str, Any]
    ) -> Value:
        """An operator applied by a converter."""
        domain, _, operator = operator.rpartition(".")
        proto = helper.make_node(
            operator,
            [f"i{index}" if value is not None else "" for index, value in enumerate(inputs)],
            [f"o{index}" for index in range(outputs)],
            domain=domain,
            # An empty list says no more than nothing, and has no type.
            **{name: item for name, item in attributes.items() if item is not None and item != []},
        )
        scope = Scope({}, {"": OWN_OPSET, MICROSOFT: 1})
        results = self._apply(proto, list(inputs), scope)
        return results[0] if outputs == 1 else tuple(results)

    def run_graph(
        self, graph: onnx.GraphProto, inputs: Sequence[Value], scope: Scope
    ) -> list[Value]:
        """The outputs of a graph within the graph."""
        given = {value.name: item for value, item in zip(graph.input, inputs, strict=True)}
        inner = scope.inside({**self._initial(graph), **given})
        self._run(graph.node, inner)
        return [inner.values[value.name] for value in graph.output]

    def value_needed(self, value: Value, what: str) -> Unsupported:
        """Why a graph that depends on a number known at run time only cannot be converted."""
        origins = sorted(self._origins.get(value, ()))
        if not origins:
            return Unsupported(f"its {what} must be known before it runs")
        return Unsupported(
            f"the values of input{'s' if len(origins) > 1 else ''} {', '.join(origins)} decide its "
            f"{what}",
            hint="if they are always the same, bind them in the recipe: model.inputs: "
            f"[{{name: {origins[0]}, value: [...]}}]",
            inputs=tuple(origins),
        )

    # The walk.

    def _parameter(self, declared: onnx.ValueInfoProto) -> Any:
        tensor = declared.type.tensor_type
        if not tensor.elem_type or tensor.elem_type == onnx.TensorProto.STRING:
            raise ImportFailed(
                f"{self._name}: input {declared.name!r} is a sequence, an optional value or text",
                hint="give the model tensors of numbers as inputs",
            )
        shape = [dim.dim_value for dim in tensor.shape.dim]
        dtype = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        parameter = relax.Var(declared.name, relax.TensorType(shape, dtype))
        self.parameters.append(parameter)
        self._origins[parameter] = frozenset({declared.name})
        # A tensor without elements has no numbers to wait for.
        return parameter if 0 not in shape else np.zeros(shape, dtype)

    def _initial(self, graph: onnx.GraphProto) -> dict[str, Value]:
        return {name: self._computed(value) for name, value in initial_values(graph).items()}

    def _computed(self, value: Value) -> Value:
        """A value in what it is computed in: itself, or floating-point numbers in float32."""
        if isinstance(value, list):
            return [self._computed(item) for item in value]
        if not self.is_single or value is None or not is_float(value):
            return value
        return self._cast(value, "float32")

    def _cast(self, value: Value, dtype: str) -> Value:
        if dtype_of(value) == dtype:
            return value
        if isinstance(value, np.ndarray):
            return value.astype(dtype)
        result = self.builder.emit(relax.op.astype(value, dtype))
        self._origins[result] = self._origins.get(value, frozenset())
        return result

    def _output(self, name: str, index: int, scope: Scope) -> Any:
        value = scope.values.get(name)
        if value is None or isinstance(value, list):
            raise ImportFailed(
                f"{self._name}: output {name!r} is a sequence or an optional value",
                hint="let the model return its tensors",
            )
        if self._output_dtypes is not None:
            value = self._cast(value, self._output_dtypes[index])
        return self.expr(value)

    def _run(self, nodes: Sequence[onnx.NodeProto], scope: Scope) -> None:
        for index, node in enumerate(nodes):
            with self._located(index, node):
                inputs = [scope.values[name] if name else None for name in node.input]
                results = self._apply(node, inputs, scope)
            for name, result in zip(node.output, results, strict=False):
                if name:
                    scope.values[name] = result

    def _apply(self, node: onnx.NodeProto, inputs: list[Value], scope: Scope) -> list[Value]:
        domain = domain_of(node.domain)
        function = self._functions.get((domain, node.op_type))
        if function is not None:
            return self._call_function(function, node, inputs, scope)
        plain = resolved(node, scope.references)
        opset = scope.opsets.get(domain, scope.opsets.get("", 1))
        # Sequences and optional values are moved about as they are.
        if all(is_known(value) and not isinstance(value, list) for value in inputs):
            known = evaluate(plain, inputs, scope.opsets.get("", OWN_OPSET))
            if known is not None:
                return [self._computed(value) for value in known]
        converter = converter_of(domain, node.op_type)
        if converter is not None:
            seen = OnnxNode(
                self,
                node.op_type,
                version_of(node.op_type, domain, opset),
                inputs,
                [bool(name) for name in node.output],
                {
                    attribute.name: helper.get_attribute_value(attribute)
                    for attribute in plain.attribute
                },
                scope,
            )
            require_heeded(seen, domain, opset)
            results = _as_list(converter(seen))
        else:
            body = body_of(plain, domain, opset, inputs)
            if body is None:
                raise self._missing(node, scope)
            defined = with_defaults(plain, domain, opset)
            results = self._call_function(body, defined, inputs, scope)
        return [self._settled(result, inputs, scope) for result in results]

    def _missing(self, node: onnx.NodeProto, scope: Scope) -> ImportFailed:
        """Names all operators of the model that have no conversion, not only the first."""
        names = [_operator(node)]
        for other in nodes_of(self._model.graph):
            domain = domain_of(other.domain)
            opset = scope.opsets.get(domain, scope.opsets.get("", 1))
            known = (domain, other.op_type) in self._functions or (
                converter_of(domain, other.op_type) is not None
            )
            if not known and not is_defined(other, domain, opset):
                names.append(_operator(other))
        names = list(dict.fromkeys(names))
        return ImportFailed(
            f"{self._name}: ONNX operator{'s' if len(names) > 1 else ''} {', '.join(names)} cannot "
            f"be imported; first at {_describe(*self._places[0])}",
            hint=_HINT,
        )

    def _call_function(
        self, function: onnx.FunctionProto, node: onnx.NodeProto, inputs: list[Value], scope: Scope
    ) -> list[Value]:
        given = {item.name: item for item in resolved(node, scope.references).attribute}
        defaults = {item.name: item for item in function.attribute_proto}
        values = dict.fromkeys(function.input)
        values.update(zip(function.input, inputs, strict=False))
        inner = Scope(values, opsets_of(function.opset_import), {**defaults, **given})
        self._run(function.node, inner)
        # What nobody asks for, a function may leave out.
        return [inner.values.get(name) for name in function.output]

    def _settled(self, result: Value, inputs: Sequence[Value], scope: Scope) -> Value:
        """A result bound to a variable, or known after all."""
        if isinstance(result, list):
            return [self._settled(item, inputs, scope) for item in result]
        if result is None or isinstance(result, np.ndarray):
            return self._computed(result)
        if not isinstance(result, relax.Var):
            result = self.builder.emit(result)
        result = self._computed(result)
        shape = static_shape(result)
        if shape is None:
            raise Unsupported("the size of its output depends on the values of its inputs")
        if 0 in shape:
            return np.zeros(shape, dtype_of(result))
        if result not in self._origins:
            self._origins[result] = self._origin_of(inputs, scope)
        return result

    def _origin_of(self, inputs: Sequence[Value], scope: Scope) -> frozenset[str]:
        lists = [value if isinstance(value, list) else [value] for value in inputs]
        return frozenset().union(
            *(self._origins.get(item, ()) for item in chain(*lists) if isinstance(item, relax.Var))
        )

    @contextmanager
    def _located(self, index: int, node: onnx.NodeProto) -> Iterator[None]:
        self._places.append((index, node))
        try:
            yield
        except ImportFailed:
            raise
        except Unsupported as problem:
            raise self._failure(problem.reason, problem.hint, problem.inputs) from problem
        except Exception as error:
            raise self._failure(first_line(error), None) from error
        finally:
            self._places.pop()

    def _failure(self, reason: str, hint: str | None, inputs: tuple[str, ...] = ()) -> ImportFailed:
        # From the outside in: a node of the model, then those of the functions that it is.
        outer, *inner = [f"{_operator(n)} at {_describe(i, n)}" for i, n in self._places]
        where = f"ONNX operator {outer}, in it {inner[-1]}" if inner else f"ONNX operator {outer}"
        message = f"{self._name}: {where} cannot be imported: {reason}"
        if inputs:
            return ValueNeeded(message, hint=hint, names=inputs)
        return ImportFailed(message, hint=hint or _HINT)


def _as_list(result: Value) -> list[Value]:
    return list(result) if isinstance(result, tuple) else [result]


def _operator(node: onnx.NodeProto) -> str:
    return full_name(domain_of(node.domain), node.op_type)


def _describe(index: int, node: onnx.NodeProto) -> str:
    name = f"'{node.name}'" if node.name else f"of output '{node.output[0]}'"
    return f"node {index} {name}"
