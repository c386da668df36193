"""Constants of no elements: TVM writes them into its executables, and cannot read them back."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.ir import GenericConst

from tunekit.ir.relax import static_shape


def allocate_empty(module: tvm.IRModule) -> tvm.IRModule:
    """The module with its constants of no elements allocated where they are used."""
    changed = {
        var: _Allocating(module).visit_expr(function)
        for var, function in module.functions_items()
        if isinstance(function, relax.Function) and _has_empty(function)
    }
    if not changed:
        return module
    return tvm.IRModule({**dict(module.functions_items()), **changed}, attrs=module.attrs)


def _has_empty(function: relax.Function) -> bool:
    found: list[Any] = []
    relax.analysis.post_order_visit(
        function, lambda it: found.append(it) if _is_empty(it) else None
    )
    return bool(found)


def _is_empty(expression: Any) -> bool:
    return isinstance(expression, GenericConst) and 0 in (static_shape(expression) or ())


@relax.expr_functor.mutator
class _Allocating(relax.PyExprMutator):  # type: ignore[misc]
    """Puts a new tensor in the place of each such constant."""

    def visit_generic_const_(self, op: Any) -> Any:
        if not _is_empty(op):
            return op
        return relax.op.builtin.alloc_tensor(op.ty.shape, str(op.ty.dtype), 0)
