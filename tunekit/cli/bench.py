"""`tunekit bench`: how the tuned library compares with what a person would otherwise use."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.style import Artifacts, Catalogue, Layout, Quiet, RecipeFile, Target, progress

if TYPE_CHECKING:
    from tunekit.benchmark.results import Report

# Wide enough for every column where nothing says how wide the reader's screen is.
_PIPED_WIDTH = 160


class Format(str, Enum):
    """How a report is written."""

    table = "table"
    json = "json"
    md = "md"


def bench(
    recipe: RecipeFile,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: tuned, unscheduled, pytorch, torchscript, onnxruntime, "
            "openvino. Default: the first two and the recipe's.",
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
    format_: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="table, json or md; of FILE when -o is given."),
    ] = None,
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
    from tunekit.files import check_writable, write_atomically
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
    from tunekit.timing.rounds import Settings

    # Not laid over the recipe: there, threads would also be those of the search.
    settings = Settings(
        rounds=rounds,
        threads=threads or wanted.reference.threads or detect_host().cores,
        seed=wanted.model.seed,
    )
    say = progress(quiet=quiet)
    report = bench_recipe(wanted, runtimes=names, settings=settings, say=say)
    if output is None:
        _show(report, format_ or Format.table, verbose)
    else:
        write_atomically(output, _written(report, format_ or _format_of(output), verbose))
        _show(report, Format.table, verbose)
        say(f"report written to {output}")
    if not report.succeeded:
        raise typer.Exit(1)


def _show(report: Report, format_: Format, verbose: bool) -> None:
    """The report on standard output, with colours and in its width where that is a terminal."""
    if format_ is not Format.table or not sys.stdout.isatty():
        sys.stdout.write(_written(report, format_, verbose))
        return
    from rich.console import Console

    from tunekit.report.terminal import bench_text

    console = Console(highlight=False)
    console.print(bench_text(report, width=console.width, details=verbose), end="")


def _written(report: Report, format_: Format, verbose: bool) -> str:
    """The report as plain text in a format."""
    if format_ is Format.json:
        return report.to_json()
    if format_ is Format.md:
        from tunekit.report.markdown import bench_markdown

        return bench_markdown(report)
    from tunekit.report.terminal import bench_text

    return bench_text(report, width=_PIPED_WIDTH, details=verbose).plain


def _format_of(file: Path) -> Format:
    """The format that a file's name asks for; JSON, which loses nothing, where it does not say."""
    return {".md": Format.md, ".txt": Format.table}.get(file.suffix.lower(), Format.json)
