"""One library, run in four ways: does it matter how it is called?

    python benchmarks/forms.py [RECIPE ...] [--again] [--rounds 20]

For each recipe, compiled with default schedules, these in turns, each in a process of its own with
as many threads as the recipe says:

    tuned         the standalone library by its C API, from the process of the race
    tuned-c       the same from a program in C, which times itself
    tuned-ctypes  the same from Python with NumPy arrays
    tuned-vm      model.so in TVM's virtual machine

Rows are written to benchmarks/results/forms.json as they come, and recipes that have one are left
out: what was interrupted is called again. The machine has to be quiet. docs/results/deployment.md
is made from the file by docs/generate.py.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import tunekit
from tunekit.errors import TunekitError
from tunekit.timing.statistics import median, paired_ratio

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "forms.json"
MACHINE = "tuned-vm"
FORMS = ("tuned", "tuned-c", "tuned-ctypes", MACHINE)
# What compiles in a minute or so, has no parts that another package brings, and fits here twice.
LEFT_OUT = re.compile(r"efficientnet_b[567]|maskrcnn|yolo|ppocr|quickstart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [path.stem for path in sorted((ROOT / "recipes").glob("*.yaml"))]
    parser.add_argument("recipes", nargs="*", help="names in recipes/")
    parser.add_argument("--again", action="store_true", help="recipes that have a row, too")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    rows: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    chosen = options.recipes or [name for name in names if not LEFT_OUT.search(name)]
    for name in chosen:
        if name in rows and not options.again:
            continue
        try:
            rows[name] = measured(name, options.rounds)
        except TunekitError as error:
            print(f"{name}: {error.message}", flush=True)
            continue
        RESULTS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
        print(name, {form: row["vs_vm"] for form, row in rows[name]["forms"].items()}, flush=True)


def measured(name: str, rounds: int) -> dict[str, Any]:
    """The medians of all forms, and how many times as fast as TVM's virtual machine they are."""
    with tempfile.TemporaryDirectory() as folder:
        report = tunekit.bench(
            ROOT / "recipes" / f"{name}.yaml",
            runtimes=FORMS,
            rounds=rounds,
            output=folder,
            catalogue=Path(folder, "catalogue.db"),
        )
    failed = [f"{row.name}: {row.reason}" for row in report.runtimes if row.status != "ok"]
    if failed:
        raise TunekitError("; ".join(failed))
    seconds = {row.name: [median(turn.seconds) for turn in row.rounds] for row in report.runtimes}
    forms = {}
    for form in FORMS:
        ratio = paired_ratio(seconds[form], seconds[MACHINE])
        forms[form] = {
            "ms": round(1e3 * median(seconds[form]), 4),
            "vs_vm": [
                round(value, 3) for value in (ratio.value, ratio.interval.low, ratio.interval.high)
            ],
            "turns_ms": [round(1e3 * value, 4) for value in seconds[form]],
        }
    environment = report.environment
    return {
        "cpu": environment.host["cpu_name"],
        "date": environment.date[:10],
        "threads": report.protocol.threads,
        "forms": forms,
    }


if __name__ == "__main__":
    main()
