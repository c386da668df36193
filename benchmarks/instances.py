"""What several processes of a runtime make together: one core each, or all on all cores.

    python benchmarks/instances.py [RECIPE] [--runtimes tuned,onnxruntime,openvino] [--rounds 12]

`tunekit bench --instances` with as many processes as the machine has cores, and the same with
`--shared`. Runs a second of one process with all threads and of all processes together go to
benchmarks/results/instances.json, from which docs/generate.py makes the table in
docs/guides/other-runtimes.md. The library is compiled first if there is none. Needs a quiet
machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from models import bench

from tunekit.machine.host import detect_host

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "instances.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="resnet50_x86", help="a name in recipes/")
    parser.add_argument("--runtimes", default="tuned,onnxruntime,openvino")
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    recipe = ROOT / "recipes" / f"{arguments.recipe}.yaml"
    host = detect_host()
    asked = ["--runtimes", arguments.runtimes, "--rounds", str(arguments.rounds)]
    asked += ["--instances", str(host.cores)]
    document = {
        "recipe": recipe.name,
        "instances": host.cores,
        "cpu": host.cpu_name,
        "date": datetime.now(UTC).date().isoformat(),
        "own_cores": rates(recipe, asked),
        "shared_cores": rates(recipe, [*asked, "--shared"]),
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def rates(recipe: Path, words: list[str]) -> dict[str, dict[str, float | None]]:
    """Runs a second by runtime: of one process, and of all at once."""
    report = bench(recipe, words, stdout=subprocess.DEVNULL)
    return {
        row.name: {"alone": row.fps, "at_once": row.at_once and row.at_once.fps}
        for row in report.runtimes
    }


if __name__ == "__main__":
    main()
