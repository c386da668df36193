"""Tunes the shipped recipes and races their libraries against everybody else on this CPU.

    make peers && .venv/bin/python benchmarks/models.py
    python benchmarks/models.py RECIPE ... [--minutes 30] [--rounds 20] [--trials N | --bench-only]

Needs a quiet machine. For each recipe (all but the quickstart, if none is named):

1. `tunekit tune`, unless artifacts/RECIPE holds a library with records: RECIPE.tuning.json
2. each contestant by itself in turns with the library, a few rounds, within its share of the
   minutes that a recipe has: contestants/RECIPE.json, a row for each
3. the library, the same without records and the fastest contestants in turns together: RECIPE.json,
   with raw samples and the machine
4. of one of them RECIPE.explain.json, and what `tunekit report` says of the recipe: a page in
   docs/results/samples/

The rest is in benchmarks/results/. What is there is not done again: call it again after an
interruption. A contestant that did not get its turn for want of time has it then; one that failed,
hung or was wrong has its row with the reason, and `--again NAME` tries it once more. In the end
docs/models_page.py draws the picture and the page of all, and docs/generate.py writes the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.benchmark.results import Report, RuntimeResult
from tunekit.errors import TunekitError
from tunekit.files import write_atomically
from tunekit.library import load_manifest
from tunekit.recipe import PEER_RUNTIMES, REFERENCE_RUNTIMES
from tunekit.timing.statistics import evenly
from tunekit.wording import counted

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
TUNEKIT = [sys.executable, "-m", "tunekit"]
CONTESTANTS = (*REFERENCE_RUNTIMES, *PEER_RUNTIMES)
NOT_RACED = ("quickstart",)
# Of which there is a page.
SAMPLE_PAGES = {"resnet50_x86": ROOT / "docs/results/samples/resnet50.html"}
# By itself with the library.
ROUNDS_ALONE = 6
# Of its recipe's minutes, that one contestant may take.
SHARE = 1 / 3
LEAST_S = 60.0
ENDING_S = 30.0
# Of a turn, that are kept.
MOST_SAMPLES = 200
# Who is that much slower than the fastest cannot be the best, and costs minutes and memory.
WITHIN = 2.0
MOST_FINALISTS = 6

Rows = dict[str, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="names in recipes/, without .yaml; all if none")
    parser.add_argument("--minutes", type=float, default=30.0, help="for a recipe's contestants")
    parser.add_argument("--rounds", type=int, default=20, help="of the race in the end")
    parser.add_argument("--trials", type=int, help="budget of each; the recipe's if left out")
    parser.add_argument("--bench-only", action="store_true", help="do not tune")
    parser.add_argument("--again", action="append", default=[], metavar="NAME", help="a contestant")
    arguments = parser.parse_args()
    names = arguments.recipes or sorted(file.stem for file in (ROOT / "recipes").glob("*.yaml"))
    for name in names:
        if name in NOT_RACED and not arguments.recipes:
            continue
        print(f"== {name}", flush=True)
        try:
            one(name, arguments)
        except subprocess.CalledProcessError as error:
            print(f"{name}: {' '.join(error.cmd[2:5])} ended with {error.returncode}", flush=True)
    for script in ("models_page.py", "generate.py"):
        subprocess.run([sys.executable, str(ROOT / "docs" / script)], check=True, cwd=ROOT)


def one(name: str, arguments: argparse.Namespace) -> None:
    """A recipe, as far as it has not come before."""
    recipe = str(ROOT / "recipes" / f"{name}.yaml")
    if not arguments.bench_only and not is_tuned(name):
        tune(name, recipe, arguments.trials)
    file = RESULTS / "contestants" / f"{name}.json"
    rows: Rows = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    met = meet(recipe, rows, file, minutes=arguments.minutes, again=arguments.again)
    race = RESULTS / f"{name}.json"
    known = Report.from_json(race.read_text("utf-8"), file=race) if race.is_file() else None
    best = finalists(rows)
    page = SAMPLE_PAGES.get(name)
    if not met and known is not None and {*best} <= {row.name for row in known.runtimes}:
        print(f"{race.name} has all of them", flush=True)
    else:
        text = raced(recipe, best, arguments)
        if page is not None:
            page.unlink(missing_ok=True)  # of the race before
        write_atomically(race, text)
    if page is not None and not page.is_file():
        # The newest benchmark in the catalogue is this race.
        explained = RESULTS / f"{name}.explain.json"
        subprocess.run([*TUNEKIT, "explain", recipe, "-o", str(explained)], check=True, cwd=ROOT)
        write_atomically(explained, without_place(explained.read_text("utf-8")))
        write_atomically(page, page_of(recipe))


def raced(recipe: str, others: Sequence[str], arguments: argparse.Namespace) -> str:
    """The report of the race in the end."""
    words = ["--runtimes", ",".join(["tuned", "default", *others])]
    words += ["--rounds", str(arguments.rounds), *step_limit(share_s(arguments.minutes))]
    return without_place(thinned(bench(recipe, words)).to_json())


def bench(recipe: str | Path, words: Sequence[str], stdout: int | None = None) -> Report:
    """The report of `tunekit bench` with these options; `stdout` is the command's."""
    with tempfile.TemporaryDirectory(prefix="tunekit-models-") as folder:
        file = Path(folder) / "bench.json"
        command = [*TUNEKIT, "bench", str(recipe), *words, "-o", str(file)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=stdout)
        return Report.from_json(file.read_text("utf-8"), file=file)


def page_of(recipe: str) -> str:
    """What `tunekit report` says of a recipe."""
    with tempfile.TemporaryDirectory(prefix="tunekit-models-") as folder:
        file = Path(folder) / "report.html"
        subprocess.run([*TUNEKIT, "report", recipe, "-o", str(file)], check=True, cwd=ROOT)
        return without_place(file.read_text("utf-8"))


def is_tuned(name: str) -> bool:
    """Whether there is a library of the recipe with records."""
    with contextlib.suppress(TunekitError):
        return load_manifest(ROOT / "artifacts" / name).applied > 0
    return False


def thinned(report: Report) -> Report:
    """The report with some runs of each turn, evenly from all where there are many: those of a
    model of microseconds would be megabytes. Its medians and quantiles are of all."""
    rows = [
        row.model_copy(
            update={
                "rounds": [
                    turn.model_copy(update={"seconds": evenly(turn.seconds, MOST_SAMPLES)})
                    for turn in row.rounds
                ]
            }
        )
        for row in report.runtimes
    ]
    return report.model_copy(update={"runtimes": rows})


def without_place(text: str) -> str:
    """A file's text with paths as they are in any checkout."""
    return text.replace(f"{ROOT}/", "").replace(str(ROOT), ".")


def meet(recipe: str, rows: Rows, file: Path, *, minutes: float, again: Sequence[str]) -> list[str]:
    """Has every contestant without a row race the library; rows are written as they come.

    Returns those that have one now and had none before.
    """
    met = []
    end = time.monotonic() + 60 * minutes
    for name in CONTESTANTS:
        if name in rows and name not in again:
            continue
        # With less than its share it would be called slow for what others took.
        limit_s = share_s(minutes)
        if end - time.monotonic() < limit_s:
            print(f"no time for {name}: call this again", flush=True)
            continue
        row = alone(recipe, name, limit_s)
        if row["status"] == "not installed":
            print(f"{name}: {row['reason']}", flush=True)
            continue
        rows[name] = row
        met.append(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        ordered = {name: rows[name] for name in CONTESTANTS if name in rows}
        write_atomically(file, json.dumps(ordered, indent=1) + "\n")
        median = row["latency"] and f"{row['latency']['median_ms']:.4g} ms"
        print(f"{name}: {row['status']} {row['reason'] or median}", flush=True)
    return met


def share_s(minutes: float) -> float:
    """Seconds that a contestant has of its recipe's minutes."""
    return max(60 * minutes * SHARE, LEAST_S)


def step_limit(limit_s: float) -> list[str]:
    """Options by which a step that hangs leaves the others of a contestant their time.

    The same for all races of a recipe: what was converted under another limit is converted anew.
    """
    return ["--runtime-timeout", f"{0.75 * limit_s:.0f}"]


def alone(recipe: str, name: str, limit_s: float) -> dict[str, Any]:
    """The row of a contestant that takes turns with the library, without its samples."""
    with tempfile.TemporaryDirectory(prefix="tunekit-models-") as folder:
        file = Path(folder) / "bench.json"
        words = ["bench", recipe, "--runtimes", f"tuned,{name}", "-o", str(file), "--quiet"]
        words += ["--rounds", str(ROUNDS_ALONE), *step_limit(limit_s)]
        ending = run_within(limit_s, [*TUNEKIT, *words])
        date = datetime.now(UTC).isoformat(timespec="seconds")
        if not file.is_file():
            failed = RuntimeResult(name=name, status="failed", reason=ending.words)
            return _kept(failed, date, {})
        report = Report.from_json(file.read_text("utf-8"), file=file)
        [row] = [row for row in report.runtimes if row.name == name]
        return _kept(row, report.environment.date, report.environment.versions)


class Ending(NamedTuple):
    """How a command ended: its exit code, None of one that was ended, and that in words."""

    code: int | None
    words: str


def run_within(limit_s: float, command: Sequence[str]) -> Ending:
    """Runs a tunekit command, and says how it ended: why there is no result where there is none."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            code = process.wait(limit_s)
            return Ending(code, f"tunekit {command[len(TUNEKIT)]} ended with {code}")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # which ends what it has started, too
            try:
                process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                process.kill()
    return Ending(None, f"not done within {counted(round(limit_s / 60), 'minute')}")


def _kept(row: RuntimeResult, date: str, versions: Mapping[str, str]) -> dict[str, Any]:
    return {
        **row.model_dump(mode="json", exclude={"rounds", "name", "detail"}),
        "date": date,
        "versions": dict(versions),
    }


def finalists(rows: Rows) -> list[str]:
    """The contestants that can be the best, fastest first."""
    medians = {
        name: row["latency"]["median_ms"]
        for name, row in rows.items()
        if row["status"] == "ok" and row["latency"]
    }
    ranked = sorted(medians, key=lambda name: medians[name])
    close = [name for name in ranked if medians[name] <= WITHIN * medians[ranked[0]]]
    return close[:MOST_FINALISTS]


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


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: call it again to go on")
