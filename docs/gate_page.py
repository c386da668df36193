"""What docs/guides/bench.md shows of benchmarks/results/gate.json."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "benchmarks/results/gate.json"


def page() -> str:
    """The runs as on a terminal; how to make them where there are none."""
    if not FILE.is_file():
        return "`benchmarks/gate.py` runs a gate that passes and one that fails on purpose."
    gate = json.loads(FILE.read_text("utf-8"))
    lines = ["```console"]
    for run in gate["runs"]:
        lines += [f"$ {run['command']}; echo $?", *run["said"], str(run["exit_code"])]
    return "\n".join([*lines, "```", "", f"({gate['date']}, {gate['cpu']}, `benchmarks/gate.py`)"])
