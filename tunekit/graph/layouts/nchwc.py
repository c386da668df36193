"""The blocked layout, NCHWc: activations in blocks of channels as wide as a vector register.

A single walk over the graph in which every value may exist plain, blocked, or both (see `values`).
Convolutions of every kind and whatever has a rule in `operators` stay blocked, so a transform
remains only where a value is used in the other form. TVM's ConvertLayout keeps every depthwise
convolution plain, which costs EfficientNet 79 transforms of activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.graph.implementation import Choice, ConvProblem
from tunekit.graph.layouts.convolutions import Convolutions
from tunekit.graph.layouts.extern import ExternCalls
from tunekit.graph.layouts.operators import RULES, Rule, elementwise
from tunekit.graph.layouts.value import Value
from tunekit.graph.layouts.values import LayoutValues
from tunekit.graph.layouts.volumes import convolution_of_volumes
from tunekit.ir.relax import has_fixed_size, operator_name, static_shape
from tunekit.ir.rewrite import rebuild, substitute

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr, Var


class Blocking:
    """One conversion of a module to NCHWc."""

    def __init__(self, vector_lanes: int, choice: Choice) -> None:
        """See `convert_layout`."""
        self._values = LayoutValues(
            vector_lanes, multiply=lambda call, result: elementwise(self._values, call, result)
        )
        self._convolutions = Convolutions(choice)
        self._rules: dict[str, Rule] = {
            **RULES,
            "nn.conv2d": self._convolutions.rule,
            "nn.conv2d_transpose": self._convolutions.transposed_rule,
            "nn.conv3d": convolution_of_volumes,
        }

    @property
    def transforms(self) -> int:
        """Layout transforms of activations that remain."""
        return self._values.transforms

    @property
    def problems(self) -> frozenset[ConvProblem]:
        """The convolutions that have another algorithm than the direct one."""
        return frozenset(self._convolutions.problems)

    def convert(self, module: IRModule) -> IRModule:
        """The module with its activations in blocks; `main` takes and returns what it did."""
        self._rules["call_tir"] = ExternCalls(module).rule
        for parameter in module["main"].params:
            self._values[parameter] = Value(static_shape(parameter), plain=parameter)
        return rebuild(module, self._emit, self._finish)

    def _emit(self, builder: BlockBuilder, var: Var, value: Expr) -> None:
        from tvm import relax

        self._values.builder = builder
        result = Value(static_shape(var))
        self._values[var] = result
        if isinstance(value, relax.Tuple):
            result.fields = [self._values.source(item) for item in value.fields]
            return
        if isinstance(value, relax.TupleGetItem) and isinstance(value.tuple_value, relax.Var):
            fields = self._values[value.tuple_value].fields
            if fields:
                self._values[var] = fields[value.index]
                return
        if isinstance(value, relax.Var):
            self._values[var] = self._values[value]
            return
        rule = self._rules.get(operator_name(value))
        if rule is None or not has_fixed_size(var.ty) or not rule(self._values, value, result):
            result.plain = builder.emit(substitute(value, self._values.plain_of), var.name)

    def _finish(self, builder: BlockBuilder, result: Expr) -> Expr:
        self._values.builder = builder
        return substitute(result, self._values.plain_of)
