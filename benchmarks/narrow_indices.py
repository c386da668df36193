"""What narrow indices are worth: default libraries whose kernels count in int32 and in int64.

    python benchmarks/narrow_indices.py [RECIPE ...] [--rounds 200] [-o FILE]

For each recipe: the model with the default schedule of each kernel, built by TVM as its kernels
are, in int64, and after `narrow_indices`; then both in turns. Written to
benchmarks/results/narrow_indices.json.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from library_races import ROOT, parse, print_pairs, race_pair, write

from tunekit.cache import ContentCache
from tunekit.graph.lowering.narrow_indices import narrow_indices
from tunekit.graph.pipeline import prepare_model
from tunekit.library.default_library import default_module
from tunekit.recipe import load_recipe

RECIPES = ("inception_v3_x86", "densenet121_x86", "resnet50_x86", "mobilenet_v2_x86")


def main() -> None:
    arguments = parse(__doc__.splitlines()[0], RECIPES, 200, "narrow_indices.json")
    found = [compare(name, arguments.rounds) for name in arguments.recipes]
    write(arguments.output, found)
    print_pairs(found, {})


def compare(name: str, rounds: int) -> dict[str, Any]:
    """One model in both."""
    import tvm

    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    prepared = prepare_model(recipe, ContentCache(), lambda line: None)
    scheduled = default_module(prepared)
    target = prepared.target.tvm
    with tempfile.TemporaryDirectory() as folder:
        libraries = {}
        for label, module in (("int64", scheduled), ("int32", narrow_indices(scheduled, target))):
            libraries[label] = Path(folder, f"{label}.so")
            with target:
                tvm.compile(module, target=target).export_library(str(libraries[label]))
            print(f"{name}: compiled {label}", file=sys.stderr)
        return race_pair(name, libraries, prepared.source, recipe, rounds=rounds)


if __name__ == "__main__":
    main()
