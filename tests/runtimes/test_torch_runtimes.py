"""TorchScript and TorchInductor on modules that they cannot take as they take others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunekit.cache import ContentCache
from tunekit.models import load_source
from tunekit.recipe import load_recipe
from tunekit.runtimes.conversion import ConversionFailed
from tunekit.runtimes.inductor import Inductor
from tunekit.runtimes.process import RunnerProcess
from tunekit.runtimes.runtime import Preparation
from tunekit.runtimes.torchscript import TorchScript

CRASHES_TRACED = """
import ctypes, torch

class Net(torch.nn.Module):
    def forward(self, x):
        if torch.jit.is_tracing():
            ctypes.string_at(0)
        return x * 2
"""
# What `torch.export` refuses, and `torch.compile` takes in two graphs.
BRANCHES = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1
"""


def preparation_of(module: str, folder: Path) -> Preparation:
    """Of a recipe of the class `Net` in a module."""
    (folder / "trap.py").write_text(module)
    recipe_file = folder / "trap.yaml"
    recipe_file.write_text(
        "name: trap\nmodel: {source: 'python:trap:Net', inputs: [{name: x, shape: [1, 6]}]}\n"
    )
    recipe = load_recipe(recipe_file)
    cache = ContentCache(folder / "cache")
    source = load_source(recipe.model, cache=cache)
    inputs = {"x": np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 6)}
    return Preparation(
        recipe, source, inputs, cache, 1, lambda _: None, [inputs["x"] * 2], tolerance=1e-3
    )


def outputs_of(runtime: str, plan: dict[str, Any], preparation: Preparation, folder: Path) -> Any:
    """What a runtime gives in a process of its own."""
    given, results = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(given, *preparation.inputs.values())
    names = list(preparation.inputs)
    with RunnerProcess(runtime, threads=1, log=folder / "log") as process:
        process.ask("load", timeout_s=300, plan=plan, inputs=str(given), names=names, threads=1)
        process.ask("outputs", timeout_s=60, to=str(results))
    with np.load(results) as archive:
        return archive["arr_0"]


def test_a_trace_that_crashes_is_the_rows_reason_and_not_this_processs_end(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed) as raised:
        TorchScript.prepare(preparation_of(CRASHES_TRACED, tmp_path))
    assert str(raised.value) == "SIGSEGV (segmentation fault) (while converting)"


def test_a_trace_is_made_once_and_run_elsewhere(tmp_path: Path) -> None:
    preparation = preparation_of(CRASHES_TRACED.replace("ctypes.string_at(0)", "pass"), tmp_path)
    plan = TorchScript.prepare(preparation)
    place = "tunekit.runtimes.torchscript:TorchScript"
    given = outputs_of(place, plan, preparation, tmp_path)
    np.testing.assert_array_equal(given, preparation.inputs["x"] * 2)
    file = Path(plan["folder"]) / "traced.pt"
    before = file.stat().st_mtime_ns
    assert TorchScript.prepare(preparation) == plan
    assert file.stat().st_mtime_ns == before


@pytest.mark.skipif(shutil.which("g++") is None, reason="TorchInductor compiles by g++")
def test_what_cannot_be_packaged_is_compiled_by_torch_compile(tmp_path: Path) -> None:
    preparation = preparation_of(BRANCHES, tmp_path)
    plan = Inductor.prepare(preparation)
    assert "package" not in plan
    assert list(plan["shown"]["refused"]) == ["as it is"]
    given = outputs_of("tunekit.runtimes.inductor:Inductor", plan, preparation, tmp_path)
    np.testing.assert_array_equal(given, preparation.inputs["x"] * 2)
