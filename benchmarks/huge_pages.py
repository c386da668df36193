"""What huge pages are worth: libraries that ask for them against the same ones that do not.

    python benchmarks/huge_pages.py [RECIPE ...] [--rounds 200] [-o FILE]

For each recipe: the model compiled with what the catalogue knows of it (default schedules where it
knows nothing), with `huge_pages` and without, then both in turns. Written to
benchmarks/results/huge_pages.json.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from library_races import ROOT, parse, print_pairs, race_pair, write

from tunekit.library import compile_recipe
from tunekit.models import load_source
from tunekit.recipe import load_recipe

RECIPES = ("mobilenet_v2_x86", "resnet50_x86", "efficientnet_b4_x86")


def main() -> None:
    arguments = parse(__doc__.splitlines()[0], RECIPES, 200, "huge_pages.json")
    found = [compare(name, arguments.rounds) for name in arguments.recipes]
    write(arguments.output, found)
    print_pairs(found, {"applied": "{coverage:.0%}"})


def compare(name: str, rounds: int) -> dict[str, Any]:
    """One model with and without."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    source = load_source(recipe.model)
    libraries, coverage = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for label, huge_pages in (("without", False), ("with", True)):
            library = compile_recipe(
                recipe.model_copy(update={"huge_pages": huge_pages}),
                output=Path(folder, label),
                selection=False,
            )
            coverage = library.manifest.coverage
            libraries[label] = library.path
            print(f"{name}: compiled {label}", file=sys.stderr)
        found = race_pair(name, libraries, source, recipe, rounds=rounds)
    return {**found, "coverage": coverage}


if __name__ == "__main__":
    main()
