"""`tunekit explain`: where the time of the tuned library goes, operator by operator."""

from __future__ import annotations

from enum import Enum
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
    Verbose,
    progress,
)


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
    format_: ReportForm = None,
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
    from tunekit.files import check_writable
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
    from tunekit.report.explanation import explanation_result
    from tunekit.report.output import write

    settings = Settings(
        threads=threads or wanted.reference.threads or detect_host().cores,
        rounds=rounds,
        seed=wanted.model.seed,
        sort=sort.value,
    )
    say = progress(quiet=quiet)
    found = explain_recipe(wanted, runtimes=names, settings=settings, say=say)
    write(explanation_result(found), format_, file=output)
    if output is not None:
        say(f"explanation written to {output}")
