"""What `tvm.compile` does of a Relax module, in steps: it keeps what is between them to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target


def lower(module: IRModule, target: Target, passes: Any = None) -> IRModule:
    """A Relax module as TVM's virtual machine runs it: calls of kernels that write into tensors
    whose memory is planned.

    Args:
        module: the model, and its kernels, scheduled or not.
        target: what for.
        passes: that lower; TVM's own for the target if left out.
    """
    from tvm import relax

    from tunekit.ir.empty_constants import allocate_empty

    if passes is None:
        on_gpu = "gpu" in target.keys
        passes = relax.get_default_pipeline(target) if on_gpu else relax.get_pipeline("default")
    with target:
        lowered: IRModule = passes(allocate_empty(module))
    return lowered


def called_kernels(lowered: IRModule) -> IRModule:
    """The kernels that a model's functions name."""
    from tvm import IRModule, relax
    from tvm.ir import GlobalVar

    called: set[Any] = set()

    def look(expression: Any) -> None:
        if isinstance(expression, GlobalVar):
            called.add(expression)

    for _, function in lowered.functions_items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, look)
    kernels = {
        variable: kernel for variable, kernel in lowered.functions_items() if variable in called
    }
    return IRModule(kernels, attrs=lowered.attrs)


def link_executable(lowered: IRModule, kernels: Any, target: Target) -> Any:
    """What TVM's virtual machine loads: a lowered model as bytecode, and its kernels.

    Args:
        lowered: the model.
        kernels: a runtime module of kernels; others may be linked to the library later.
        target: what for.
    """
    from tvm import relax
    from tvm.relax import vm_build

    builder = relax.ExecBuilder()
    vm_build._vmcodegen(builder, lowered, "bytecode")
    return vm_build.VMExecutable(vm_build._ffi_api.VMLink(builder, target, kernels, [], {}))
