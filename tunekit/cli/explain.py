"""`tunekit explain`: where the time of the tuned library goes, operator by operator."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.style import (
    Artifacts,
    Catalogue,
    Layout,
    Quiet,
    RecipeFile,
    Target,
    Verbose,
    progress,
)

if TYPE_CHECKING:
    from tunekit.attribution.results import Explanation

# Wide enough for every column where nothing says how wide the reader's screen is.
_PIPED_WIDTH = 180


class Format(str, Enum):
    """How an explanation is written."""

    table = "table"
    json = "json"
    md = "md"


class Sort(str, Enum):
    """Which operators come first."""

    gain = "gain"
    difference = "difference"
    time = "time"


def explain(
    recipe: RecipeFile,
    runtimes: Annotated[
        str,
        typer.Option(
            help="Comma-separated, to compare with: onnxruntime, openvino, or none.",
        ),
    ] = "onnxruntime,openvino",
    sort: Annotated[
        Sort,
        typer.Option(
            help="First: what reaching the machine's peak would gain, the difference to the "
            "fastest other runtime, or time."
        ),
    ] = Sort.gain,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Rounds in which each runtime has its turn.")
    ] = 5,
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
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the explanation to FILE as well."
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Explain where the time of the tuned library goes, operator by operator.

    Each kernel is timed in the library as it runs, and set against this machine's measured peaks
    and against the same work in other runtimes. A runtime that is missing or fails is a remark.
    The library is compiled first if there is none that fits.
    """
    from tunekit.attribution.profilers import parse_profiled
    from tunekit.files import check_writable, write_atomically
    from tunekit.recipe import load_recipe, override

    names = parse_profiled(runtimes)
    wanted = override(
        load_recipe(recipe),
        target=target,
        layout=layout,
        catalogue=catalogue,
        artifacts=artifacts,
    )
    if output is not None:
        check_writable(output)

    from tunekit.attribution.explain import Settings, explain_recipe
    from tunekit.machine.host import detect_host

    settings = Settings(
        threads=threads or wanted.reference.threads or detect_host().cores,
        rounds=rounds,
        seed=wanted.model.seed,
        sort=sort.value,
    )
    say = progress(quiet=quiet)
    found = explain_recipe(wanted, runtimes=names, settings=settings, say=say)
    if output is None:
        _show(found, format_ or Format.table)
    else:
        write_atomically(output, _written(found, format_ or _format_of(output)))
        _show(found, Format.table)
        say(f"explanation written to {output}")


def _show(explanation: Explanation, format_: Format) -> None:
    """The explanation on standard output, in the terminal's width where that is one."""
    if format_ is not Format.table or not sys.stdout.isatty():
        sys.stdout.write(_written(explanation, format_))
        return
    from rich.console import Console

    from tunekit.report.attribution import explanation_text

    console = Console(highlight=False)
    console.print(explanation_text(explanation, width=console.width), end="")


def _written(explanation: Explanation, format_: Format) -> str:
    """The explanation as plain text in a format."""
    if format_ is Format.json:
        return explanation.to_json()
    from tunekit.report.attribution import explanation_markdown, explanation_text

    if format_ is Format.md:
        return explanation_markdown(explanation)
    return explanation_text(explanation, width=_PIPED_WIDTH).plain


def _format_of(file: Path) -> Format:
    """The format that a file's name asks for; JSON, which loses nothing, where it does not say."""
    return {".md": Format.md, ".txt": Format.table}.get(file.suffix.lower(), Format.json)
