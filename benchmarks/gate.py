"""What `tunekit bench --baseline` says of the same library, and of one made slower on purpose.

    python benchmarks/gate.py [RECIPE] [--rounds 20]

Three benchmarks of a recipe with ONNX Runtime beside it, in a folder that is removed again: one
that becomes the baseline, one of the same library, and one in layout NCHW, which vectors do not
like. What the gate said and its exit codes go to benchmarks/results/gate.json, from which
docs/generate.py writes them into docs/guides/bench.md. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tunekit.machine.host import detect_host

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "gate.json"
LIMIT = "5%"
ANSWERS = ("passed", "failed", "cannot tell")
SLOWER = "layout=NCHW"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="quickstart", help="a name in recipes/")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    recipe = ROOT / "recipes" / f"{arguments.recipe}.yaml"
    rounds = ["--rounds", str(arguments.rounds), "--runtimes", "tuned,onnxruntime"]
    gate = ["--baseline", "baseline.json", "--max-slowdown", LIMIT]
    with tempfile.TemporaryDirectory(prefix="tunekit-gate-") as folder:
        run(recipe, [*rounds, "-o", "baseline.json"], Path(folder))
        asked = [*rounds, *gate]
        runs = [run(recipe, words, Path(folder)) for words in (asked, [*asked, "--set", SLOWER])]
    document = {
        "recipe": recipe.name,
        "cpu": detect_host().cpu_name,
        "date": datetime.now(UTC).date().isoformat(),
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def run(recipe: Path, words: list[str], folder: Path) -> dict[str, object]:
    """One benchmark: its command as a person types it, its exit code, and what the gate said."""
    command = [sys.executable, "-m", "tunekit", "bench", str(recipe), *words]
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith(ANSWERS)]
    print(*said, sep="\n", flush=True)
    shown = " ".join(["tunekit", "bench", recipe.name, *words])
    return {"command": shown, "exit_code": done.returncode, "said": said}


if __name__ == "__main__":
    main()
