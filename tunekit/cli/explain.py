"""`tunekit explain`: where the time of the tuned library goes, operator by operator."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.complete import complete_profiled
from tunekit.cli.options import ARTIFACTS, BUILD, CATALOGUE, recipe_verb
from tunekit.cli.style import ExplanationForm, Lines, Quiet, Verbose

if TYPE_CHECKING:
    from tunekit.recipe import Recipe


class Sort(StrEnum):
    """Which operators come first."""

    gain = "gain"
    difference = "difference"
    time = "time"


@recipe_verb(BUILD, CATALOGUE, ARTIFACTS)
def explain(
    recipe: Recipe,
    runtimes: Annotated[
        str,
        typer.Option(
            help="Comma-separated, to compare with: onnxruntime, openvino, or none.",
            autocompletion=complete_profiled,
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
    format_: ExplanationForm = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the explanation to FILE as well."
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say where the tuned library's time goes, by operator.

    Each kernel is timed in the library as it runs, and set against this machine's measured peaks
    and against the same work in other runtimes. A runtime that is missing or fails is a remark.
    A detector is shown by its stages, too, beside those of PyTorch unless `--runtimes none`.
    `-f trace` is an inference for ui.perfetto.dev: kernels on their threads.
    The library is compiled first if there is none that fits.
    """
    from tunekit import api
    from tunekit.attribution.profilers import parse_profiled
    from tunekit.files import check_writable
    from tunekit.page.document import with_page
    from tunekit.report.explanation import explanation_result
    from tunekit.report.output import write

    names = parse_profiled(runtimes)
    if output is not None:
        check_writable(output)
    reporter = Lines(quiet=quiet)
    explanation = api.explain(
        recipe,
        runtimes=names,
        sort=sort.value,
        rounds=rounds,
        threads=threads,
        reporter=reporter,
    )
    result = with_page(explanation_result(explanation), explanations=[explanation])
    write(result, format_, file=output)
    if output is not None:
        reporter.say(f"explanation written to {output}")
