"""A scheduled module becomes code: one that this process runs, or a file that a device loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.graph.lowering import build as lowering
from tunekit.machine.linker import linking
from tunekit.measure.measurer import MeasureOptions
from tunekit.measure.noise_guard import calibration_module

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target

PROBE_FLOATS = 16


def build_target(options: MeasureOptions) -> Target:
    """What candidates are built for."""
    import tvm

    return tvm.target.Target(json.loads(options.target))


def with_packed_weights(module: IRModule) -> IRModule:
    """A scheduled module as it is measured: it takes weights that were packed before."""
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    return RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)


def build_to_run(module: IRModule, options: MeasureOptions) -> Any:
    """The runtime module of a scheduled module, for this process."""
    library = lowering.build(module, build_target(options))
    # LLVM compiles at the first look-up: now, several candidates at a time and within the build's
    # limit, rather than in the time and the quiet that measuring needs.
    library["main"]
    return library


def build_to_file(
    module: IRModule, options: MeasureOptions, compiler: str | None, path: Path
) -> None:
    """Builds a scheduled module into a file that a device loads.

    Args:
        module: what to build.
        options: for which target.
        compiler: links a shared library; None: `path` takes objects for the device to link.
        path: the file.
    """
    library = lowering.build(module, build_target(options))
    if compiler is None:
        library.export_library(str(path))
    else:
        library.export_library(str(path), fcompile=linking(compiler))


def build_calibration(options: MeasureOptions, compiler: str | None, path: Path) -> None:
    """Builds the noise guard's kernel into a file."""
    build_to_file(calibration_module(options.threads), options, compiler, path)


def build_probe(options: MeasureOptions, compiler: str | None, path: Path) -> None:
    """Builds a function that adds one to 16 floats into a file."""
    import tvm
    from tvm import te

    source = te.placeholder((PROBE_FLOATS,), "float32", name="source")
    result = te.compute((PROBE_FLOATS,), lambda i: source[i] + 1.0, name="result")
    function = te.create_prim_func([source, result])
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    if options.device != "cpu":
        module = _bind_threads(module)
    build_to_file(module, options, compiler, path)


def _bind_threads(module: IRModule) -> IRModule:
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    (loop,) = schedule.get_loops(schedule.get_sblock("result"))
    schedule.bind(loop, "threadIdx.x")
    return schedule.mod
