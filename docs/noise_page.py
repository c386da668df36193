"""What docs/guides/bench.md says of benchmarks/results/noise.json."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "benchmarks/results/noise.json"
LEVEL = 0.02


def page() -> str:
    """How often the two were level and how often the verdict was that they can be told apart."""
    if not FILE.is_file():
        return "`benchmarks/noise.py` does that twenty times."
    noise = json.loads(FILE.read_text("utf-8"))
    runs = noise["runs"]
    off = [abs(run["ratio"] - 1.0) for run in runs]
    level = sum(one <= LEVEL for one in off)
    unstable = sum(run["answer"] == "failed" for run in runs)
    apart = sum(not run["low"] <= 1.0 <= run["high"] for run in runs)
    return (
        f"{len(runs)} times `tunekit bench {noise['recipe']} --check-noise --rounds "
        f"{noise['rounds']}`: within 2 % in {level}, at most {100 * max(off):.1f} % apart, called "
        f"unstable in {unstable} ({noise['date']}, {noise['cpu']}, {noise['cores']} cores of a "
        "shared host, `benchmarks/noise.py`). "
        f"In {apart} of them the interval leaves 1 out: two processes of one library are not quite "
        "alike (where their memory lies, for one), and more rounds do not show that. A difference "
        f"below {100 * max(off):.1f} % says nothing on such a machine, whatever its interval."
    )
