"""What huge pages are worth: libraries that ask for them against the same ones that do not.

    python benchmarks/huge_pages.py [RECIPE ...] [--rounds 24] [-o FILE]

For each recipe: the model compiled with what the catalogue knows of it (default schedules where it
knows nothing), with `huge_pages` and without, then both in turns, in processes of their own.
Written to benchmarks/results/huge_pages.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tunekit.host import detect_host
from tunekit.library import compile_recipe
from tunekit.models import load_source
from tunekit.race.harness import Entry, Settings, compete
from tunekit.race.statistics import median, paired_ratio
from tunekit.recipe import load_recipe
from tunekit.target import resolve_target
from tunekit.toolchain import versions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
RECIPES = ("mobilenet_v2_x86", "resnet50_x86", "efficientnet_b4_x86")
RUNNER = "tunekit.race.relax_library:RelaxLibrary"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="names in recipes/")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "huge_pages.json")
    arguments = parser.parse_args()
    host = detect_host()
    found = [compare(name, arguments.rounds) for name in arguments.recipes]
    report = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "host": {"cpu": host.cpu_name, "cores": host.cores},
        "versions": versions(),
        "models": found,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print("| recipe | applied | without, ms | with, ms | times as fast |")
    print("|---|---|---|---|---|")
    for model in found:
        low, high = model["interval"]
        print(
            f"| `{model['recipe']}` | {model['coverage']:.0%} | {model['ms']['without']:.2f} | "
            f"{model['ms']['with']:.2f} | {model['ratio']:.2f} ({low:.2f} to {high:.2f}) |"
        )


def compare(name: str, rounds: int) -> dict[str, Any]:
    """One model with and without."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    source = load_source(recipe.model)
    target = resolve_target(recipe.target)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        entries, coverage = [], 0.0
        for label, huge_pages in (("without", False), ("with", True)):
            library = compile_recipe(
                recipe.model_copy(update={"huge_pages": huge_pages}),
                output=folder / label,
                contest=False,
            )
            coverage = library.manifest.coverage
            plan = {
                "file": str(library.path.absolute()),
                "device": "cpu",
                "input_names": [spec.name for spec in source.inputs],
            }
            entries.append(Entry(label, RUNNER, plan))
            print(f"{name}: compiled {label}", file=sys.stderr)
        settings = Settings(rounds=rounds, threads=target.cores, turn_s=0.25)
        inputs = source.sample_inputs(recipe.model.seed)
        outcomes = compete(entries, inputs, settings, folder=folder, say=lambda line: None).outcomes
    for outcome in outcomes:
        if outcome.reason is not None:
            sys.exit(f"{name} {outcome.name}: {outcome.reason}")
    samples = {one.name: [median(turn.seconds) for turn in one.turns] for one in outcomes}
    ratio = paired_ratio(samples["with"], samples["without"])
    return {
        "recipe": name,
        "coverage": coverage,
        "ms": {label: round(1e3 * median(values), 4) for label, values in samples.items()},
        "ratio": ratio.value,
        "interval": [ratio.interval.low, ratio.interval.high],
        "turns_s": samples,
    }


if __name__ == "__main__":
    main()
