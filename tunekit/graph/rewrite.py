"""Rebuilding a straight-line Relax function binding by binding.

Every graph pass of tunekit is one walk over `main` in program order. What they share, reading a
function that has no control flow and putting expressions back together, is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr, Function, Var


def bindings_of(function: Function) -> Iterator[tuple[Var, Expr]] | None:
    """The bindings of a straight-line function in order, or None where it has control flow."""
    from tvm import relax

    pairs: list[tuple[Var, Expr]] = []
    body = function.body
    if not isinstance(body, relax.SeqExpr):
        return iter(())
    for block in body.blocks:
        for binding in block.bindings:
            if not isinstance(binding, relax.VarBinding) or isinstance(
                binding.value, (relax.If, relax.Function)
            ):
                return None
            pairs.append((binding.var, binding.value))
    return iter(pairs)


def result_of(function: Function) -> Expr:
    """The expression that the function returns."""
    from tvm import relax

    return function.body.body if isinstance(function.body, relax.SeqExpr) else function.body


def substitute(expr: Expr, lookup: Callable[[Var], Expr]) -> Expr:
    """`expr` with each variable replaced by what `lookup` gives for it."""
    from tvm import relax
    from tvm.ir import GenericConst

    if isinstance(expr, relax.Var):
        return lookup(expr)
    if isinstance(expr, GenericConst):
        return expr
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([substitute(field, lookup) for field in expr.fields])
    if isinstance(expr, relax.TupleGetItem):
        return relax.TupleGetItem(substitute(expr.tuple_value, lookup), expr.index)
    if isinstance(expr, relax.Call):
        arguments = [substitute(argument, lookup) for argument in expr.args]
        return relax.Call(expr.op, arguments, expr.attrs, expr.ty_args)
    return expr


def rebuild(
    module: IRModule,
    emit: Callable[[BlockBuilder, Var, Expr], None],
    finish: Callable[[BlockBuilder, Expr], Expr],
    name: str = "main",
) -> IRModule:
    """A module whose function `name` holds what `emit` made of each binding, in order.

    `finish` gives the expression to return for the one that was returned. Attributes and
    parameters are kept; dead bindings are removed.
    """
    from tvm import relax

    function = module[name]
    pairs = bindings_of(function)
    if pairs is None:
        return module
    builder = relax.BlockBuilder(module)
    attributes = dict(function.attrs) if function.attrs else {}
    # These bounds belong to symbolic sizes that the fixed shapes have replaced.
    attributes.pop("tir_var_lower_bound", None)
    attributes.pop("tir_var_upper_bound", None)
    attributes.pop("global_symbol", None)
    with builder.function(f"{name}_rebuilt", list(function.params), attrs=attributes):
        with builder.dataflow():
            for var, value in pairs:
                emit(builder, var, value)
            result = builder.emit_output(finish(builder, result_of(function)))
        builder.emit_func_output(result)
    rebuilt = builder.get()
    function = rebuilt[f"{name}_rebuilt"].with_attr("global_symbol", name)
    del rebuilt[f"{name}_rebuilt"]
    rebuilt[name] = function
    return relax.transform.DeadCodeElimination([name])(rebuilt)


def constant_value(expr: Expr) -> np.ndarray | None:
    """The array of a constant, None for anything else."""
    from tvm.ir import GenericConst

    return expr.value.numpy() if isinstance(expr, GenericConst) else None


def operator_name(expr: Expr) -> str:
    """Name of the called operator without "relax.", or "" for anything but such a call."""
    from tvm import relax
    from tvm.ir import Op

    if isinstance(expr, relax.Call) and isinstance(expr.op, Op):
        return str(expr.op.name).removeprefix("relax.")
    return ""


def static_shape(expr: Expr) -> tuple[int, ...] | None:
    """The shape of a tensor-valued expression, None where it is unknown or symbolic."""
    from tvm import relax
    from tvm.tirx import IntImm

    type_ = expr.ty
    if not isinstance(type_, relax.TensorType) or type_.shape is None:
        return None
    if not isinstance(type_.shape, relax.ShapeExpr):
        return None
    if not all(isinstance(extent, IntImm) for extent in type_.shape.values):
        return None
    return tuple(int(extent) for extent in type_.shape.values)
