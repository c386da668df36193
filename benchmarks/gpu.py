"""Times the runtimes on an NVIDIA GPU, for the day that there is one.

    python benchmarks/gpu.py [RECIPE ...] [--minutes 10] [--tune-seconds 30] [--again NAME]

For each recipe, as long as there is time: `tunekit bench` with each runtime on the GPU by itself,
then with ONNX Runtime on the CPU, into benchmarks/results/gpu/RECIPE/RUNTIME.json; for TVM with
records `tunekit tune --target cuda` comes first, for some seconds. What is not installed, or fails,
has its row with the reason. The files have every raw sample, the machine, its GPU and versions.

What is there is not done again, unless it was not installed: call it again to go on. What the end
of the time cuts off leaves nothing, and has its turn first then; `--again NAME` tries a runtime
once more. `--plan` prints the commands and runs none.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from models import ENDING_S, TUNEKIT, run_within, without_place

from tunekit.benchmark.cuda_libraries import TvmCudaTuned, on_gpu
from tunekit.benchmark.results import Report, RuntimeResult
from tunekit.files import write_atomically
from tunekit.machine.host import detect_host
from tunekit.recipe import GPU_RUNTIMES, load_recipe
from tunekit.report.benchmark import COLUMNS, costs
from tunekit.report.table import markdown

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "gpu"
RECIPES = ("vanilla_cnn_onnx", "resnet18_x86", "mobilenet_v2_x86", "resnet50_x86")
CONTESTANTS = (*GPU_RUNTIMES, "onnxruntime")
ROUNDS = 6
# Less is not worth to begin with.
LEAST_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="names in recipes/")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which all has ended")
    parser.add_argument("--tune-seconds", type=float, default=30.0, help="of search for a recipe")
    parser.add_argument("--again", action="append", default=[], metavar="NAME", help="a runtime")
    parser.add_argument("--plan", action="store_true", help="print the commands only")
    arguments = parser.parse_args()
    if not arguments.plan and not detect_host().gpus:
        sys.exit("there is no NVIDIA GPU here")
    end = time.monotonic() + 60 * arguments.minutes - ENDING_S
    for name in arguments.recipes:
        for runtime in due(RESULTS / name, arguments.again):
            file = RESULTS / name / f"{runtime}.json"
            if arguments.plan:
                planned = steps(name, runtime, arguments.tune_seconds, file)
                print("\n".join(map(shlex.join, planned)))
            else:
                said = measure(name, runtime, arguments.tune_seconds, file, end)
                print(f"{name}, {runtime}: {said}", flush=True)
        rows = [report.runtimes[0] for report in known(RESULTS / name).values()]
        if rows and not arguments.plan:
            print(table(rows), flush=True)


def due(folder: Path, again: Sequence[str] = ()) -> list[str]:
    """The contestants without a report there; with one, those to try again or not installed."""
    reports = known(folder)
    return [
        name
        for name in CONTESTANTS
        if name not in reports
        or name in again
        or reports[name].runtimes[0].status == "not installed"
    ]


def known(folder: Path) -> dict[str, Report]:
    """The reports in a folder by their contestants."""
    files = {name: folder / f"{name}.json" for name in CONTESTANTS}
    return {
        name: Report.from_json(file.read_text("utf-8"), file=file)
        for name, file in files.items()
        if file.is_file()
    }


def steps(name: str, runtime: str, tune_seconds: float, file: Path) -> list[list[str]]:
    """The commands of one runtime: the search, where it takes records, and the benchmark."""
    recipe = ROOT / "recipes" / f"{name}.yaml"
    bench = ["bench", str(recipe), "--runtimes", runtime, "--rounds", str(ROUNDS), "--quiet"]
    # One that hangs has its row then, and does not take the time of the next call, too.
    bench += ["--runtime-timeout", "180", "-o", str(file)]
    if runtime != TvmCudaTuned.name:
        return [[*TUNEKIT, *bench]]
    tune = ["tune", str(recipe), "--target", "cuda", "--max-seconds", f"{tune_seconds:g}"]
    # Where the benchmark looks for its library.
    tune += ["--set", f"output={on_gpu(load_recipe(recipe)).output}"]
    return [[*TUNEKIT, *tune], [*TUNEKIT, *bench]]


def measure(name: str, runtime: str, tune_seconds: float, file: Path, end: float) -> str:
    """Has a runtime's report written, until the time is over; what became of it, in a line."""
    # What an earlier call wrote stays until there is something in its place.
    with tempfile.TemporaryDirectory(prefix="tunekit-gpu-") as folder:
        new = Path(folder) / file.name
        for command in steps(name, runtime, tune_seconds, new):
            left_s = end - time.monotonic()
            if left_s < LEAST_S:
                return "no time, call this again"
            ending = run_within(left_s, command)
            if command[len(TUNEKIT)] == "tune" and ending.code != 0:
                # Without records it would be another contestant.
                return ending.words
        if not new.is_file():
            return ending.words
        text = without_place(new.read_text("utf-8"))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text)
    [row] = Report.from_json(text, file=file).runtimes
    median = row.latency and f"{row.latency.median_ms:.4g} ms"
    return f"{row.status}: {row.reason or median}"


def table(rows: Sequence[RuntimeResult]) -> str:
    """The rows in Markdown. They were not in turns, so that none has a ratio."""
    return markdown([*COLUMNS, *costs(rows)[1:]], rows)


if __name__ == "__main__":
    main()
