"""Is the layout that `layout: auto` chooses the fastest one?

    python benchmarks/layouts.py [RECIPE ...] [--rounds 50] [-o FILE]

For each recipe: the model compiled in each layout without a single trial (each kernel has its
default schedule), then all three libraries in turns. Says what `auto` takes without measuring, and
what was the fastest. Written to benchmarks/results/layouts.json.
"""

from __future__ import annotations

import sys
from typing import Any

from library_races import ROOT, parse, race, write

from tunekit.cache import ContentCache
from tunekit.graph.layouts.convert import choose_layout
from tunekit.graph.pipeline import prepare_model
from tunekit.library.default_library import default_of
from tunekit.recipe import load_recipe
from tunekit.timing.statistics import median

LAYOUTS = ("NCHW", "NHWC", "NCHWc")
RECIPES = (
    *("resnet18_x86", "resnet50_x86", "mobilenet_v2_x86", "efficientnet_b4_x86"),
    *("densenet121_x86", "inception_v3_x86", "vit_b_16_x86"),
)


def main() -> None:
    arguments = parse(__doc__.splitlines()[0], RECIPES, 50, "layouts.json")
    found = [compare(name, arguments.rounds) for name in arguments.recipes]
    write(arguments.output, found)
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
    libraries = {}
    for layout in LAYOUTS:
        prepared = prepare_model(
            recipe.model_copy(update={"layout": layout}), cache, lambda line: None
        )
        libraries[layout] = default_of(prepared, cache=cache, say=lambda line: None)
        print(f"{name}: {layout} is compiled", file=sys.stderr)
    samples = race(libraries, prepared.source, recipe.model.seed, prepared.target, rounds=rounds)
    ms = {layout: round(1e3 * median(values), 3) for layout, values in samples.items()}
    return {
        "recipe": name,
        "auto": choose_layout(prepared.imported.module, prepared.target.kind),
        "fastest": min(ms, key=lambda layout: ms[layout]),
        "ms": ms,
        "turns_s": samples,
    }


if __name__ == "__main__":
    main()
