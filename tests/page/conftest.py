from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from bench_reports import full_report

Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make(run_warm: Make) -> Make:
    return partial(run_warm, "report")


@pytest.fixture
def bench_file(tmp_path: Path) -> Path:
    path = tmp_path / "bench.json"
    path.write_text(full_report().to_json(), "utf-8")
    return path
