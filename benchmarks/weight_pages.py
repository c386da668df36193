"""Where the weights of a standalone library are best: in the file, or copied into huge pages.

    python benchmarks/weight_pages.py [RECIPE ...] [--rounds 60] [-o FILE]

For each recipe, compiled with default schedules: one library, opened both ways in a process, its
runs in turns by two threads and by one; and how long it takes to open and run it first. Written to
benchmarks/results/weight_pages.json.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from library_races import ROOT, parse, write

import tunekit
from tunekit.library import compile_recipe
from tunekit.models import load_source
from tunekit.recipe import load_recipe
from tunekit.standalone.loaded import Weights
from tunekit.timing.statistics import median, paired_ratio

RECIPES = ("vanilla_cnn_onnx", "mobilenet_v2_x86", "resnet50_x86", "vit_b_16_x86")
WAYS: Final[tuple[Weights, ...]] = ("shared", "huge_pages")
OPENED = 5
TURN_S = 0.05


def main() -> None:
    arguments = parse(__doc__.splitlines()[0], RECIPES, 60, "weight_pages.json")
    found = [measured(name, arguments.rounds) for name in arguments.recipes]
    write(arguments.output, found)
    print("| recipe | library, MiB | threads | shared, ms | huge pages, ms | times as fast |")
    print("|---|---|---|---|---|---|")
    for model in found:
        for row in model["threads"]:
            low, high = row["interval"]
            ms = row["ms"]
            print(
                f"| `{model['recipe']}` | {model['library_mib']:.3g} | {row['threads']} | "
                f"{ms['shared']:.2f} | {ms['huge_pages']:.2f} | "
                f"{row['ratio']:.3f} ({low:.3f} to {high:.3f}) |"
            )


def measured(name: str, rounds: int) -> dict[str, Any]:
    """One model, its weights in either place."""
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    source = load_source(recipe.model)
    sample = source.sample_inputs(recipe.model.seed)
    arrays = [sample[spec.name] for spec in source.inputs]
    with tempfile.TemporaryDirectory() as folder:
        library = compile_recipe(recipe, output=Path(folder), selection=False)
        standalone = library.manifest.standalone
        if standalone is None:
            sys.exit(f"{name} is not standalone: {library.manifest.not_standalone}")
        print(f"{name}: compiled", file=sys.stderr)
        started = {way: starts(library.folder, way, arrays) for way in WAYS}
        by_threads = [turns(library.folder, threads, arrays, rounds) for threads in (1, 2)]
    return {
        "recipe": name,
        "library_mib": standalone.size_bytes / 2**20,
        "open_and_first_run_ms": started,
        "threads": by_threads,
    }


def starts(folder: Path, way: Weights, arrays: list[Any]) -> dict[str, float]:
    """The median milliseconds to open a model, and of its first run."""
    opened, first = [], []
    for _ in range(OPENED):
        begin = time.perf_counter()
        with tunekit.load(folder, weights=way) as model:
            ready = time.perf_counter()
            model.run(*arrays)
            first.append(1e3 * (time.perf_counter() - ready))
        opened.append(1e3 * (ready - begin))
    return {"open": median(opened), "first_run": median(first)}


def turns(folder: Path, threads: int, arrays: list[Any], rounds: int) -> dict[str, Any]:
    """Both in turns."""
    models = {way: tunekit.load(folder, threads=threads, weights=way) for way in WAYS}
    runs = {way: model.bound(arrays)[0] for way, model in models.items()}
    samples: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS if number % 2 else reversed(WAYS):
            runs[way]()
            spent, times = 0.0, []
            while spent < TURN_S:
                begin = time.perf_counter()
                runs[way]()
                times.append(time.perf_counter() - begin)
                spent += times[-1]
            samples[way].append(median(times))
    for model in models.values():
        model.close()
    ratio = paired_ratio(samples["huge_pages"], samples["shared"])
    return {
        "threads": threads,
        "ms": {way: 1e3 * median(values) for way, values in samples.items()},
        "ratio": ratio.value,
        "interval": [ratio.interval.low, ratio.interval.high],
        "turns_s": samples,
    }


if __name__ == "__main__":
    main()
