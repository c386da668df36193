"""`tunekit tune`: search, measure, compile, verify."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekit.cli.style import (
    Artifacts,
    Catalogue,
    Compiler,
    Layout,
    Quiet,
    RecipeFile,
    RpcKey,
    RpcTracker,
    Selection,
    Target,
    Verbose,
    resume_command,
    with_devices,
)


def tune(
    recipe: RecipeFile,
    trials: Annotated[
        int | None, typer.Option(help="Candidates to measure in all. Default: the recipe's.")
    ] = None,
    trials_per_task: Annotated[
        int | None, typer.Option(help="At most this many candidates for one task.")
    ] = None,
    trials_per_task_factor: Annotated[
        int | None, typer.Option(help="Candidates in all: this many times the number of tasks.")
    ] = None,
    min_trials_per_task: Annotated[
        int | None, typer.Option(help="Every task has this many before any gets more.")
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Search no longer than this, earlier runs of the session included."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop when so many trials gained less than 1 % of the latency."),
    ] = None,
    target: Target = None,
    layout: Layout = None,
    rpc_tracker: RpcTracker = None,
    rpc_key: RpcKey = None,
    cc: Compiler = None,
    catalogue: Catalogue = None,
    artifacts: Artifacts = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the search.")] = None,
    repeat: Annotated[int | None, typer.Option(help="Samples of a candidate.")] = None,
    min_repeat_ms: Annotated[
        int | None, typer.Option(help="Shortest sample, milliseconds.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Limit of one candidate's measurement, seconds.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Candidates built at once.")] = None,
    overlap: Annotated[
        bool | None,
        typer.Option("--overlap", help="Measure while other candidates are still being built."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the measured code.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin a session even where one is unfinished.")
    ] = False,
    contest: Selection = True,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Tune a recipe's model within a budget of trials, then compile and verify it.

    Every trial is kept in the catalogue as it is measured. An unfinished session of the recipe is
    gone on with, whatever its budget was. The library's folder is printed on standard output.
    """
    from tunekit.recipe import load_recipe, override

    wanted = override(
        with_devices(load_recipe(recipe), rpc_tracker, rpc_key, cc),
        trials=trials,
        trials_per_task=trials_per_task,
        trials_per_task_factor=trials_per_task_factor,
        min_trials_per_task=min_trials_per_task,
        max_seconds=max_seconds,
        patience=patience,
        target=target,
        layout=layout,
        catalogue=catalogue,
        artifacts=artifacts,
        seed=seed,
        repeat=repeat,
        min_repeat_ms=min_repeat_ms,
        timeout=timeout,
        jobs=jobs,
        overlap=overlap,
        threads=threads,
    )
    from tunekit.report.tuning import TuningDisplay
    from tunekit.sessions.run import tune_recipe

    with TuningDisplay(quiet=quiet) as display:
        again = resume_command(wanted.catalogue)
        library = tune_recipe(wanted, display, again=again, fresh=fresh, contest=contest)
    typer.echo(str(library.path.parent))
