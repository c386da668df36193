"""A library without tuning, where it is told to: by `tunekit compile`, or `tune` with no trials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekit.catalogue import Catalogue

_MODEL = """\
import torch


def line():
    return torch.nn.Linear(16, 4)
"""
_RECIPE = """\
name: line
model:
  source: python:line_model:line
  inputs:
    - name: x
      shape: [2, 16]
layout: NCHW
"""


@pytest.fixture(autouse=True)
def _recipe(tmp_path: Path) -> None:
    (tmp_path / "line_model.py").write_text(_MODEL)
    (tmp_path / "line.yaml").write_text(_RECIPE)


def test_a_quiet_compile_says_where_the_library_is_and_nothing_else(
    run_warm, tmp_path: Path
) -> None:
    command = ("compile", "line.yaml", "-q", "--no-selection", "-o", "out/here")
    (tmp_path / "taken").touch()
    refused = run_warm(*command, "--export", "taken")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "taken is a file" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = run_warm(*command, "--export", "out/bundle")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out/here\nout/bundle\n", "")
    assert (tmp_path / "out/bundle/include/line.h").is_file()
    folder = tmp_path / "out" / "here"
    assert sorted(file.name for file in folder.iterdir()) == [
        "libline.so",
        "manifest.json",
        "model.so",
        "recipe.yaml",
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["outputs"][0]["shape"] == [2, 4]
    assert manifest["selection"]["skipped"] == "it was not wanted"
    assert not (tmp_path / "artifacts").exists()


def test_a_budget_of_nothing_compiles_what_is_known_here_nothing(run_warm, tmp_path: Path) -> None:
    done = run_warm(
        *("tune", "line.yaml", "--trials", "0", "--catalogue", "empty.db"),
        *("--artifacts", "nothing"),
    )
    assert (done.returncode, done.stdout) == (0, "nothing/line\n"), done.stderr
    with Catalogue.open(tmp_path / "empty.db", create=False) as catalogue:
        assert list(catalogue.trials.read()) == []
    assert "coverage: 0.0%" in done.stderr
    assert "the others have default schedules" in done.stderr
    manifest = json.loads((tmp_path / "nothing" / "line" / "manifest.json").read_text())
    assert (manifest["coverage"], manifest["applied"]) == (0.0, 0)
    assert manifest["estimated_latency_s"] is None


def test_targets_given_several_times_have_to_go_together(run_warm, tmp_path: Path) -> None:
    targets = ("--target", "native", "--target", "llvm -mtriple=wasm32-unknown")
    done = run_warm("compile", "line.yaml", *targets)
    assert done.returncode == 2, done.stderr
    assert "target 'llvm -mtriple=wasm32-unknown' is for wasm32, and " in done.stderr
    assert "a library is for CPUs of one architecture" in done.stderr
    assert not list(tmp_path.rglob("*.so"))
