"""Operators in C: imported, laid out, skipped where they may be, and in both kinds of libraries."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from extern_operators import CHUNK, ROWS, Detecting, Odd, define
from tiny_extern import NAMES, Made, example, relax_of
from torch_modules import errors_of, wrong_of

from tunekit.errors import CompileError, ImportFailed
from tunekit.extern_kernels import ExternCode, KernelTensor, Phase
from tunekit.extern_kernels.function import function_of, kernels_of
from tunekit.extern_kernels.glue import source_of
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.extern_kernels.objects import compile_kernels
from tunekit.graph.switches import find_switches
from tunekit.ir.relax import bindings_of, operator_name
from tunekit.machine.target import ResolvedTarget
from tunekit.processes.sandbox import run_library
from tunekit.standalone.build import Toolchain, build

COUNTS = range(ROWS + 1)


def _kernel(body: str, tasks: int = 1) -> ExternKernel:
    tensor = KernelTensor((4,), "float32")
    return ExternKernel("toy", (tensor,), (tensor,), {}, ExternCode((Phase(body, tasks),)))


def _module_of(kernel: ExternKernel) -> object:
    import tvm

    return tvm.IRModule({"main": function_of(kernel)})


@pytest.mark.parametrize("shift", [True, False])
def test_an_import_gives_what_torch_gives(shift: bool, tmp_path: Path) -> None:
    errors = errors_of(Detecting(shift=shift).eval(), example(3), tmp_path)
    assert wrong_of(errors, 1e-5) == {}


def test_a_library_gives_what_torch_gives_however_much_there_is(made: Made) -> None:
    results = run_library(made.path, [example(n) for n in COUNTS], input_names=NAMES)
    for count, actual in zip(COUNTS, results, strict=True):
        for expected, output in zip(made.expected(example(count)), actual, strict=True):
            np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


def test_a_standalone_library_gives_the_same_bits(
    made: Made, target: ResolvedTarget, tmp_path: Path
) -> None:
    built = build("toy_net", [made.part(target)], tmp_path, Toolchain("gcc"), static=True)
    inputs = [example(n) for n in COUNTS]
    expected = run_library(made.path, inputs, input_names=NAMES)
    actual = run_library(built.shared, inputs, input_names=NAMES, threads=2, standalone="toy_net")
    for pair in zip(expected, actual, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(*pair, strict=True))
    listed = subprocess.run(
        ["nm", "--extern-only", str(built.shared), str(built.static)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tunekit_toy" not in listed.stdout


def test_operators_take_and_give_blocks(made: Made) -> None:
    kernels = {kernel.operator: kernel for kernel in kernels_of(made.graph.module)}
    lanes = kernels["toy_pixels"].inputs[0].block
    assert lanes > 1
    assert kernels["toy_pixels"].inputs[2].block == 1
    assert [tensor.block for tensor in kernels["toy_chunk"].inputs] == [lanes, 1]
    assert [tensor.block for tensor in kernels["toy_chunk"].outputs] == [lanes, 1]
    # Those that the collecting operator, which takes none, reads.
    assert made.graph.transforms == 2


def test_operators_in_c_are_no_tasks(made: Made) -> None:
    assert not [task.name for task in made.tasks if task.name.startswith("tunekit_")]


def test_tasks_count_with_the_calls_that_are_expected(made: Made) -> None:
    weights = {task.name: task.weight for task in made.tasks if "convolution" in task.name}
    assert sorted(weights.values()) == [1, 1]


def test_kernels_of_chunks_are_one_and_look_at_their_flag(made: Made) -> None:
    names = [str(variable.name_hint) for variable in made.exported.lowered.get_global_vars()]
    guarded = [name for name in names if name.endswith("_switched")]
    assert len(guarded) == len({name for name in guarded if "convolution" in name}) + 1
    for name in guarded:
        assert re.search(r"if switch\w* != 0:", str(made.exported.lowered[name])), name


def test_weights_of_a_head_are_there_once(made: Made) -> None:
    from tvm.ir import GenericConst

    weights = [
        argument.value
        for _, call in bindings_of(made.graph.module["main"]) or ()
        if operator_name(call) == "call_tir"
        for argument in call.args[1].fields
        if isinstance(argument, GenericConst)
        and prod(argument.value.shape) == made.module.head.weight.numel()
    ]
    assert len(weights) == ROWS // CHUNK
    assert all(weight.same_as(weights[0]) for weight in weights)


def _switches(module: torch.nn.Module) -> int:
    from tvm import relax

    legal = relax.transform.LegalizeOps()(relax_of(module))
    return len({str(giver) for giver in find_switches(legal).needed.values()})


def test_what_is_returned_is_always_computed() -> None:
    assert _switches(Detecting()) == ROWS // CHUNK
    assert _switches(Detecting(returns_chunk=True)) == ROWS // CHUNK - 1


def test_a_kernel_is_kept_whole_as_text(made: Made) -> None:
    for kernel in kernels_of(made.graph.module):
        assert ExternKernel.from_json(kernel.to_json()) == kernel
        json.loads(kernel.to_json())


def test_what_is_generated_compiles_without_a_warning(made: Made, tmp_path: Path) -> None:
    source = tmp_path / "glue.c"
    source.write_text(source_of(kernels_of(made.graph.module)), "utf-8")
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    Toolchain("gcc").compile(source, tmp_path / "glue.o", *strict)


def test_an_operator_without_c_is_refused_by_name() -> None:
    define()
    with pytest.raises(ImportFailed, match=r"operator tunekit\.toy_unknown\.default cannot be"):
        relax_of(Odd("toy_unknown"))


def test_c_that_does_not_compile_is_an_error_that_says_so(
    target: ResolvedTarget, tmp_path: Path
) -> None:
    with pytest.raises(CompileError, match="no_such_name"):
        compile_kernels(_module_of(_kernel("out0[0] = no_such_name;")), target, None, tmp_path)


def test_c_is_for_cpus(target: ResolvedTarget, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="cuda does not run C"):
        compile_kernels(_module_of(_kernel("")), replace(target, kind="cuda"), None, tmp_path)
