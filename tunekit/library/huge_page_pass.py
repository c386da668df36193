"""Has a library ask Linux for huge pages for its weights and activations.

One run of a model touches tens to hundreds of MiB: in pages of 4 KiB, many times what the
processor's address translation remembers, in pages of 2 MiB a part of it. So the library's `main`
begins with a kernel that calls `madvise`, as `tunekit.machine.huge_pages` does, for each of its
larger constants and buffers, when it sees their addresses for the first time. At that time the
constants have been written and the buffers have not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.machine.huge_pages import MADV_COLLAPSE, MADV_HUGEPAGE, PAGE_BYTES
from tunekit.measure.measurer import TensorArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvm.ir import IRModule
    from tvm.relax import Call, Function, VarBinding
    from tvm.tirx import PrimFunc

    from tunekit.machine.target import ResolvedTarget

#: Name of the kernel.
ADVISE = "advise_huge_pages"

# What is smaller than a huge page may share one with its neighbours. Far smaller things are not
# worth a call.
_SMALLEST_BYTES = 128 << 10
# Where all of them have less, address translation is no matter.
_SMALLEST_TOTAL_BYTES = 4 << 20
_ARCHITECTURES = ("x86_64", "aarch64", "riscv64")


@dataclass(frozen=True)
class _Region(TensorArgument):
    """Memory that the kernel gets: a constant, or a view of a buffer."""

    expression: Any


def wants_huge_pages(target: ResolvedTarget) -> bool:
    """Whether a library for this target can ask for them: CPUs of 64 bits under Linux."""
    from tvm.target.codegen import llvm_get_system_triple

    if target.kind != "llvm" or target.architecture not in _ARCHITECTURES:
        return False
    return "linux" in str(json.loads(target.spec).get("mtriple") or llvm_get_system_triple())


def lowering(target: ResolvedTarget) -> Any:
    """TVM's passes that lower Relax for a CPU, and among them, when the memory of activations is
    planned, the one that asks for huge pages."""
    import tvm
    from tvm.ir.transform import module_pass
    from tvm.relax.backend.cpu_generic import pipeline

    own = module_pass(lambda module, _: advise(module), opt_level=0, name=ADVISE)
    passes = []
    for stage in (
        pipeline.library_dispatch_passes,
        pipeline.legalize_passes,
        pipeline.dataflow_lower_passes,
        pipeline.finalize_passes,
    ):
        for step in stage(target.tvm):
            passes.append(step)
            if step.info.name == "StaticPlanBlockMemory":
                passes.append(own)
    assert own in passes, "TVM plans memory by another pass"
    return tvm.transform.Sequential(passes)


def advise(module: IRModule) -> IRModule:
    """Adds the kernel to a module whose memory is planned, and its call at the beginning of
    `main`, before which all larger buffers are then allocated."""
    import numpy as np
    from tvm import relax
    from tvm.ir import TupleType

    main = module["main"]
    buffers = [(binding, size) for binding, size in _buffers(main) if size >= _SMALLEST_BYTES]
    constants = [region for region in _constants(main) if region.bytes >= _SMALLEST_BYTES]
    total = sum(size for _, size in buffers) + sum(region.bytes for region in constants)
    if total < _SMALLEST_TOTAL_BYTES:
        return module

    builder = relax.BlockBuilder(module)
    first: list[VarBinding] = [binding for binding, _ in buffers]
    views = []
    for binding, size in buffers:
        call = builder.normalize(
            relax.op.memory.alloc_tensor(binding.var, 0, relax.ShapeExpr([size]), "uint8")
        )
        view = relax.Var(f"{binding.var.name}_bytes", call.ty)
        first.append(relax.VarBinding(view, call))
        views.append(_Region((size,), "uint8", view))
    regions = [*constants, *views]
    kernel = builder.add_func(_kernel(regions), ADVISE)
    # Addresses seen. One more, unlike any other constant: TVM makes one constant of equal ones.
    known = np.zeros(len(regions) + 1, "int64")
    known[-1] = -1
    call = relax.Call(
        kernel, [relax.const(known, "int64"), *(region.expression for region in regions)]
    )
    nothing = relax.Var("advised", TupleType([]))
    first.append(relax.VarBinding(nothing, builder.normalize(call)))

    moved = [binding.var for binding, _ in buffers]
    blocks = [relax.BindingBlock(first)]
    for block in main.body.blocks:
        rest = [
            binding
            for binding in block.bindings
            if not any(binding.var.same_as(var) for var in moved)
        ]
        blocks.append(relax.BindingBlock(rest))
    body = relax.SeqExpr(blocks, main.body.body)
    result = builder.get()
    result["main"] = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    return result


def _calls(main: Function) -> list[tuple[VarBinding, Call]]:
    from tvm import relax

    return [
        (binding, binding.value)
        for block in main.body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call)
    ]


def _buffers(main: Function) -> list[tuple[VarBinding, int]]:
    """What allocates each buffer of activations, and its bytes."""
    return [
        (binding, int(call.args[0].values[0]))
        for binding, call in _calls(main)
        if getattr(call.op, "name", "") == "relax.memory.alloc_storage"
    ]


def _constants(main: Function) -> list[_Region]:
    """The constants that kernels get, each once."""
    from tvm.ir import GenericConst, GlobalVar

    regions: list[_Region] = []
    for _, call in _calls(main):
        if not isinstance(call.op, GlobalVar):
            continue
        for argument in call.args:
            if not isinstance(argument, GenericConst):
                continue
            if any(argument.value.same_as(region.expression.value) for region in regions):
                continue
            shape = tuple(int(extent) for extent in argument.value.shape)
            regions.append(_Region(shape, str(argument.value.dtype), argument))
    return regions


def _kernel(regions: Sequence[_Region]) -> PrimFunc:
    """A function of the known addresses, int64, and of the regions."""
    from tvm import tirx

    known = tirx.decl_buffer((len(regions) + 1,), "int64", name="known")
    buffers = [
        tirx.decl_buffer(region.shape, region.dtype, name=f"region{index}")
        for index, region in enumerate(regions)
    ]
    mask = tirx.const(-PAGE_BYTES, "int64")
    steps = []
    for index, (region, buffer) in enumerate(zip(regions, buffers, strict=True)):
        start = tirx.BufferLoad(buffer, [0] * len(region.shape))
        # The IR cannot make a number of an address. C passes both alike, and this gives it back.
        address = tirx.call_extern("int64", "labs", tirx.address_of(start))
        remembered = tirx.BufferLoad(known, [index])
        page = remembered & mask
        size = ((remembered + region.bytes + PAGE_BYTES - 1) & mask) - page
        wishes = [
            tirx.Evaluate(
                tirx.call_extern("int32", "madvise", page, size, tirx.const(advice, "int32"))
            )
            for advice in (MADV_HUGEPAGE, MADV_COLLAPSE)
        ]
        unknown = tirx.SeqStmt([tirx.BufferStore(known, address, [index]), *wishes])
        steps.append(tirx.IfThenElse(remembered != address, unknown, None))
    body = tirx.SeqStmt(steps) if len(steps) > 1 else steps[0]
    return tirx.PrimFunc([known, *buffers], body)
