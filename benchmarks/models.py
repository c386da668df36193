"""Tunes recipes and races the libraries against the reference runtimes.

    python benchmarks/models.py resnet50_x86 [--trials 800] [--rounds 20]
    python benchmarks/models.py --table

For each recipe: `tunekit tune` in a process of its own, timed; then `tunekit bench` with all
runtimes. Written to benchmarks/results/: RECIPE.json, the benchmark with every raw sample and the
machine it was taken on, and RECIPE.tuning.json, what the search spent and reached, task by task.
`--table` prints what the files hold as the Markdown table in the README.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tunekit.bench.results import Report, RuntimeResult
from tunekit.library import load_manifest
from tunekit.report.numbers import significant

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
RUNTIMES = (
    *("tuned", "default", "unscheduled"),
    *("pytorch", "torchscript", "onnxruntime", "openvino"),
)
TUNEKIT = [sys.executable, "-m", "tunekit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="names in recipes/, without .yaml")
    parser.add_argument("--trials", type=int, help="budget of each; the recipe's if left out")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the benchmark")
    parser.add_argument("--bench-only", action="store_true", help="do not tune again")
    parser.add_argument("--table", action="store_true", help="print the results as Markdown")
    arguments = parser.parse_args()
    if not arguments.recipes and not arguments.table:
        parser.error("name recipes, or give --table")
    RESULTS.mkdir(exist_ok=True)
    for name in arguments.recipes:
        recipe = str(ROOT / "recipes" / f"{name}.yaml")
        if not arguments.bench_only:
            tune(name, recipe, arguments.trials)
        report = RESULTS / f"{name}.json"
        command = [*TUNEKIT, "bench", recipe, "--rounds", str(arguments.rounds), "-o", str(report)]
        subprocess.run([*command, "--runtimes", ",".join(RUNTIMES)], check=True, cwd=ROOT)
    if arguments.table:
        print(table(sorted(RESULTS.glob("*.json"))))


def tune(name: str, recipe: str, trials: int | None) -> None:
    """Runs the tuning command and writes what it spent and reached."""
    budget = [] if trials is None else ["--trials", str(trials)]
    started = time.monotonic()
    finished = subprocess.run(
        [*TUNEKIT, "tune", recipe, *budget], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    seconds = time.monotonic() - started
    manifest = load_manifest(ROOT / finished.stdout.strip())
    summary = {
        "recipe": name,
        "date": manifest.created_at.isoformat(timespec="seconds"),
        "cpu": manifest.host["cpu_name"],
        "target": manifest.target,
        "trials": manifest.recipe["tuning"]["trials"],
        "tune_command_s": round(seconds, 1),
        "coverage": manifest.coverage,
        "layout": manifest.layout,
        "layout_transforms": manifest.layout_transforms,
        "sum_of_kernels_ms": round(1e3 * (manifest.estimated_latency_s or 0.0), 3),
        "relative_errors": manifest.relative_errors,
        "tasks": [
            {
                "name": task.name,
                "weight": task.weight,
                "best_ms": None if task.latency_s is None else round(1e3 * task.latency_s, 5),
                "gflops": None
                if task.latency_s is None
                else round(task.flops / task.latency_s / 1e9, 1),
            }
            for task in manifest.tasks
        ],
    }
    (RESULTS / f"{name}.tuning.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")


def table(files: list[Path]) -> str:
    """A Markdown table: median milliseconds of each runtime, and what tuning made of it."""
    lines = [
        "| recipe | CPU | date | trials | minutes | "
        + " | ".join(RUNTIMES)
        + " | tuned vs best other |",
        "|---|---|---|---|---|" + "---|" * (len(RUNTIMES) + 1),
    ]
    for file in files:
        if file.name.endswith(".tuning.json"):
            continue
        tuning_file = file.with_suffix(".tuning.json")
        if not tuning_file.is_file():
            continue
        tuning = json.loads(tuning_file.read_text("utf-8"))
        report = Report.from_json(file.read_text("utf-8"), file=file)
        rows = {row.name: row for row in report.runtimes}
        cells = [_median(rows.get(name)) for name in RUNTIMES]
        ratio = rows["tuned"].ratio
        against = "-" if ratio is None else f"{ratio.value:.2f}x {ratio.against}"
        if ratio is not None:
            against += f" ({ratio.low:.2f} to {ratio.high:.2f})"
        minutes = tuning["tune_command_s"] / 60
        lines.append(
            f"| `{file.stem}` | {tuning['target']['mcpu']} | {tuning['date'][:10]} "
            f"| {tuning['trials']} | {minutes:.1f} | " + " | ".join(cells) + f" | {against} |"
        )
    return "\n".join(lines)


def _median(row: RuntimeResult | None) -> str:
    if row is None or row.latency is None:
        return "-"
    return significant(row.latency.median_ms) if row.status == "ok" else f"({row.status})"


if __name__ == "__main__":
    main()
