"""The benchmark of deployment gives a row of every runtime, and its page shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import deployment_page
import pytest
from generate import _table

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.slow
def test_a_tiny_model_has_a_row_of_every_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "deployment.json"
    command = [sys.executable, str(BENCHMARKS / "deployment.py"), "vanilla_cnn_onnx"]
    subprocess.run(
        [*command, "--rounds", "2", "--artifacts", str(tmp_path), "-o", str(output)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        check=True,
        timeout=600,
    )
    rows = json.loads(output.read_text())["vanilla_cnn_onnx"]["runtimes"]
    assert set(rows) == set(deployment_page.NAMES)
    assert {name for name, row in rows.items() if "failed" in row} == set()
    for name in ("vm-cpp", "vm-python", "onnxruntime", "openvino"):
        for key in ("peak_bytes", "two_processes_bytes", "besides_weights_bytes"):
            assert rows["c"][key] < rows[name][key], (name, key)
    monkeypatch.setattr(deployment_page, "FILE", output)
    page = deployment_page.page(_table)
    assert page.count("| library, from C |") == 1
