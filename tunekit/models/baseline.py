"""A library good enough to check an import with.

TVM's default loops run ResNet-50 in five seconds and larger models in minutes; one schedule for
everything brings that down many times. Nothing is measured here.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.tirx import PrimFunc

from tunekit.errors import CompileError, ImportFailed
from tunekit.extern_kernels.function import is_extern
from tunekit.extern_kernels.objects import compile_kernels
from tunekit.ir.compilation import called_kernels, link_executable, lower
from tunekit.ir.not_numbers import keep_nan
from tunekit.ir.parallel_build import build_in_parallel
from tunekit.ir.simple_schedule import schedule_kernel
from tunekit.ir.tir_pipeline import pipeline_ending_in, without_checks
from tunekit.machine.target import ResolvedTarget, resolve_target
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line

_HINT = (
    "this is a fault of the import: write that part of the model with other operators, or try the "
    "other way in (an .onnx file for a torch model, or the torch model itself)"
)
_FLOP_BY_KERNEL = 5e7
"""Of a run: with less to do, LLVM takes longer to optimize a kernel than two runs gain by it."""
_REFUSALS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)
"""What TVM's passes raise of a module that they cannot take."""


def build_baseline(
    module: tvm.IRModule, path: Path, *, target: ResolvedTarget | None = None
) -> None:
    """Compiles a Relax module for this host into a shared library.

    Args:
        module: the module.
        path: of the library.
        target: what for; this machine's CPU if left out.

    Raises:
        ImportFailed: TVM cannot make kernels of the module, or not compile one; names it.
        CompileError: the library cannot be linked or written.
    """
    resolved = target or resolve_target("native")
    compiled_for = resolved.tvm
    with (
        quiet(),
        compiled_for,
        tempfile.TemporaryDirectory(prefix="compiling-", dir=path.parent) as folder,
    ):
        try:
            kernels = _kernels(module)
        except _REFUSALS as error:
            raise ImportFailed(
                f"the imported model cannot be made into kernels: {first_line(error)}"
                f"{_culprit(module)}",
                hint=_HINT,
            ) from error
        if target is None and _is_soon_run(kernels):
            resolved = resolve_target({**json.loads(resolved.spec), "opt-level": 1})
        try:
            executable, objects = _compiled(kernels, resolved, Path(folder))
        except _REFUSALS as error:
            raise ImportFailed(
                f"the imported model cannot be compiled: {first_line(error)}"
                f"{_culprit_kernel(kernels, compiled_for)}",
                hint=_HINT,
            ) from error
        try:
            executable.export_library(str(path), addons=objects)
        except (RuntimeError, ValueError, OSError) as error:
            raise CompileError(
                f"the imported model's library cannot be linked: {first_line(error)}",
                hint="`tunekit doctor` checks the compiler",
            ) from error


def _is_soon_run(kernels: tvm.IRModule) -> bool:
    """Whether two runs of slower kernels take less time than LLVM's optimizations of them."""
    work = 0.0
    for binding in _bindings(kernels):
        call = binding.value
        called = call.args[0] if isinstance(call, relax.Call) and call.args else None
        if isinstance(called, tvm.ir.GlobalVar) and isinstance(kernels[called], PrimFunc):
            try:
                work += estimate_tir_flops(tvm.IRModule({"main": kernels[called]}))
            except _REFUSALS:  # Of loops whose extents are not known.
                continue
    return work < _FLOP_BY_KERNEL * len(kernels.functions)


def _compiled(kernels: tvm.IRModule, target: ResolvedTarget, folder: Path) -> tuple[Any, list[str]]:
    """What TVM's virtual machine loads, and the objects of further kernels."""
    lowered = lower(keep_nan(_scheduled(kernels)), target.tvm)
    called = called_kernels(lowered)
    pipeline = pipeline_ending_in("tunekit_import", without_checks)
    built = build_in_parallel(called, target.tvm, pipeline=pipeline, folder=folder, apart=is_extern)
    in_c = compile_kernels(called, target, None, folder)
    executable = link_executable(lowered, built.root, target.tvm)
    return executable, [str(file) for file in (*built.objects, *in_c)]


def _kernels(module: tvm.IRModule) -> tvm.IRModule:
    return tvm.transform.Sequential(
        [
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
        ]
    )(module)


def _scheduled(module: tvm.IRModule) -> tvm.IRModule:
    functions: dict[Any, Any] = dict(module.functions_items())
    for name, function in functions.items():
        if isinstance(function, PrimFunc):
            scheduled = schedule_kernel(tvm.IRModule({"main": function}))["main"]
            functions[name] = scheduled.with_attrs(dict(function.attrs))
    return tvm.IRModule(functions, attrs=module.attrs)


def _culprit(module: tvm.IRModule) -> str:
    """`; operator <name>`: the first whose lowering fails by itself, "" where none does."""
    for binding in _bindings(module):
        call = binding.value
        if not isinstance(call, relax.Call) or not isinstance(call.op, tvm.ir.Op):
            continue
        try:
            relax.transform.LegalizeOps()(_alone(call))
        except _REFUSALS:
            return f"; operator {str(call.op.name).removeprefix('relax.')}"
    return ""


def _alone(call: Any) -> tvm.IRModule:
    """A module that does nothing but this call."""
    builder = relax.BlockBuilder()
    free = list(relax.analysis.free_vars(call))
    with builder.function("main", free):
        with builder.dataflow():
            result = builder.emit_output(call)
        builder.emit_func_output(result)
    return builder.finalize()


def _bindings(module: tvm.IRModule) -> list[Any]:
    body = module["main"].body
    blocks = body.blocks if isinstance(body, relax.SeqExpr) else []
    return [
        binding
        for block in blocks
        for binding in block.bindings
        if isinstance(binding, relax.VarBinding)
    ]


def _culprit_kernel(module: tvm.IRModule, target: Any) -> str:
    """`; kernel <name>`: the first that does not compile by itself, "" where each does."""
    for name, function in module.functions_items():
        if not isinstance(function, PrimFunc):
            continue
        try:
            kernel = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
            tvm.tirx.build(schedule_kernel(kernel), target)
        except _REFUSALS:
            return f"; kernel {name.name_hint}"
    return ""
