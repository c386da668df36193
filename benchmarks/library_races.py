"""What the benchmarks that race libraries of one model have in common."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget, resolve_target
from tunekit.machine.toolchain import versions
from tunekit.runtimes.process import RunnerFailed
from tunekit.timing.interleaved import interleave
from tunekit.timing.statistics import median, paired_ratio

if TYPE_CHECKING:
    from tunekit.models.source import SourceModel
    from tunekit.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
_RESULTS = Path(__file__).resolve().parent / "results"
# The number of rounds is what ends a race.
_LONGEST_S = 3600.0


def parse(title: str, recipes: Sequence[str], rounds: int, output: str) -> argparse.Namespace:
    """The command line: `recipes`, `rounds`, and `output`, by default a file in results/."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("recipes", nargs="*", default=recipes, help="names in recipes/")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("-o", "--output", type=Path, default=_RESULTS / output)
    return parser.parse_args()


def write(output: Path, models: Sequence[Mapping[str, Any]]) -> None:
    """Writes what was found of each model, with the date, the machine and the versions."""
    host = detect_host()
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"cpu": host.cpu_name, "cores": host.cores},
        "versions": versions(),
        "models": models,
    }
    output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def race_pair(
    name: str,
    libraries: Mapping[str, Path],
    source: SourceModel,
    recipe: Recipe,
    *,
    rounds: int,
) -> dict[str, Any]:
    """Two libraries of the model of a recipe in turns: milliseconds of each by label, and how many
    times as fast as the first the second is."""
    before, after = libraries
    target = resolve_target(recipe.target)
    samples = race(libraries, source, recipe.model.seed, target, rounds=rounds)
    ratio = paired_ratio(samples[after], samples[before])
    return {
        "recipe": name,
        "ms": {label: round(1e3 * median(values), 4) for label, values in samples.items()},
        "ratio": ratio.value,
        "interval": [ratio.interval.low, ratio.interval.high],
        "turns_s": samples,
    }


def print_pairs(models: Sequence[Mapping[str, Any]], more: Mapping[str, str]) -> None:
    """Prints what `race_pair` found as a Markdown table; `more` are further columns, as formats of
    a model's entries by title."""
    before, after = models[0]["ms"]
    titles = ["recipe", *more, f"{before}, ms", f"{after}, ms", "times as fast"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for model in models:
        low, high = model["interval"]
        cells = [f"`{model['recipe']}`", *(cell.format_map(model) for cell in more.values())]
        cells += [f"{model['ms'][label]:.2f}" for label in (before, after)]
        print(f"| {' | '.join(cells)} | {model['ratio']:.2f} ({low:.2f} to {high:.2f}) |")


def race(
    libraries: Mapping[str, Path],
    source: SourceModel,
    seed: int,
    target: ResolvedTarget,
    *,
    rounds: int,
) -> dict[str, list[float]]:
    """Seconds of each library of a model, by label: the median of its runs in each round."""
    sample = source.sample_inputs(seed)
    with tempfile.TemporaryDirectory() as folder:
        try:
            turns = interleave(
                list(libraries.values()),
                {spec.name: sample[spec.name] for spec in source.inputs},
                device=target.device,
                threads=target.cores,
                seconds=_LONGEST_S,
                rounds=rounds,
                folder=Path(folder),
            )
        except RunnerFailed as failure:
            sys.exit(f"{', '.join(libraries)}: {failure.reason}")
    return dict(zip(libraries, map(list, turns.rounds_s), strict=True))
