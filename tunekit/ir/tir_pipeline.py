"""TVM's own passes that lower kernels, with more behind them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.ir import IRModule


@cache
def pipeline_ending_in(name: str, finish: Callable[[IRModule], IRModule]) -> str:
    """TVM's default pipeline with one step more, under the name by which TVM then knows it.

    Args:
        name: no other pipeline's.
        finish: what is done with functions as TVM's pipeline leaves them, before builtins are
            lowered.
    """
    from tvm.ir.transform import module_pass
    from tvm.tirx.compilation_pipeline import get_tir_pipeline, register_tir_pipeline

    own = module_pass(lambda module, _: finish(module), opt_level=0, name=name)

    def stages() -> tuple[Any, Any, Any]:
        kernels, host, device = get_tir_pipeline("default")
        return lambda module: own(kernels(module)), host, device

    register_tir_pipeline(name, stages)
    return name


def without_checks(module: IRModule) -> IRModule:
    """The module, its functions without assertions.

    Kernels look at all that they are called with. Where a model calls them that is right, and these
    looks would be half of the code.
    """
    from tvm import IRModule
    from tvm.tirx import AssertStmt, Evaluate, PrimFunc, const
    from tvm_ffi import structural_map

    nothing = Evaluate(const(0))
    changed = {
        variable: function.with_body(structural_map(function.body, (AssertStmt, lambda _: nothing)))
        if isinstance(function, PrimFunc)
        else function
        for variable, function in module.functions_items()
    }
    return IRModule(changed, attrs=module.attrs)
