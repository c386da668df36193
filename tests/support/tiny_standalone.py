"""A small graph as both libraries: TVM's virtual machine's, and one of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm import relax

from tunekit.library.build import export
from tunekit.machine.cpu_features import features_of, instruction_sets
from tunekit.machine.target import ResolvedTarget
from tunekit.processes.sandbox import run_library
from tunekit.standalone.build import Part
from tunekit.standalone.emit import ExpectedValue, Program
from tunekit.standalone.planner import plan
from tunekit.standalone.self_test import make_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

NAMES = ("image", "ids")
RANGES = ((-1.0, 1.0), (0.0, 9.0))
_SHAPES = ((1, 3, 12, 12), (1, 5))
_DTYPES = ("float32", "int64")


@dataclass(frozen=True)
class TinyLibrary:
    """Attributes:
    machine: path of the library for TVM's virtual machine.
    own: path of the standalone library.
    part: what that was built from.
    """

    machine: Path
    own: Path
    part: Part


def tiny_inputs() -> list[npt.NDArray[np.generic]]:
    """Those of the self test."""
    return [
        make_input(number, shape, dtype, RANGES[number])
        for number, (shape, dtype) in enumerate(zip(_SHAPES, _DTYPES, strict=True))
    ]


def tiny_module() -> tvm.IRModule:
    """A convolution, an embedding, and outputs of several kinds; its loops are parallel."""
    random = np.random.default_rng(0)
    builder = relax.BlockBuilder()
    image, ids = (
        relax.Var(name, relax.TensorType(shape, dtype))
        for name, shape, dtype in zip(NAMES, _SHAPES, _DTYPES, strict=True)
    )
    weight, table = (
        relax.const(random.normal(size=size).astype("float32")) for size in ((8, 3, 3, 3), (10, 8))
    )
    with builder.function("main", [image, ids]):
        with builder.dataflow():
            features = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(image, weight)))
            words = builder.emit(relax.op.sum(relax.op.take(table, ids, axis=0), axis=1))
            pooled = builder.emit(relax.op.add(relax.op.sum(features, axis=[2, 3]), words))
            last = builder.emit(relax.op.add(ids, relax.const(1, "int64")))
            flat = builder.emit(relax.op.reshape(image, (432,)))
            outputs = relax.Tuple([features, relax.Tuple([pooled, last]), flat])
            result = builder.emit_output(outputs)
        builder.emit_func_output(result)
    return _parallel(relax.transform.LegalizeOps()(builder.get()))


def _parallel(module: tvm.IRModule) -> tvm.IRModule:
    schedule = tvm.s_tir.Schedule(module)
    for variable, function in module.functions_items():
        if isinstance(function, relax.Function):
            continue
        schedule.work_on(variable.name_hint)
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            loops = schedule.get_loops(block)
            if len(loops) > 1:
                schedule.parallel(loops[1])
    return schedule.mod


def tiny_part(folder: Path, target: ResolvedTarget, compiler: str | None = None) -> Part:
    """The graph compiled for a target: `machine.so` and its kernels, in `folder`. Its self test
    expects nothing."""
    exported = export(
        tiny_module(),
        target,
        folder / "machine.so",
        compiler=compiler,
        kernels=folder / "kernels.o",
    )
    assert exported.kernels is not None
    program = Program(
        plan=plan(exported.lowered, exported.unneeded),
        features=instruction_sets(features_of(target.tvm), target.architecture),
        cores=target.cores,
        input_names=NAMES,
        output_names=["features", "pooled", "next", "flat"],
        input_ranges=RANGES,
        checks=(),
        huge_pages=False,
        workspace=exported.workspace,
    )
    return Part(program, exported.kernels)


def run_tiny(machine: Path) -> list[npt.NDArray[np.generic]]:
    """What TVM's virtual machine gives."""
    inputs = dict(zip(NAMES, tiny_inputs(), strict=True))
    return run_library(machine, [inputs], input_names=NAMES, threads=1)[0]


def expecting(part: Part, checks: Sequence[ExpectedValue]) -> Part:
    """The same, with a self test that expects something."""
    return Part(replace(part.program, checks=checks), part.kernels)
