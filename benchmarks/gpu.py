"""Races the runtimes on an NVIDIA GPU with each other, for the day that there is one.

    python benchmarks/gpu.py [RECIPE ...] [--minutes 10]

For each recipe, as long as there is time: `tunekit bench` with the runtimes on the GPU and ONNX
Runtime on the CPU beside them, into benchmarks/results/gpu/RECIPE.json. What is not installed, or
fails, has its row with the reason. The machine, its GPU and all versions are in the files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tunekit.benchmark.results import Report
from tunekit.machine.host import detect_host
from tunekit.report.benchmark import bench_markdown

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "gpu"
RECIPES = ("vanilla_cnn_onnx", "resnet18_x86", "mobilenet_v2_x86", "resnet50_x86")
ROUNDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="names in recipes/")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which none is begun")
    arguments = parser.parse_args()
    if not detect_host().gpus:
        sys.exit("there is no NVIDIA GPU here")
    RESULTS.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    for name in arguments.recipes:
        left_s = end - time.monotonic()
        if left_s < 30:
            print(f"no time for {name}")
            continue
        file = RESULTS / f"{name}.json"
        command = [sys.executable, "-m", "tunekit", "bench", str(ROOT / f"recipes/{name}.yaml")]
        command += ["--runtimes", "gpu,onnxruntime", "--rounds", str(ROUNDS), "-o", str(file)]
        try:
            subprocess.run(command, cwd=ROOT, timeout=left_s, check=True)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}")
            continue
        print(bench_markdown(Report.from_json(file.read_text("utf-8"), file=file)))


if __name__ == "__main__":
    main()
