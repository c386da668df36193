"""NHWC: TVM's own layout conversion, and what has to be done for it to get through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.ir.relax import bindings_of, constant_value, operator_name, static_shape
from tunekit.ir.rewrite import rebuild, substitute

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr, Var


def to_channels_last(module: IRModule) -> tuple[IRModule, int]:
    """A module whose convolutions are NHWC, and the transforms of activations that remain."""
    from tvm import relax

    converted = relax.transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "OHWI"]})(
        _squeezes_as_reshapes(module)
    )
    transforms = sum(
        operator_name(value) in ("permute_dims", "layout_transform")
        and constant_value(value.args[0]) is None
        for _, value in bindings_of(converted["main"]) or ()
    )
    return converted, transforms


def _squeezes_as_reshapes(module: IRModule) -> IRModule:
    """ConvertLayout fails on a squeeze of every axis of one ("undefined bijective layout")."""
    from tvm import relax

    def emit(builder: BlockBuilder, var: Var, value: Expr) -> None:
        shape = static_shape(var)
        if operator_name(value) == "squeeze" and shape is not None:
            argument = substitute(value.args[0], replaced.__getitem__)
            value = relax.op.reshape(argument, relax.ShapeExpr(list(shape)))
        else:
            value = substitute(value, replaced.__getitem__)
        replaced[var] = builder.emit(value, var.name)

    replaced: dict[Var, Expr] = {parameter: parameter for parameter in module["main"].params}
    return rebuild(module, emit, lambda _, result: substitute(result, replaced.__getitem__))
