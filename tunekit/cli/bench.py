"""`tunekit bench`: how the tuned library compares with what a person would otherwise use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.complete import complete_runtimes
from tunekit.cli.options import ARTIFACTS, BUILD, CATALOGUE, recipe_verb
from tunekit.cli.style import Lines, Quiet, ReportForm
from tunekit.errors import UsageError

if TYPE_CHECKING:
    from tunekit.benchmark.results import Report
    from tunekit.recipe import Recipe
    from tunekit.report.output import Format

# Exit code of a demand that is not met.
_NOT_MET = 3
# Of a step that somebody waits for: a week.
_LONGEST_S = 7 * 86400.0


@recipe_verb(BUILD, CATALOGUE, ARTIFACTS)
def bench(
    recipe: Recipe,
    runtimes: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: tuned, default, unscheduled, tuned-vm, tuned-c, tuned-ctypes, "
            "pytorch, torchscript, onnxruntime, openvino; torchscript-traced, inductor, opencv, "
            "mnn, ncnn, executorch, iree, litert, zentorch; 'peers' for all of others, 'gpu' for "
            "those on a GPU. Default: the first three and the recipe's.",
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
    instances: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Also run so many processes of each runtime at once: FPS in all."
        ),
    ] = None,
    shared: Annotated[
        bool,
        typer.Option("--shared", help="With --instances: all on all cores, not a part for each."),
    ] = False,
    runtime_timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=_LONGEST_S,
            metavar="SECONDS",
            help="For which a runtime may convert, load, or have its turn. Default: 900, 900, 300.",
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
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An earlier report: fail where the library became slower."
        ),
    ] = None,
    max_slowdown: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="With --baseline: how much slower it may be. Default: 3%."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="RUNTIME",
            help="With --baseline: against which both are measured. Default: the fastest in both.",
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(max=1.0, help="Fail where one less the relative error is smaller."),
    ] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Fail where a smaller share has records."),
    ] = None,
    faster_than: Annotated[
        str | None,
        typer.Option(metavar="RUNTIMES", help="Fail where the library is slower than one of them."),
    ] = None,
    check_noise: Annotated[
        bool,
        typer.Option(
            "--check-noise", help="Let the library race itself: what a difference means here."
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what failed runtimes printed.")
    ] = False,
) -> None:
    """Compare the tuned library with other runtimes, outputs too.

    They take turns. Each runtime has a process of its own, the same inputs and the same threads.
    Exits with 1 when the tuned library fails or is wrong; a reference runtime that fails only gets
    a row that says why. Every report is kept in the catalogue.

    What a build may ask (--baseline, --min-accuracy, --min-coverage, --faster-than) exits with 3
    where it is not so: for speed, where the whole interval is beyond the limit.
    """
    from tunekit import api
    from tunekit.benchmark.gate import (
        AGAIN,
        SUBJECT,
        Demands,
        contestants,
        judge,
        require_comparable,
        require_one_race,
        steadiness,
    )
    from tunekit.files import check_writable
    from tunekit.page.document import with_page
    from tunekit.recipe import parse_runtimes
    from tunekit.report.benchmark import bench_result
    from tunekit.report.output import write

    asked = {
        "--baseline": baseline,
        "--min-accuracy": min_accuracy,
        "--min-coverage": min_coverage,
        "--faster-than": faster_than,
    }
    of_baseline = {"--max-slowdown": max_slowdown, "--reference": reference}
    if instances is None:
        _refuse_without("--instances", {"--shared": shared or None})
    if output is not None:
        check_writable(output)
    if history:
        others = {"--check-noise": check_noise or None, "--instances": instances}
        _refuse_beside("--history", {**asked, **of_baseline, **others, "--runtimes": runtimes})
        _write_history(recipe, limit, format_, output)
        return
    if check_noise:
        _refuse_beside("--check-noise", {**asked, **of_baseline, "--runtimes": runtimes})
    demands = Demands(
        baseline=None if baseline is None else _read_report(baseline),
        max_slowdown=_share("3%" if max_slowdown is None else max_slowdown),
        reference=None if reference is None else _one_runtime(reference),
        min_accuracy=min_accuracy,
        min_coverage=min_coverage,
        faster_than=parse_runtimes(faster_than, "--faster-than") if faster_than else (),
    )
    if baseline is None:
        _refuse_without("--baseline", of_baseline)
    is_gate = any(value is not None for value in asked.values())
    if check_noise or is_gate:
        require_one_race(recipe)
    names: Sequence[str] | None = parse_runtimes(runtimes) if runtimes is not None else None
    if check_noise:
        names = (SUBJECT, AGAIN)
    elif is_gate:
        names = contestants(recipe, names, demands)
        require_comparable(recipe, names, demands)
    reporter = Lines(quiet=quiet)
    report = api.bench(
        recipe,
        runtimes=names,
        rounds=rounds,
        threads=threads,
        instances=instances,
        shared=shared,
        timeout_s=runtime_timeout,
        reporter=reporter,
    )
    result = with_page(bench_result(report, details=verbose), benchmarks=[report])
    write(result, format_, file=output)
    if output is not None:
        reporter.say(f"report written to {output}")
    if not report.succeeded:
        raise typer.Exit(1)
    findings = [steadiness(report)] if check_noise else judge(report, demands)
    for finding in findings:
        typer.echo(f"{finding.answer}: {finding.text}", err=True)
    if any(finding.answer == "failed" for finding in findings):
        raise typer.Exit(_NOT_MET)


def _refuse_beside(option: str, others: Mapping[str, object]) -> None:
    """Refuses options that `option` would make meaningless: none is ignored without a word."""
    for other, value in others.items():
        if value is not None:
            raise UsageError(
                f"{option} and {other} are both given", hint="run it once with each of them"
            )


def _refuse_without(option: str, others: Mapping[str, object]) -> None:
    for other, value in others.items():
        if value is not None:
            raise UsageError(f"{other} is given without {option}", hint=f"add {option}, or drop it")


def _read_report(path: Path) -> Report:
    from tunekit.benchmark.results import Report
    from tunekit.files import read_text

    return Report.from_json(read_text(path, "the baseline "), file=path)


def _one_runtime(name: str) -> str:
    from tunekit.recipe import parse_runtimes

    names = parse_runtimes(name, "--reference")
    if len(names) > 1:
        raise UsageError(f"--reference: {name} is more than one", hint="name one runtime")
    return names[0]


def _share(text: str) -> float:
    """A share of one, or in percent."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    share = number / 100.0 if text.endswith("%") else number
    if not 0.0 <= share < 1.0:
        raise UsageError(f"--max-slowdown is {text!r}", hint="a share such as 3% or 0.03")
    return share


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
