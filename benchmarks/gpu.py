"""Races the runtimes on an NVIDIA GPU with each other, for the day that there is one.

    python benchmarks/gpu.py [RECIPE ...] [--minutes 10] [--tune-seconds 30]

For each recipe, as long as there is time: `tunekit tune --target cuda` for some seconds, then
`tunekit bench` with the runtimes on the GPU and ONNX Runtime on the CPU beside them, into
benchmarks/results/gpu/RECIPE.json. What is not installed, or fails, has its row with the reason.
The machine, its GPU and all versions are in the files. `--plan` prints the commands and runs none.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tunekit.benchmark.cuda_libraries import on_gpu
from tunekit.benchmark.results import Report
from tunekit.machine.host import detect_host
from tunekit.recipe import load_recipe
from tunekit.report.benchmark import bench_markdown

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "gpu"
RECIPES = ("vanilla_cnn_onnx", "resnet18_x86", "mobilenet_v2_x86", "resnet50_x86")
ROUNDS = 10
# Less is not worth to begin with.
LEAST_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="names in recipes/")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which all has ended")
    parser.add_argument("--tune-seconds", type=float, default=30.0, help="of search for a recipe")
    parser.add_argument("--plan", action="store_true", help="print the commands only")
    arguments = parser.parse_args()
    if not arguments.plan and not detect_host().gpus:
        sys.exit("there is no NVIDIA GPU here")
    end = time.monotonic() + 60 * arguments.minutes
    for name in arguments.recipes:
        file = RESULTS / f"{name}.json"
        commands = [tune(name, arguments.tune_seconds), bench(name, file)]
        if arguments.plan:
            print("\n".join(map(shlex.join, commands)))
            continue
        RESULTS.mkdir(parents=True, exist_ok=True)
        # What an earlier run wrote is not taken for this one's.
        file.unlink(missing_ok=True)
        for command in commands:
            run(command, end - time.monotonic())
        if file.is_file():
            print(bench_markdown(Report.from_json(file.read_text("utf-8"), file=file)))


def tune(name: str, seconds: float) -> list[str]:
    """The search on the GPU, whose library is where the benchmark looks for it."""
    recipe = ROOT / "recipes" / f"{name}.yaml"
    output = on_gpu(load_recipe(recipe)).output
    words = ["tune", str(recipe), "--target", "cuda", "--max-seconds", f"{seconds:g}"]
    return [sys.executable, "-m", "tunekit", *words, "--set", f"output={output}"]


def bench(name: str, file: Path) -> list[str]:
    """The race, of which a runtime that hangs takes little."""
    words = ["bench", str(ROOT / "recipes" / f"{name}.yaml"), "--runtimes", "gpu,onnxruntime"]
    words += ["--rounds", str(ROUNDS), "--runtime-timeout", "180", "-o", str(file)]
    return [sys.executable, "-m", "tunekit", *words]


def run(command: list[str], left_s: float) -> None:
    """Runs a command within the time that is left; what fails is said, and the next one comes."""
    if left_s < LEAST_S:
        print(f"no time for {shlex.join(command[3:5])}")
        return
    try:
        subprocess.run(command, cwd=ROOT, timeout=left_s, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"{shlex.join(command[3:5])}: {error}")


if __name__ == "__main__":
    main()
