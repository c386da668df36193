"""`tunekit bench`: how the tuned library compares with what a person would otherwise use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunekit.cli.style import (
    Artifacts,
    Catalogue,
    Layout,
    Quiet,
    RecipeFile,
    ReportForm,
    Target,
    progress,
)


def bench(
    recipe: RecipeFile,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: tuned, default, unscheduled, pytorch, torchscript, "
            "onnxruntime, openvino. Default: the first three and the recipe's.",
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
    target: Target = None,
    layout: Layout = None,
    catalogue: Catalogue = None,
    artifacts: Artifacts = None,
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
    """Benchmark the tuned library against other runtimes, in turns, with outputs compared.

    Each runtime has a process of its own, the same inputs and the same threads. Exits with 1 when
    the tuned library fails or is wrong; a reference runtime that fails only gets a row that says
    why.
    """
    from tunekit.files import check_writable
    from tunekit.recipe import load_recipe, override, parse_runtimes

    names = parse_runtimes(runtimes) if runtimes is not None else None
    wanted = override(
        load_recipe(recipe),
        target=target,
        layout=layout,
        catalogue=catalogue,
        artifacts=artifacts,
    )
    if output is not None:
        check_writable(output)

    from tunekit.benchmark.run import bench_recipe
    from tunekit.machine.host import detect_host
    from tunekit.report.benchmark import bench_result
    from tunekit.report.output import write
    from tunekit.timing.rounds import Settings

    # Not laid over the recipe: there, threads would also be those of the search.
    settings = Settings(
        rounds=rounds,
        threads=threads or wanted.reference.threads or detect_host().cores,
        seed=wanted.model.seed,
    )
    say = progress(quiet=quiet)
    report = bench_recipe(wanted, runtimes=names, settings=settings, say=say)
    write(bench_result(report, details=verbose), format_, file=output)
    if output is not None:
        say(f"report written to {output}")
    if not report.succeeded:
        raise typer.Exit(1)
