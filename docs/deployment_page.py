"""What docs/results/deployment.md says of benchmarks/results/deployment.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "benchmarks/results/deployment.json"
NAMES = {
    "c": "library, from C",
    "vm-cpp": "TVM's machine, from C++",
    "vm-python": "TVM's machine, from Python",
    "onnxruntime": "ONNX Runtime, from Python",
    "openvino": "OpenVINO, from Python",
}
TITLES = (
    *("run by", "besides weights MiB", "import ms", "load ms", "first run ms", "peak MiB"),
    *("two processes MiB", "1 thread ms", "2 threads ms", "idle CPU ms"),
)
NONE = "Not measured yet: the figures need a quiet machine."

Table = Callable[[tuple[str, ...], list[tuple[str, ...]]], list[str]]


def page(table: Table) -> str:
    """A table for each model; `table` makes lines of titles and rows."""
    models = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    return (
        "\n".join(line for name, row in models.items() for line in section(name, row, table))
        or NONE
    )


def section(name: str, row: Mapping[str, Any], table: Table) -> list[str]:
    """A model: where and when, and a row for each way to run it."""
    weights = _mebibytes(row["weights_bytes"])
    rows = [(NAMES[runtime], *_cells(found)) for runtime, found in row["runtimes"].items()]
    return [
        f"### `{name}`",
        "",
        f"{weights} MiB of weights; {row['cpu']}, {row['date']}",
        "",
        *table(TITLES, rows),
        "",
    ]


def _cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    if "failed" in found:
        return (found["failed"].replace("|", "\\|"), *[""] * (len(TITLES) - 2))
    latency = found["latency_ms"]
    return (
        _mebibytes(found["besides_weights_bytes"]),
        *(plain(found[key]) for key in ("import_ms", "load_ms", "first_run_ms")),
        _mebibytes(found["peak_bytes"]),
        _mebibytes(found["two_processes_bytes"]),
        *(plain(latency[threads]) for threads in ("1", "2")),
        plain(found["idle_cpu_ms"]),
    )


def _mebibytes(count: int) -> str:
    return plain(count / 2**20)


def plain(value: float) -> str:
    """Three digits, none of them behind a point from a hundred on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
