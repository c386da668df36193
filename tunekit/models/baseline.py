"""A library good enough to check an import with.

TVM's default loops run ResNet-50 in five seconds and larger models in minutes. One schedule for
everything brings that down many times: reductions are moved outside of the innermost spatial
loop, which LLVM then vectorizes, and the outer loops run in parallel. Nothing is measured here,
and a kernel that refuses keeps its default loops.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError
from tvm.tirx import IterVar, PrimFunc

from tunekit.errors import CompileError
from tunekit.machine.target import resolve_target
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line


def build_baseline(module: tvm.IRModule, path: Path) -> None:
    """Compile a Relax module for this host into a shared library. Raises CompileError."""
    target = resolve_target("native").tvm
    try:
        with quiet(), target:
            kernels = tvm.transform.Sequential(
                [
                    relax.transform.LegalizeOps(),
                    relax.transform.AnnotateTIROpPattern(),
                    relax.transform.FoldConstant(),
                    relax.transform.FuseOps(),
                    relax.transform.FuseTIR(),
                ]
            )(module)
            tvm.compile(_scheduled(kernels), target=target).export_library(str(path))
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise CompileError(
            f"the imported model cannot be compiled: {first_line(error)}",
            hint="`tunekit doctor` checks the compiler",
        ) from error


def _scheduled(module: tvm.IRModule) -> tvm.IRModule:
    functions: dict[Any, Any] = dict(module.functions_items())
    for name, function in functions.items():
        if isinstance(function, PrimFunc):
            scheduled = schedule_kernel(tvm.IRModule({"main": function}))["main"]
            functions[name] = scheduled.with_attrs(dict(function.attrs))
    return tvm.IRModule(functions, attrs=module.attrs)


def schedule_kernel(module: tvm.IRModule) -> tvm.IRModule:
    """A kernel, `main`, with each of its blocks scheduled by `schedule_block`; as it was where it
    refuses."""
    schedule = Schedule(module)
    try:
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            schedule_block(schedule, block)
    except (ScheduleError, RuntimeError, ValueError, TypeError):
        return module
    return schedule.mod


def schedule_block(schedule: Schedule, block: Any) -> None:
    """Reductions outside of the innermost spatial loop, the outer spatial loops in parallel."""
    loops = schedule.get_loops(block)
    variables = list(schedule.get(block).iter_vars)
    if not loops or len(loops) != len(variables):
        return
    spatial = [
        loop
        for loop, variable in zip(loops, variables, strict=True)
        if variable.iter_type == IterVar.DataPar
    ]
    reductions = [
        loop
        for loop, variable in zip(loops, variables, strict=True)
        if variable.iter_type == IterVar.CommReduce
    ]
    if not spatial or len(spatial) + len(reductions) != len(loops):
        return
    inner = spatial[-1]
    outer = spatial[:-1]
    if reductions:
        schedule.reorder(*outer, *reductions, inner)
    if outer:
        schedule.parallel(schedule.fuse(*outer))
    elif not reductions:
        schedule.parallel(inner)
