"""How kernels are lowered: TVM's way, with what it leaves undone for CPUs before and after.

Candidates that are measured and libraries that ship are lowered alike.
"""

from __future__ import annotations

from functools import cache
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


def lower_model(module: IRModule, target: Target, relax_pipeline: Any = None) -> IRModule:
    """A Relax module as TVM's virtual machine runs it: calls of kernels that write into tensors
    whose memory is planned.

    Args:
        module: the model, and its kernels, scheduled or not.
        target: what for.
        relax_pipeline: passes; TVM's own for the target if left out.
    """
    from tvm import relax

    if relax_pipeline is None:
        on_gpu = "gpu" in target.keys
        relax_pipeline = (
            relax.get_default_pipeline(target) if on_gpu else relax.get_pipeline("default")
        )
    with target:
        lowered: IRModule = relax_pipeline(keep_nan(narrow_indices(module, target)))
    return lowered


def build_kernels(lowered: IRModule, target: Target) -> Any:
    """The runtime module of the kernels that a lowered model calls."""
    import tvm
    from tvm import IRModule

    called = _called(lowered)
    kernels = {
        variable: kernel for variable, kernel in lowered.functions_items() if variable in called
    }
    pipeline = _pipeline(checked=False)
    return tvm.tirx.build(IRModule(kernels, attrs=lowered.attrs), target=target, pipeline=pipeline)


def link_executable(lowered: IRModule, kernels: Any, target: Target) -> Any:
    """What TVM's virtual machine loads: a lowered model as bytecode, and its kernels.

    `tvm.compile` is these three in one, and keeps what it lowered to itself.
    """
    from tvm import relax
    from tvm.relax import vm_build

    builder = relax.ExecBuilder()
    vm_build._vmcodegen(builder, lowered, "bytecode")
    return vm_build.VMExecutable(vm_build._ffi_api.VMLink(builder, target, kernels, [], {}))


def compile_model(module: IRModule, target: Target) -> Any:
    """The executable of a Relax module and its kernels, scheduled or not."""
    lowered = lower_model(module, target)
    return link_executable(lowered, build_kernels(lowered, target), target)


def _called(lowered: IRModule) -> set[Any]:
    """The kernels that a model's functions name."""
    from tvm import relax
    from tvm.ir import GlobalVar

    called: set[Any] = set()

    def look(expression: Any) -> None:
        if isinstance(expression, GlobalVar):
            called.add(expression)

    for _, function in lowered.functions_items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, look)
    return called


@cache
def _pipeline(*, checked: bool = True) -> str:
    """The name under which TVM knows its own pipeline with ours behind it.

    Args:
        checked: kernels look at what they are called with. A model's own calls are right, and half
            of its code would be these checks.
    """
    from tvm.ir.transform import module_pass
    from tvm.tirx.compilation_pipeline import get_tir_pipeline, register_tir_pipeline

    name = "tunekit" if checked else "tunekit_unchecked"

    def finish(module: IRModule, _: Any) -> IRModule:
        stolen = steal_work(module)
        return stolen if checked else without_checks(stolen)

    own = module_pass(finish, opt_level=0, name=name)

    def stages() -> tuple[Any, Any, Any]:
        kernels, host, device = get_tir_pipeline("default")
        return lambda module: own(kernels(module)), host, device

    register_tir_pipeline(name, stages)
    return name


def without_checks(module: IRModule) -> IRModule:
    """The module, its functions without assertions."""
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
