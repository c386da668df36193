"""How kernels are lowered: TVM's way, with what it leaves undone for CPUs before and after.

Candidates that are measured and libraries that ship are lowered alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.extern_kernels.function import is_extern
from tunekit.graph.lowering.guards import guard
from tunekit.graph.lowering.narrow_indices import narrow_indices
from tunekit.graph.lowering.work_stealing import steal_work
from tunekit.ir.compilation import called_kernels, link_executable, lower
from tunekit.ir.not_numbers import keep_nan
from tunekit.ir.parallel_build import BuiltKernels, build_in_parallel
from tunekit.ir.tir_pipeline import pipeline_ending_in, without_checks

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target


def build(module: IRModule, target: Target) -> Any:
    """The runtime module of scheduled kernels."""
    import tvm

    pipeline = pipeline_ending_in("tunekit_kernel", steal_work)
    return tvm.tirx.build(keep_nan(narrow_indices(module, target)), target, pipeline=pipeline)


def lower_model(module: IRModule, target: Target, passes: Any = None) -> IRModule:
    """A model, its kernels scheduled or not, as TVM's virtual machine runs it (see `lower`)."""
    return lower(keep_nan(narrow_indices(guard(module), target)), target, passes)


def build_kernels(lowered: IRModule, target: Target, folder: Path) -> BuiltKernels:
    """The kernels that a lowered model calls, as code; `folder` gets object files."""
    pipeline = pipeline_ending_in("tunekit_model", _of_a_model)
    return build_in_parallel(
        called_kernels(lowered), target, pipeline=pipeline, folder=folder, apart=is_extern
    )


def compile_model(module: IRModule, target: Target) -> Any:
    """The executable of a Relax module and its kernels, scheduled or not, to be run here."""
    import tvm

    lowered = lower_model(module, target)
    pipeline = pipeline_ending_in("tunekit_model", _of_a_model)
    kernels = tvm.tirx.build(called_kernels(lowered), target=target, pipeline=pipeline)
    return link_executable(lowered, kernels, target)


def _of_a_model(module: IRModule) -> IRModule:
    return without_checks(steal_work(module))
