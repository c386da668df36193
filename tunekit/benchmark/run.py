"""A benchmark from a recipe to a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.benchmark import comparison, environment
from tunekit.benchmark.history import keep
from tunekit.benchmark.registry import (
    RUNTIMES,
    Preparation,
    Runtime,
    Unprepared,
    default_runtimes,
    find_runtime,
    prepared,
)
from tunekit.benchmark.results import AtOnce, Model, Protocol, Report, RuntimeResult, Tensor
from tunekit.benchmark.sizes import bench_sizes
from tunekit.errors import Interrupted, TunekitError
from tunekit.recipe import Recipe, dump_recipe, recipe_digest
from tunekit.timing.rounds import Entry, RoundSettings, run_rounds
from tunekit.timing.statistics import median
from tunekit.timing.together import Instances, run_together

if TYPE_CHECKING:
    from tunekit.models.source import SourceModel
    from tunekit.models.spec import TensorSpec
    from tunekit.runtimes.runner import Array


def bench_recipe(
    recipe: Recipe,
    *,
    runtimes: Sequence[str] | None = None,
    settings: RoundSettings,
    instances: Instances | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Runs the recipe's model in each runtime in turn, and compares speed and outputs.

    A runtime that is missing or fails gets a row that says why. A model of several sizes has a row
    for each runtime and size. The report is kept in the recipe's catalogue; where that cannot be, a
    line says so.

    Args:
        recipe: the recipe.
        runtimes: names as `find_runtime` knows them; by default tunekit's own and the recipe's.
        settings: how runtimes take turns.
        instances: how many processes of each runtime are run at once besides.
        say: told what is done, a line at a time.

    Raises:
        UsageError: an unknown name, or anything else wrong with what was asked for.
        ModelError: the model itself cannot be loaded.
        Interrupted: Ctrl-C, with every child gone.
    """
    classes = _classes(runtimes or default_runtimes(recipe))
    try:
        if recipe.model.each_size:
            if any(name.startswith("tuned") for name in classes):
                from tunekit.library import tuned_library

                tuned_library(recipe, say=say)  # which the sizes are a part of
            report = bench_sizes(recipe, lambda one: _bench(one, classes, settings, instances, say))
        else:
            report = _bench(recipe, classes, settings, instances, say)
    except KeyboardInterrupt:
        raise Interrupted(
            "benchmark interrupted; no report was written",
            hint="prepared files are kept: the next run starts sooner. "
            "--rounds and --runtimes make it shorter",
        ) from None
    try:
        keep(report, recipe)
    except (TunekitError, OSError) as error:
        # What was measured is not lost for want of a place to keep it.
        say(f"warning: the report is not kept in the catalogue: {error}")
    return report


def _bench(
    recipe: Recipe,
    classes: Mapping[str, type[Runtime]],
    settings: RoundSettings,
    instances: Instances | None,
    say: Callable[[str], None],
) -> Report:
    from tunekit.cache import ContentCache
    from tunekit.machine.host import detect_host
    from tunekit.models import load_source

    say(f"loading the model {recipe.model.source}")
    cache = ContentCache()
    source = load_source(recipe.model, cache=cache)
    inputs = source.sample_inputs(recipe.model.seed)
    say("computing the reference outputs")
    reference = source.reference(inputs)
    tolerance = max(recipe.reference.relative_error, source.rounding_step(reference))
    preparation = Preparation(
        *(recipe, source, inputs, cache, settings.threads, say, reference, tolerance),
        limit_s=settings.load_timeout_s,
    )
    prepared = [_prepare(name, runtime, preparation) for name, runtime in classes.items()]
    entries = [runner for runner in prepared if isinstance(runner, Entry)]
    with tempfile.TemporaryDirectory(prefix="tunekit-bench-") as folder:
        measured = run_rounds(entries, inputs, settings, folder=Path(folder), say=say)
        at_once = {
            entry.name: _at_once(entry, inputs, settings, instances, Path(folder), say)
            for entry, outcome in zip(entries, measured.outcomes, strict=True)
            if instances is not None and outcome.reason is None and not entry.few_samples
        }
    by_name = {
        outcome.name: comparison.row(
            outcome, reference, tolerance, source.compare, at_once.get(outcome.name)
        )
        for outcome in measured.outcomes
    }
    rows = comparison.with_ratios(
        [by_name[runner.name] if isinstance(runner, Entry) else runner for runner in prepared],
        aside=frozenset(name for name, runtime in classes.items() if not runtime.yardstick),
    )
    packages = [package for runtime in classes.values() for package in runtime.needs.values()]
    return Report(
        recipe=dump_recipe(recipe),
        recipe_digest=recipe_digest(recipe),
        model=_model(recipe, source),
        protocol=_protocol(settings, tolerance),
        environment=environment.describe(measured.noise, packages),
        order=_order(rows, settings.rounds),
        runtimes=rows,
        verdict=comparison.verdict(rows),
        warnings=comparison.warnings(
            rows, measured.noise, threads=settings.threads, cores=detect_host().cores
        ),
    )


def _at_once(
    entry: Entry,
    inputs: Mapping[str, Array],
    settings: RoundSettings,
    instances: Instances,
    folder: Path,
    say: Callable[[str], None],
) -> AtOnce:
    together = run_together(entry, inputs, settings, instances, folder=folder, say=say)
    return AtOnce(
        instances=instances.count,
        shared=instances.shared,
        threads=together.threads,
        runs_per_s=together.runs_per_s,
        median_ms=[1e3 * median(seconds) for seconds in together.seconds],
        reason=together.reason,
    )


def _protocol(settings: RoundSettings, relative_error: float) -> Protocol:
    return Protocol(
        rounds=settings.rounds,
        threads=settings.threads,
        seed=settings.seed,
        turn_s=settings.turn_s,
        warm_up_s=settings.warm_up_s,
        relative_error=relative_error,
    )


def _classes(names: Sequence[str]) -> dict[str, type[Runtime]]:
    """The runtimes by the names their rows have, each once.

    One given as package.module:Class is called what it calls itself, unless that is taken.
    """
    classes: dict[str, type[Runtime]] = {}
    for name in dict.fromkeys(names):
        runtime = find_runtime(name)
        taken = runtime.name in RUNTIMES or runtime.name in classes
        classes[name if taken else runtime.name] = runtime
    return classes


def _prepare(name: str, runtime: type[Runtime], preparation: Preparation) -> Entry | RuntimeResult:
    """The runtime ready to start, or the row that says why it does not."""
    plan = prepared(name, runtime, preparation)
    if isinstance(plan, Unprepared):
        return RuntimeResult(name=name, status=plan.status, reason=plan.reason, detail=plan.detail)
    class_path = f"{runtime.__module__}:{runtime.__qualname__}"
    return Entry(name, class_path, plan, few_samples=runtime.few_samples)


def _model(recipe: Recipe, source: SourceModel) -> Model:
    return Model(
        name=recipe.name,
        source=recipe.model.source,
        framework=source.framework,
        digest=source.digest,
        inputs=tuple(map(_tensor, source.inputs)),
        outputs=tuple(map(_tensor, source.outputs)),
    )


def _tensor(spec: TensorSpec) -> Tensor:
    return Tensor(name=spec.name, shape=tuple(spec.shape), dtype=spec.dtype)


def _order(rows: Sequence[RuntimeResult], rounds: int) -> list[list[str]]:
    """Who had a turn in each round, from first to last."""
    turns: list[list[tuple[int, str]]] = [[] for _ in range(rounds)]
    for row in rows:
        for turn in row.rounds:
            turns[turn.round].append((turn.position, row.name))
    return [[name for _, name in sorted(taken)] for taken in turns]
