"""Reading Relax: the bindings of a function, what is called, constants and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from tvm.relax import Expr, Function, Var


def bindings_of(function: Function) -> list[tuple[Var, Expr]] | None:
    """The bindings of a straight-line function in order, or None where it has control flow."""
    from tvm import relax

    pairs: list[tuple[Var, Expr]] = []
    body = function.body
    if not isinstance(body, relax.SeqExpr):
        return pairs
    for block in body.blocks:
        for binding in block.bindings:
            if not isinstance(binding, relax.VarBinding) or isinstance(
                binding.value, (relax.If, relax.Function, relax.SeqExpr)
            ):
                return None
            pairs.append((binding.var, binding.value))
    return pairs


def result_of(function: Function) -> Expr:
    """The expression that the function returns."""
    from tvm import relax

    return function.body.body if isinstance(function.body, relax.SeqExpr) else function.body


def constant_value(expr: Expr) -> np.ndarray | None:
    """The array of a constant, None for anything else."""
    from tvm.ir import GenericConst

    if not isinstance(expr, GenericConst) or not hasattr(expr.value, "numpy"):
        return None
    array: np.ndarray = expr.value.numpy()
    return array


def is_finite(array: np.ndarray) -> bool:
    """Whether products with zeros are zeros: what is infinite makes even these no numbers."""
    import numpy as np

    return bool(np.isfinite(array).all())


def operator_name(expr: Expr) -> str:
    """Name of the called operator without "relax.", or "" for anything but such a call."""
    from tvm import relax
    from tvm.ir import Op

    if isinstance(expr, relax.Call) and isinstance(expr.op, Op):
        return str(expr.op.name).removeprefix("relax.")
    return ""


def has_fixed_size(type_: Any) -> bool:
    """Whether the shapes of all tensors of a type are known and constant."""
    from tvm import relax
    from tvm.tirx import IntImm

    if isinstance(type_, relax.TupleType):
        return all(map(has_fixed_size, type_.fields))
    if not isinstance(type_, relax.TensorType):
        return True
    return isinstance(type_.shape, relax.ShapeExpr) and all(
        isinstance(extent, IntImm) for extent in type_.shape.values
    )


def static_shape(expr: Expr) -> tuple[int, ...] | None:
    """The shape of a tensor-valued expression, None where it is unknown or symbolic."""
    from tvm import relax

    type_ = expr.ty
    if not isinstance(type_, relax.TensorType) or not has_fixed_size(type_):
        return None
    return tuple(int(extent) for extent in type_.shape.values)
