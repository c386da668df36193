"""Kernels that call C are in no module with others, which LLVM would make slow."""

from __future__ import annotations

import subprocess
from pathlib import Path

import tvm
from targets import unoptimized
from tvm import te

from tunekit.ir.parallel_build import build_in_parallel
from tunekit.ir.tir_pipeline import pipeline_ending_in, without_checks


def test_what_stands_apart_is_in_an_object_of_its_own(tmp_path: Path) -> None:
    given = te.placeholder((8,), name="given")
    result = te.compute((8,), lambda i: given[i] + 1, name="result")
    plain = te.create_prim_func([given, result])
    names = ("first", "in_c", "last", "middle", "more_in_c")
    functions = {tvm.ir.GlobalVar(name): plain.with_attr("global_symbol", name) for name in names}
    built = build_in_parallel(
        tvm.IRModule(functions),
        unoptimized().tvm,
        pipeline=pipeline_ending_in("tunekit_import", without_checks),
        folder=tmp_path,
        apart=lambda function: str(function.attrs["global_symbol"]).endswith("in_c"),
    )
    kinds = []
    for file in built.objects:
        listed = subprocess.run(
            ["nm", str(file)], capture_output=True, text=True, check=True
        ).stdout
        names = {line.split("__tvm_ffi_")[1] for line in listed.splitlines() if " T " in line}
        kinds.append({name.endswith("in_c") for name in names})
    assert {True} in kinds
    assert {False} in kinds
    assert all(len(kind) == 1 for kind in kinds)
