"""Tunes recipes and races the libraries against the reference runtimes.

    python benchmarks/models.py resnet50_x86 [--trials 800] [--rounds 20] [--runtimes tuned,...]
    python benchmarks/models.py --table

For each recipe: `tunekit tune` in a process of its own, timed; then `tunekit bench` with all
runtimes, or some (a large model takes minutes for a run without any schedule). Written to
benchmarks/results/: RECIPE.json, the benchmark with every raw sample and the machine it was taken
on, and RECIPE.tuning.json, what the search spent and reached, task by task. `--table` prints what
the files hold as the Markdown table in docs/results/index.md, and draws models.svg.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekit.benchmark.results import Ratio, Report, RuntimeResult
from tunekit.library import load_manifest
from tunekit.recipe import OWN_RUNTIMES, PEER_RUNTIMES, REFERENCE_RUNTIMES
from tunekit.report.numbers import significant

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
RUNTIMES = (*OWN_RUNTIMES, *REFERENCE_RUNTIMES, *PEER_RUNTIMES)
TUNEKIT = [sys.executable, "-m", "tunekit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="names in recipes/, without .yaml")
    parser.add_argument("--trials", type=int, help="budget of each; the recipe's if left out")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the benchmark")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="to race, with commas")
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
        subprocess.run([*command, "--runtimes", arguments.runtimes], check=True, cwd=ROOT)
    if arguments.table:
        rows = results()
        print(table(rows))
        (RESULTS / "models.svg").write_text(plot(rows), "utf-8")


def tune(name: str, recipe: str, trials: int | None) -> None:
    """Runs the tuning command and writes what it spent and reached."""
    budget = [] if trials is None else ["--trials", str(trials)]
    started = time.monotonic()
    finished = subprocess.run(
        [*TUNEKIT, "tune", recipe, *budget], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    seconds = time.monotonic() - started
    manifest = load_manifest(ROOT / finished.stdout.strip())
    shown = subprocess.run(
        [*TUNEKIT, "show", "-f", "json"], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    session = json.loads(shown.stdout)
    summary = {
        "recipe": name,
        "date": manifest.created_at.isoformat(timespec="seconds"),
        "cpu": manifest.host["cpu_name"],
        "target": manifest.target,
        "trials": manifest.recipe["tuning"]["trials"],
        "tune_command_s": round(seconds, 1),
        "seconds": {phase: round(value, 1) for phase, value in session["seconds"].items()},
        "curve": session["curve"],
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


@dataclass(frozen=True)
class Row:
    """What is known of one recipe."""

    name: str
    tuning: dict[str, Any]
    report: Report

    @property
    def ratio(self) -> Ratio | None:
        """How many times faster than the best other runtime the tuned library is."""
        return {row.name: row for row in self.report.runtimes}["tuned"].ratio


def results() -> list[Row]:
    """All recipes of which there are both files."""
    rows = []
    for file in sorted(RESULTS.glob("*.tuning.json")):
        name = file.name.removesuffix(".tuning.json")
        bench = RESULTS / f"{name}.json"
        if bench.is_file():
            report = Report.from_json(bench.read_text("utf-8"), file=bench)
            rows.append(Row(name, json.loads(file.read_text("utf-8")), report))
    return rows


def table(rows: Sequence[Row]) -> str:
    """A Markdown table: median milliseconds of each runtime, and what tuning made of it."""
    raced = {runtime.name for row in rows for runtime in row.report.runtimes}
    shown = [name for name in RUNTIMES if name in raced]
    lines = [
        "| recipe | CPU | date | trials | minutes | "
        + " | ".join(shown)
        + " | tuned vs best other |",
        "|---|---|---|---|---|" + "---|" * (len(shown) + 1),
    ]
    for row in rows:
        runtimes = {runtime.name: runtime for runtime in row.report.runtimes}
        cells = [_median(runtimes.get(name)) for name in shown]
        ratio = row.ratio
        against = "-" if ratio is None else f"{ratio.value:.2f}x {ratio.against}"
        if ratio is not None:
            against += f" ({ratio.low:.2f} to {ratio.high:.2f})"
        tuning = row.tuning
        lines.append(
            f"| `{row.name}` | {tuning['target']['mcpu']} | {tuning['date'][:10]} "
            f"| {tuning['trials']} | {tuning['tune_command_s'] / 60:.1f} | "
            + " | ".join(cells)
            + f" | {against} |"
        )
    ratios = [row.ratio.value for row in rows if row.ratio is not None]
    if ratios:
        mean = math.exp(math.fsum(math.log(ratio) for ratio in ratios) / len(ratios))
        lines.append(f"\nGeometric mean of the last column: {mean:.2f}x.")
    return "\n".join(lines)


def plot(rows: Sequence[Row]) -> str:
    """How many times faster than the best other runtime, with intervals, as SVG text."""
    rows = [row for row in rows if row.ratio is not None]
    left, width, line = 190, 640, 26
    height = line * len(rows) + 48
    intervals = [row.ratio for row in rows if row.ratio is not None]
    low = min([0.9, *(ratio.low for ratio in intervals)])
    high = max([1.3, *(ratio.high for ratio in intervals)])

    def x(value: float) -> float:
        return left + (width - left - 20) * math.log(value / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="8" y="16">times as fast as the best other runtime, interval of the median</text>',
    ]
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0):
        if low <= tick <= high:
            colour = "#555" if tick == 1 else "#ddd"
            parts.append(
                f'<path d="M{x(tick):.1f} 26V{height - 20}" stroke="{colour}"/>'
                f'<text x="{x(tick):.1f}" y="{height - 6}" text-anchor="middle">{tick:g}</text>'
            )
    for at, (row, ratio) in enumerate(zip(rows, intervals, strict=True)):
        y = 42 + line * at
        colour = "#0a7d4b" if ratio.low > 1 else "#b3541e" if ratio.high < 1 else "#777"
        parts.append(
            f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{row.name}</text>'
            f'<path d="M{x(ratio.low):.1f} {y}H{x(ratio.high):.1f}" stroke="{colour}" '
            'stroke-width="2"/>'
            f'<circle cx="{x(ratio.value):.1f}" cy="{y}" r="4.5" fill="{colour}"/>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _median(row: RuntimeResult | None) -> str:
    if row is None or row.latency is None:
        return "-"
    return significant(row.latency.median_ms) if row.status == "ok" else f"({row.status})"


if __name__ == "__main__":
    main()
