"""Sorts are kernels in C: a standalone library has them, and in torch's order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from targets import unoptimized
from tiny_extern import part_of

from tunekit.graph.prepare import PreparedGraph, prepare
from tunekit.graph.tasks import extract_tasks
from tunekit.library.apply import apply_records
from tunekit.library.build import export
from tunekit.processes.sandbox import run_library
from tunekit.standalone.build import Toolchain, build
from tunekit.torch_frontend import export_program, program_to_relax


class Sorts(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        results = []
        for descending in (False, True):
            for axis in (0, 1, 2):
                results += torch.sort(x, dim=axis, descending=descending, stable=True)
        # Which of equal ones it takes is not said.
        return [*results, torch.topk(x, 2, 1)[0], torch.topk(x, 3, -1, largest=False)[0]]


def made(inputs: dict[str, Any]) -> PreparedGraph:
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    module = program_to_relax(export_program(Sorts(), tensors, "sorts"), tuple(inputs), "sorts")
    return prepare(module, unoptimized(), "NCHW")


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8"]
)
def test_a_library_of_its_own_sorts_as_torch_does(dtype: str, tmp_path: Path) -> None:
    target = unoptimized()
    random = np.random.default_rng(7)
    # Few values, so that many are equal; and the extremes of each type.
    values = random.integers(0 if dtype == "uint8" else -4, 5, (7, 5, 33)).astype(dtype)
    least = np.iinfo(dtype).min if dtype[0] in "iu" else -np.inf
    most = np.iinfo(dtype).max if dtype[0] in "iu" else np.inf
    values[0, :2, :2], values[1, 1:3, 5] = most, least
    if dtype.startswith("float"):
        values[2, 3, :4], values[3, :, 8:12] = np.nan, -0.0
    inputs = {"x": values}
    graph = made(inputs)
    tasks = extract_tasks(graph, target)
    scheduled = apply_records(graph, tasks, [], target).module
    exported = export(scheduled, target, tmp_path / "machine.so", kernels=tmp_path / "kernels.o")
    with torch.no_grad():
        expected = [result.numpy() for result in Sorts()(torch.from_numpy(values))]
    names = [f"y{number}" for number in range(len(expected))]
    part = part_of(exported, target, ["x"], names, [(0.0, 1.0)])
    built = build("sorts", [part], tmp_path, Toolchain("gcc"))
    for options in ({}, {"standalone": "sorts", "threads": 2}):
        path = built.shared if options else tmp_path / "machine.so"
        [actual] = run_library(path, [inputs], input_names=("x",), **options)
        for wanted, output in zip(expected, actual, strict=True):
            np.testing.assert_array_equal(output, wanted)
