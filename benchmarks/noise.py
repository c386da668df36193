"""How often a machine says of itself that it is quiet: `tunekit bench --check-noise` many times.

    python benchmarks/noise.py [RECIPE] [--runs 20] [--rounds 20]

A library that races itself, again and again. What each run found, and what it said, goes to
benchmarks/results/noise.json, from which docs/generate.py writes it into docs/guides/bench.md. The
library is compiled first if there is none. Needs a machine without other work, whose noise is what
is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tunekit.benchmark.results import Report
from tunekit.files import write_atomically
from tunekit.machine.host import detect_host

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "noise.json"
ANSWERS = ("passed", "failed", "cannot tell")
# Of a benchmark that came to its answer.
ENDINGS = (0, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="resnet18_x86", help="a name in recipes/")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20, help="of each run")
    arguments = parser.parse_args()
    recipe = ROOT / "recipes" / f"{arguments.recipe}.yaml"
    host = detect_host()
    runs: list[dict[str, object]] = []
    document = {
        "recipe": recipe.name,
        "rounds": arguments.rounds,
        "cpu": host.cpu_name,
        "cores": host.cores,
        "date": datetime.now(UTC).date().isoformat(),
        "runs": runs,
    }
    for _ in range(arguments.runs):
        runs.append(run(recipe, arguments.rounds))
        write_atomically(RESULTS, json.dumps(document, indent=1) + "\n")


def run(recipe: Path, rounds: int) -> dict[str, object]:
    """One run: how many times as fast the library was as itself, and what was said of that."""
    with tempfile.TemporaryDirectory(prefix="tunekit-noise-") as folder:
        file = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "tunekit", "bench", str(recipe), "--check-noise"]
        done = subprocess.run(
            [*command, "--rounds", str(rounds), "-o", str(file)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode not in ENDINGS:
            sys.exit(done.stderr)
        report = Report.from_json(file.read_text("utf-8"), file=file)
    [said] = [line for line in done.stderr.splitlines() if line.startswith(ANSWERS)]
    print(said, flush=True)
    [ratio] = [row.ratio for row in report.runtimes if row.ratio is not None]
    return {
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "answer": said.partition(":")[0],
        "exit_code": done.returncode,
    }


if __name__ == "__main__":
    main()
