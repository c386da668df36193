"""`tunekit compile` writes a library without tuning, where it is told to."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_a_quiet_compile_says_where_the_library_is_and_nothing_else(
    run_tunekit, tmp_path: Path
) -> None:
    (tmp_path / "line_model.py").write_text(_MODEL)
    (tmp_path / "line.yaml").write_text(_RECIPE)
    done = run_tunekit("compile", "line.yaml", "-q", "--no-contest", "-o", "out/here")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out/here\n", "")
    folder = tmp_path / "out" / "here"
    assert sorted(file.name for file in folder.iterdir()) == [
        "manifest.json",
        "model.so",
        "recipe.yaml",
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["outputs"][0]["shape"] == [2, 4]
    assert manifest["contest"]["skipped"] == "it was not wanted"
    assert not (tmp_path / "artifacts").exists()
