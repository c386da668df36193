"""A library good enough to check an import with.

TVM's default loops run ResNet-50 in five seconds and larger models in minutes; one schedule for
everything brings that down many times. Nothing is measured here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.tirx import PrimFunc

from tunekit.errors import CompileError
from tunekit.ir.simple_schedule import schedule_kernel
from tunekit.machine.target import resolve_target
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line


def build_baseline(module: tvm.IRModule, path: Path) -> None:
    """Compiles a Relax module for this host into a shared library.

    Raises:
        CompileError: TVM or the C compiler refuses.
    """
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
