"""Rebuilding a straight-line Relax function binding by binding.

Every graph pass of tunekit is one walk over `main` in program order. What they share, putting
expressions back together, is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.ir.relax import bindings_of, result_of

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Call, Expr, Var

    Replace = Callable[[BlockBuilder, Call], Expr]


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
    *,
    params: Sequence[Var] | None = None,
    begin: Callable[[BlockBuilder], None] = lambda builder: None,
) -> IRModule:
    """A module whose function `name` holds what `emit` made of each binding, in order.

    `finish` gives the expression to return for the one that was returned, and `begin` emits what
    comes before all. Attributes are kept, and parameters where no others are given; dead bindings
    are removed.
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
    with builder.function(f"{name}_rebuilt", list(params or function.params), attrs=attributes):
        with builder.dataflow():
            begin(builder)
            for var, value in pairs:
                emit(builder, var, value)
            result = builder.emit_output(finish(builder, result_of(function)))
        builder.emit_func_output(result)
    rebuilt = builder.get()
    function = rebuilt[f"{name}_rebuilt"].with_attr("global_symbol", name)
    del rebuilt[f"{name}_rebuilt"]
    rebuilt[name] = function
    return relax.transform.DeadCodeElimination([name])(rebuilt)


def replace_calls(module: IRModule, replacement: Callable[[Expr], Replace | None]) -> IRModule:
    """The module with some of the calls in `main` replaced; itself where none is.

    Args:
        module: Relax module.
        replacement: of what a binding binds, None where that stays; else what emits another value
            in its place, given the call with the arguments that it has by then.
    """
    found = {var: replacement(value) for var, value in bindings_of(module["main"]) or ()}
    if not any(found.values()):
        return module
    known: dict[Any, Expr] = {parameter: parameter for parameter in module["main"].params}

    def emit(builder: BlockBuilder, var: Var, value: Expr) -> None:
        given, replace = substitute(value, known.__getitem__), found[var]
        known[var] = replace(builder, given) if replace else builder.emit(given, var.name)

    return rebuild(module, emit, lambda _, result: substitute(result, known.__getitem__))
