"""Sizes that only a run knows: refused where a model is prepared, before time is spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.errors import ModelError
from tunekit.ir.relax import bindings_of, has_fixed_size, operator_name, result_of

if TYPE_CHECKING:
    from tvm.ir import IRModule


def require_fixed_sizes(module: IRModule, outputs: Sequence[str], model: str) -> None:
    """Checks that the sizes of what `main` returns are known, and those inside at least by name.

    Args:
        module: the model in Relax.
        outputs: names of its outputs, in order.
        model: its name, for the message.

    Raises:
        ModelError: which outputs are of open size, or which operators give what has none.
    """
    from tvm import relax

    type_ = result_of(module["main"]).ty
    results = list(type_.fields) if isinstance(type_, relax.TupleType) else [type_]
    names = outputs if len(outputs) == len(results) else [str(n) for n in range(len(results))]
    of_open_size = [
        repr(name)
        for name, result in zip(names, results, strict=True)
        if not has_fixed_size(result)
    ]
    operators = _opening(module)
    if of_open_size:
        whose = f"output{'s' * (len(of_open_size) > 1)} {', '.join(of_open_size)}"
        if operators:
            whose += f" (operator{'s' * (len(operators) > 1)} {', '.join(operators)})"
    elif _is_unknown(module):
        whose = f"the result of {', '.join(operators)}"
    else:
        return
    raise ModelError(
        f"{model}: the size of {whose} depends on values that only a run knows, and kernels are "
        "made for fixed sizes",
        hint="end the model before that and compute the rest outside of it; where the size comes "
        "from the values of an input, the recipe can give them: model.inputs[].value",
    )


def _is_unknown(module: IRModule) -> bool:
    """Whether a tensor inside of `main` has a size that not even a symbol stands for."""
    from tvm import relax

    return any(
        isinstance(variable.ty, relax.TensorType)
        and not isinstance(variable.ty.shape, relax.ShapeExpr)
        for variable, _ in bindings_of(module["main"]) or ()
    )


def _opening(module: IRModule) -> list[str]:
    """The operators that turn fixed sizes into open ones."""
    return sorted(
        {
            operator_name(value)
            for variable, value in bindings_of(module["main"]) or ()
            if operator_name(value)
            and not has_fixed_size(variable.ty)
            and all(has_fixed_size(argument.ty) for argument in value.args)
        }
    )
