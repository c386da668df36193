"""`tunekit bench`: how the tuned library compares with what a person would otherwise use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.complete import complete_runtimes
from tunekit.cli.options import ARTIFACTS, BUILD, CATALOGUE, recipe_verb
from tunekit.cli.style import Lines, Quiet, ReportForm

if TYPE_CHECKING:
    from tunekit.recipe import Recipe
    from tunekit.report.output import Format


@recipe_verb(BUILD, CATALOGUE, ARTIFACTS)
def bench(
    recipe: Recipe,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: tuned, default, unscheduled, tuned-vm, tuned-c, tuned-ctypes, "
            "pytorch, torchscript, onnxruntime, openvino. Default: the first three and the "
            "recipe's.",
            autocompletion=complete_runtimes,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Rounds in which each runtime has its turn.")
    ] = 10,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Threads of each runtime. Default: the recipe's, or all cores."
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="List the recipe's earlier benchmarks instead.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="With --history: at most so many.")
    ] = 20,
    format_: ReportForm = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the report to FILE as well."),
    ] = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what failed runtimes printed.")
    ] = False,
) -> None:
    """Compare the tuned library with other runtimes, outputs too.

    They take turns. Each runtime has a process of its own, the same inputs and the same threads.
    Exits with 1 when the tuned library fails or is wrong; a reference runtime that fails only gets
    a row that says why. Every report is kept in the catalogue.
    """
    from tunekit import api
    from tunekit.files import check_writable
    from tunekit.recipe import parse_runtimes
    from tunekit.report.benchmark import bench_result
    from tunekit.report.output import write

    names = parse_runtimes(runtimes) if runtimes is not None else None
    if output is not None:
        check_writable(output)
    reporter = Lines(quiet=quiet)
    if history:
        _write_history(recipe, limit, format_, output)
        return
    report = api.bench(recipe, runtimes=names, rounds=rounds, threads=threads, reporter=reporter)
    write(bench_result(report, details=verbose), format_, file=output)
    if output is not None:
        reporter.say(f"report written to {output}")
    if not report.succeeded:
        raise typer.Exit(1)


def _write_history(recipe: Recipe, limit: int, format_: Format | None, output: Path | None) -> None:
    from tunekit.benchmark.history import past_runs
    from tunekit.cli.catalogue import open_catalogue
    from tunekit.report.history import history_result
    from tunekit.report.output import Format, write

    with open_catalogue(recipe.catalogue) as ledger:
        runs = past_runs(ledger, name=recipe.name, limit=limit)
    if not runs and output is None and format_ in (None, Format.table):
        typer.echo(f"no benchmarks of {recipe.name} yet", err=True)
    else:
        write(history_result(runs), format_, file=output)
