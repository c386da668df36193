"""What work stealing is worth: default libraries whose threads help each other, and TVM's own.

    python benchmarks/work_stealing.py [RECIPE ...] [--rounds 200] [-o FILE]

For each recipe: the model with the default schedule of each kernel, lowered by TVM, where each
thread of a parallel loop has an equal part of it, and with `steal_work`. Both run in turns, first
with the machine to themselves and then beside a process that wants one core for half of the time.
Written to benchmarks/results/work_stealing.json.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from library_races import ROOT, parse, print_pairs, race_pair, write

from tunekit.cache import ContentCache
from tunekit.graph.lowering.build import compile_model
from tunekit.graph.lowering.narrow_indices import narrow_indices
from tunekit.graph.pipeline import prepare_model
from tunekit.library.default_library import default_module
from tunekit.recipe import load_recipe

if TYPE_CHECKING:
    from tunekit.graph.pipeline import PreparedModel

RECIPES = ("resnet50_x86", "mobilenet_v2_x86", "efficientnet_b4_x86")
_BUSY_S = 0.01


def main() -> None:
    arguments = parse(__doc__.splitlines()[0], RECIPES, 200, "work_stealing.json")
    found = [race for name in arguments.recipes for race in compare(name, arguments.rounds)]
    write(arguments.output, found)
    print_pairs(found, {"beside it": "{beside}"})


def compare(name: str, rounds: int) -> list[dict[str, Any]]:
    """One model in both, undisturbed and not."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    prepared = prepare_model(recipe, ContentCache(), lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        libraries = _compile(prepared, Path(folder))
        print(f"{name}: compiled both", file=sys.stderr)
        return [
            {
                **_race(name, libraries, prepared, rounds, disturbed=disturbed),
                "beside": "half a core" if disturbed else "nothing",
            }
            for disturbed in (False, True)
        ]


def _compile(prepared: PreparedModel, folder: Path) -> Mapping[str, Path]:
    import tvm

    scheduled = default_module(prepared)
    target = prepared.target.tvm
    libraries = {label: folder / f"{label}.so" for label in ("equal parts", "stealing")}
    with target:
        equal_parts = tvm.compile(narrow_indices(scheduled, target), target=target)
    equal_parts.export_library(str(libraries["equal parts"]))
    compile_model(scheduled, target).export_library(str(libraries["stealing"]))
    return libraries


def _race(
    name: str,
    libraries: Mapping[str, Path],
    prepared: PreparedModel,
    rounds: int,
    *,
    disturbed: bool,
) -> dict[str, Any]:
    with _half_a_core() if disturbed else nullcontext():
        return race_pair(name, libraries, prepared.source, prepared.recipe_as_given, rounds=rounds)


@contextmanager
def _half_a_core() -> Iterator[None]:
    """Another process that computes for 10 ms and sleeps for 10 ms."""
    other = multiprocessing.get_context("spawn").Process(target=_compute, daemon=True)
    other.start()
    try:
        yield
    finally:
        other.kill()
        other.join()


def _compute() -> None:
    while True:
        until = time.perf_counter() + _BUSY_S
        while time.perf_counter() < until:
            pass
        time.sleep(_BUSY_S)


if __name__ == "__main__":
    main()
