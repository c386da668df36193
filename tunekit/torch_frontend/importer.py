"""A traced program as a Relax module, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import tvm
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.fx.node import map_arg
from tvm import relax

from tunekit.errors import ImportFailed
from tunekit.frontends.batch_norm import fold_batch_norm
from tunekit.frontends.problems import Unsupported
from tunekit.processes.quiet import abandon, quiet
from tunekit.torch_frontend import families
from tunekit.torch_frontend.chosen import keep_chosen
from tunekit.torch_frontend.complex_numbers import convert_complex, joined
from tunekit.torch_frontend.converters.extern import know_extern_operators
from tunekit.torch_frontend.decompose import decomposed
from tunekit.torch_frontend.graph import Graph, Pair, dtype_name, dtype_of, is_short, shape_of
from tunekit.torch_frontend.places import place_of
from tunekit.torch_frontend.recurrent_shapes import plain_shapes
from tunekit.torch_frontend.restated import restated
from tunekit.torch_frontend.table import (
    CHECKS,
    COMPLEX_CONVERTERS,
    CONVERTERS,
    MOVING,
    converter_key,
)
from tunekit.torch_frontend.tracing import DataDependent
from tunekit.wording import first_line

HINT = (
    "write that part of the model with other operators, leave it out (post-processing often can "
    "be), or export the model to ONNX and give the .onnx file as the source"
)
_FOLDED_BYTES = 1 << 20
"""What torch computes from constants stays a constant up to this size, or twice its sources'."""

families.load()


def program_to_relax(
    program: ExportedProgram, names: Sequence[str], name: str, *, is_single: bool = False
) -> tvm.IRModule:
    """A Relax module of a traced program, folded, with main's parameters named `names`.

    With `is_single` floating-point numbers of any width are computed in float32; parameters and
    results keep their dtypes. Its results are the program's tensors in order, numbers and None left
    out; a bfloat16 result comes as float32, a complex one with its parts along a last axis of 2.

    Raises:
        ImportFailed: names the operator and where it stands.
    """
    know_extern_operators(program.graph)
    with quiet():
        try:
            with torch.no_grad(), plain_shapes():
                graph = restated(program)
                if graph is None:
                    program = decomposed(program)
                    graph = program.graph
                keep_chosen(graph)
        except Exception as error:
            raise ImportFailed(
                f"{name}: the traced model cannot be decomposed: {first_line(error)}", hint=HINT
            ) from error
        importer = _Importer(program, graph, name, is_single=is_single)
        try:
            module = importer.module(names)
        except Exception:
            abandon(importer.graph.builder)
            raise
        return fold_batch_norm(module, names)


class _Importer:
    """One walk over a program; values are tensors of torch where they depend on no input, else
    Relax expressions, or `Pair`s of them."""

    def __init__(
        self,
        program: ExportedProgram,
        traced: torch.fx.Graph,
        name: str,
        *,
        is_single: bool,
    ) -> None:
        self.program = program
        self.traced = traced
        self.name = name
        self.graph = Graph(relax.BlockBuilder(), is_single=is_single)
        self.values: dict[Any, Any] = {}

    def module(self, names: Sequence[str]) -> tvm.IRModule:
        self._require_fixed_sizes(self.traced)
        parameters = self._bind_inputs(names)
        builder = self.graph.builder
        with builder.function("main", parameters):
            with builder.dataflow():
                self._widen_inputs()
                for node in self.traced.nodes:
                    if node.op in ("call_function", "get_attr"):
                        self._visit(node, self.program.graph_module)
                results = [builder.emit_output(result) for result in self._results()]
            builder.emit_func_output(results[0] if len(results) == 1 else relax.Tuple(results))
        return builder.get()

    def _require_fixed_sizes(self, graph: torch.fx.Graph) -> None:
        for node in graph.nodes:
            fakes = torch.utils._pytree.tree_leaves(node.meta.get("val"))
            if node.op == "call_function" and any(map(_is_open, fakes)):
                raise ImportFailed(
                    f"{self.name}: the size of what operator {node.target} gives depends on the "
                    f"values of its inputs; at {place_of(node)}",
                    hint="sizes must be fixed: keep all elements and mark the chosen ones with a "
                    "mask, or leave that part out of the model",
                ) from DataDependent()

    def _bind_inputs(self, names: Sequence[str]) -> list[Any]:
        """Fill `values` with inputs and weights; gives main's parameters."""
        parameters = []
        remaining = list(names)
        # By their order: a copy of a graph calls an argument "input" otherwise.
        nodes = self.traced.find_nodes(op="placeholder")
        for spec, node in zip(self.program.graph_signature.input_specs, nodes, strict=True):
            if spec.kind is not InputKind.USER_INPUT:
                self.values[node] = self._stored(spec.target)
            elif isinstance(spec.arg, TensorArgument):
                fake = node.meta["val"]
                type_ = relax.TensorType(tuple(map(int, fake.shape)), dtype_name(fake.dtype))
                parameters.append(relax.Var(remaining.pop(0), type_))
                self.values[node] = parameters[-1]
            else:
                self.values[node] = spec.arg.value
        return parameters

    def _widen_inputs(self) -> None:
        for node, value in self.values.items():
            if isinstance(value, relax.Var):
                self.values[node] = self.graph.cast(value, dtype_of(value))

    def _stored(self, target: str) -> torch.Tensor:
        state = self.program.state_dict
        tensor = state[target] if target in state else self.program.constants[target]
        if isinstance(tensor, torch.Tensor) and tensor.layout is not torch.strided:
            return tensor.to_dense()
        return tensor  # type: ignore[no-any-return]

    def _results(self) -> list[Any]:
        [output] = self.traced.find_nodes(op="output")
        results = []
        for spec, node in zip(
            self.program.graph_signature.output_specs, output.args[0], strict=True
        ):
            if spec.kind is not OutputKind.USER_OUTPUT or not isinstance(spec.arg, TensorArgument):
                continue
            if 0 in node.meta["val"].shape:
                # TVM can store no such constant.
                raise ImportFailed(
                    f"{self.name} returns a tensor without elements; at {place_of(node)}",
                    hint="leave it out of the results",
                )
            results.append(self._returned(self.values[node], node.meta["val"]))
        return results

    def _returned(self, value: Any, fake: torch.Tensor) -> Any:
        """A result as a library can give it: of a dtype that numpy has, a variable of its own."""
        if isinstance(value, torch.Tensor):
            value = torch.view_as_real(value) if value.is_complex() else value
            value = self._expression(value.float() if is_short(value.dtype) else value)
        if isinstance(value, Pair):
            value = joined(self.graph, value)
        dtype = dtype_name(fake.dtype.to_real())
        dtype = "float32" if dtype == "bfloat16" else dtype
        return value if dtype_of(value) == dtype else self.graph.emit(relax.op.astype(value, dtype))

    def _visit(self, node: Any, owner: torch.fx.GraphModule) -> None:
        self.graph.node = node
        try:
            self.values[node] = self._value(node, owner)
        except ImportFailed:
            raise
        except Exception as error:
            what = first_line(error) if isinstance(error, Unsupported) else _told(error)
            raise ImportFailed(
                f"{self.name}: operator {node.target} cannot be imported as it is used here: "
                f"{what}; at {place_of(node)}",
                hint=HINT,
            ) from error

    def _value(self, node: Any, owner: torch.fx.GraphModule) -> Any:
        if node.op == "get_attr":
            return getattr(owner, node.target)
        target, name = node.target, converter_key(node.target)
        if name.startswith(CHECKS):
            return None
        arguments = map_arg(node.args, self.values.__getitem__)
        keywords = map_arg(node.kwargs, self.values.__getitem__)
        if name == "getitem":
            return arguments[0][arguments[1]]
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self._subgraph(name, arguments)
        fakes = torch.utils._pytree.tree_leaves(node.meta.get("val"))
        if all(isinstance(fake, torch.Tensor) and fake.numel() == 0 for fake in fakes) and fakes:
            return _empty(node.meta["val"])
        values = torch.utils._pytree.tree_leaves((arguments, keywords))
        if not any(isinstance(value, tvm.ir.Expr | Pair) for value in values):
            folded = target(*arguments, **keywords)
            if _is_worth_storing(folded, values) or name not in CONVERTERS:
                return folded
        return self._converted(name, _bound(target, arguments, keywords))

    def _converted(self, name: str, arguments: dict[str, Any]) -> Any:
        leaves = torch.utils._pytree.tree_leaves(arguments)
        results = torch.utils._pytree.tree_leaves(self.graph.result)
        if any(map(_is_complex, [*leaves, *results])):
            known = name in COMPLEX_CONVERTERS or name in MOVING
            self._require_known(known, f"{name} of complex numbers")
            return convert_complex(self.graph, name, self._pairs(arguments))
        self._require_known(name in CONVERTERS, name)
        expressions = self._expressions(arguments, widen=name not in MOVING)
        return self._checked(CONVERTERS[name](self.graph, **expressions))

    def _require_known(self, is_known: bool, what: str) -> None:
        if not is_known:
            node = self.graph.node
            operator = str(node.target) + (" of complex numbers" if "complex" in what else "")
            raise ImportFailed(
                f"{self.name}: operator {operator} cannot be imported; first at {place_of(node)}",
                hint=HINT,
            )

    def _expressions(self, arguments: Any, *, widen: bool) -> Any:
        """Arguments with each tensor as an expression; short floats as float32 where `widen`."""

        def convert(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return self._expression(value.float() if is_short(value.dtype) and widen else value)
            if widen and isinstance(value, tvm.ir.Expr) and dtype_of(value) in _SHORT:
                return self.graph.cast(value, "float32")
            return value

        return _mapped(arguments, convert)

    def _pairs(self, arguments: Any) -> Any:
        def convert(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and value.is_complex():
                return Pair(
                    self._expression(value.real.contiguous()),
                    self._expression(value.imag.contiguous()),
                )
            return self._expression(value) if isinstance(value, torch.Tensor) else value

        return _mapped(arguments, convert)

    def _expression(self, tensor: torch.Tensor) -> Any:
        if tensor.dtype is torch.bfloat16:
            return self.graph.cast(self.graph.constant(tensor.float()), "bfloat16")
        return self.graph.constant(tensor)

    def _checked(self, value: Any) -> Any:
        """What a converter gave, in the dtypes that the node gives.

        Raises:
            Unsupported: a shape is another; the converter is wrong.
        """
        fakes = self.graph.result
        if not isinstance(fakes, list | tuple):
            return self._fitted(value, fakes)
        return [self._fitted(part, fake) for part, fake in zip(value, fakes, strict=True)]

    def _fitted(self, value: Any, fake: Any) -> Any:
        if value is None or not isinstance(fake, torch.Tensor):
            return value
        value = value if isinstance(value, relax.Var) else self.graph.emit(value)
        if shape_of(value) != tuple(fake.shape):
            raise Unsupported(
                f"its import gives shape {list(shape_of(value))} in place of {list(fake.shape)}"
            )
        return self.graph.cast(value, dtype_name(fake.dtype))

    def _subgraph(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """Both branches of a condition, of which one is chosen at the end; other parts of a graph
        as if they stood where they are called."""
        if name == "cond":
            condition, yes, no, operands = arguments
            if isinstance(condition, torch.Tensor | bool):
                return self._inlined(yes if bool(condition) else no, operands)
            results = (self._inlined(yes, operands), self._inlined(no, operands))
            return [self._chosen(condition, *pair) for pair in zip(*results, strict=True)]
        modules = [item for item in arguments if isinstance(item, torch.fx.GraphModule)]
        if name not in _WRAPPERS or len(modules) != 1:
            raise Unsupported("this kind of control flow has no counterpart")
        position = next(i for i, item in enumerate(arguments) if item is modules[0])
        return self._inlined(modules[0], arguments[position + 1 :])

    def _chosen(self, condition: Any, yes: Any, no: Any) -> Any:
        yes, no = self._expressions((yes, no), widen=False)
        return self.graph.emit(relax.op.where(condition, yes, no))

    def _inlined(self, module: torch.fx.GraphModule, operands: Sequence[Any]) -> list[Any]:
        caller = self.graph.node
        self._require_fixed_sizes(module.graph)
        inputs = module.graph.find_nodes(op="placeholder")
        self.values.update(zip(inputs, operands, strict=True))
        for node in module.graph.nodes:
            if node.op in ("call_function", "get_attr"):
                self._visit(node, module)
        [output] = module.graph.find_nodes(op="output")
        self.graph.node = caller
        results = map_arg(output.args[0], self.values.__getitem__)
        return list(results) if isinstance(results, list | tuple) else [results]


_SHORT = ("float16", "bfloat16")
_WRAPPERS = ("wrap_with_set_grad_enabled", "wrap_with_autocast", "wrap", "checkpoint")


def _bound(target: Any, arguments: Sequence[Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """An operator's arguments by name, with the defaults of those that are left out."""
    schema = target._schema.arguments
    bound = {item.name: item.default_value for item in schema}
    bound.update(zip((item.name for item in schema), arguments, strict=False))
    bound.update(keywords)
    return bound


def _mapped(value: Any, function: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, function) for item in value]
    return function(value)


def _is_open(fake: Any) -> bool:
    if isinstance(fake, torch.SymInt | torch.SymFloat | torch.SymBool):
        return True
    return isinstance(fake, torch.Tensor) and any(
        isinstance(size, torch.SymInt) for size in fake.shape
    )


def _is_complex(value: Any) -> bool:
    return isinstance(value, Pair) or (isinstance(value, torch.Tensor) and value.is_complex())


def _empty(fakes: Any) -> Any:
    if isinstance(fakes, torch.Tensor):
        return torch.empty(tuple(fakes.shape), dtype=fakes.dtype)
    return [_empty(fake) for fake in fakes]


def _is_worth_storing(folded: Any, sources: Sequence[Any]) -> bool:
    """Whether a value computed from constants is no larger than is sensible to keep."""
    tensors = [t for t in torch.utils._pytree.tree_leaves(folded) if isinstance(t, torch.Tensor)]
    given = [t.nbytes for t in sources if isinstance(t, torch.Tensor)]
    return sum(t.nbytes for t in tensors) <= max(_FOLDED_BYTES, 2 * max(given, default=0))


def _told(error: Exception) -> str:
    from tunekit.wording import last_lines

    return last_lines(error)[:300]
