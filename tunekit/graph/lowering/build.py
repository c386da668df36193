"""How kernels are lowered: TVM's way, with what it leaves undone for CPUs before and after.

Candidates that are measured and libraries that ship are lowered alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tunekit.graph.lowering.narrow_indices import narrow_indices
from tunekit.graph.lowering.work_stealing import steal_work
from tunekit.ir.not_numbers import keep_nan

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target


def build(module: IRModule, target: Target) -> Any:
    """The runtime module of scheduled kernels."""
    import tvm

    return tvm.tirx.build(keep_nan(narrow_indices(module, target)), target, pipeline=_pipeline())


def compile_model(module: IRModule, target: Target, relax_pipeline: Any = "default") -> Any:
    """The executable of a Relax module and its kernels, scheduled or not."""
    import tvm

    with target:
        return tvm.compile(
            keep_nan(narrow_indices(module, target)),
            target=target,
            relax_pipeline=relax_pipeline,
            tir_pipeline=_pipeline(),
        )


@lru_cache(maxsize=1)
def _pipeline() -> str:
    """The name under which TVM knows its own pipeline with ours behind it."""
    from tvm.ir.transform import module_pass
    from tvm.tirx.compilation_pipeline import get_tir_pipeline, register_tir_pipeline

    name = "tunekit"
    stealing = module_pass(lambda module, _: steal_work(module), opt_level=0, name="StealWork")

    def stages() -> tuple[Any, Any, Any]:
        kernels, host, device = get_tir_pipeline("default")
        return lambda module: stealing(kernels(module)), host, device

    register_tir_pipeline(name, stages)
    return name
