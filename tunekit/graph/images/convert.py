"""The conversion of a module whose convolutions are of signals or volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.graph.images.rules import CONVOLUTIONS, RULES
from tunekit.graph.images.values import ImageValue, ImageValues
from tunekit.ir.relax import bindings_of, has_fixed_size, operator_name, static_shape
from tunekit.ir.rewrite import rebuild, substitute

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr, Var


def convolutions_as_images(module: IRModule) -> IRModule:
    """The module without one- and three-dimensional convolutions that have constant weights.

    Where the window of one is several frames deep, a convolution of three dimensions is left for
    the blocked layout, of volumes whose frames come first (see `layouts.volumes`).
    """
    pairs = bindings_of(module["main"]) or ()
    if not any(operator_name(value) in CONVOLUTIONS for _, value in pairs):
        return module
    values = ImageValues()
    for parameter in module["main"].params:
        values[parameter] = ImageValue(static_shape(parameter) or (), own=parameter)

    def emit(builder: BlockBuilder, var: Var, value: Expr) -> None:
        values.builder = builder
        result = values[var] = ImageValue(static_shape(var) or ())
        rule = RULES.get(operator_name(value)) if len(result.shape) in (2, 3, 5) else None
        if rule is None or not has_fixed_size(var.ty) or not rule(values, value, result):
            result.own = builder.emit(substitute(value, values.own_of), var.name)

    def finish(builder: BlockBuilder, result: Expr) -> Expr:
        values.builder = builder
        return substitute(result, values.own_of)

    return rebuild(module, emit, finish)
