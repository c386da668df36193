"""Is the layout that `layout: auto` chooses the fastest one?

    python benchmarks/layouts.py [RECIPE ...] [--rounds 12] [-o FILE]

For each recipe: the model compiled in each layout without a single trial (each kernel has its
default schedule), then all three libraries in turns, in processes of their own. Says what `auto`
takes without measuring, and what was the fastest. Written to benchmarks/results/layouts.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tunekit.cache import ContentCache
from tunekit.graph.layout import choose_layout
from tunekit.graph.staging import stage
from tunekit.host import detect_host
from tunekit.library.build import default_of
from tunekit.race.harness import Entry, Settings, compete
from tunekit.race.statistics import median
from tunekit.recipe import load_recipe
from tunekit.toolchain import versions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
LAYOUTS = ("NCHW", "NHWC", "NCHWc")
RECIPES = (
    *("resnet18_x86", "resnet50_x86", "mobilenet_v2_x86", "efficientnet_b4_x86"),
    *("densenet121_x86", "inception_v3_x86", "vit_b_16_x86"),
)
RUNNER = "tunekit.race.relax_library:RelaxLibrary"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="names in recipes/")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "layouts.json")
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
    print("| recipe | " + " | ".join(f"{layout} ms" for layout in LAYOUTS) + " | auto | fastest |")
    print("|---|" + "---|" * (len(LAYOUTS) + 2))
    for model in found:
        cells = [f"{model['ms'][layout]:.1f}" for layout in LAYOUTS]
        print(
            f"| `{model['recipe']}` | {' | '.join(cells)} | {model['auto']} | {model['fastest']} |"
        )


def compare(name: str, rounds: int) -> dict[str, Any]:
    """One model in all layouts."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    cache = ContentCache()
    entries = []
    for layout in LAYOUTS:
        staged = stage(recipe.model_copy(update={"layout": layout}), cache, lambda line: None)
        library = default_of(staged, cache=cache, say=lambda line: None)
        plan = {
            "file": str(library.absolute()),
            "device": staged.target.device,
            "input_names": [spec.name for spec in staged.source.inputs],
        }
        entries.append(Entry(layout, RUNNER, plan))
        print(f"{name}: {layout} is compiled", file=sys.stderr)
    settings = Settings(rounds=rounds, threads=staged.target.cores, turn_s=0.2)
    with tempfile.TemporaryDirectory() as folder:
        inputs = staged.source.sample_inputs(recipe.model.seed)
        outcomes = compete(
            entries, inputs, settings, folder=Path(folder), say=lambda line: None
        ).outcomes
    for outcome in outcomes:
        if outcome.reason is not None:
            sys.exit(f"{name} in {outcome.name}: {outcome.reason}")
    samples = {one.name: [median(turn.seconds) for turn in one.turns] for one in outcomes}
    ms = {layout: round(1e3 * median(values), 3) for layout, values in samples.items()}
    return {
        "recipe": name,
        "auto": choose_layout(staged.imported.module, staged.target.kind),
        "fastest": min(ms, key=lambda layout: ms[layout]),
        "ms": ms,
        "turns_s": samples,
    }


if __name__ == "__main__":
    main()
