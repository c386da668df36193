"""`tunekit doctor`: the versions, the machine, and whether tuning works here."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.style import Verbose, WholeForm
from tunekit.report.output import Format, as_json
from tunekit.wording import counted

if TYPE_CHECKING:
    from tunekit.doctor.checks import Check


def doctor(
    form: WholeForm = Format.table,
    catalogue: Annotated[
        str | None,
        typer.Option(
            envvar="TUNEKIT_CATALOGUE",
            metavar="URL",
            help="The catalogue to look at: a path or SQLAlchemy URL.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the self-test that builds with TVM.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Check versions, machine, compiler, runtimes and catalogue.

    At last something small is built with TVM and run. Each problem comes with its fix. Exit code 1
    if tuning would fail.
    """
    from tunekit.doctor.checks import diagnose
    from tunekit.environment import DEFAULT_CATALOGUE

    checks = diagnose(catalogue=catalogue or DEFAULT_CATALOGUE, quick=quick)
    failed = _write_table(checks, quick=quick) if form is Format.table else _write_json(checks)
    if failed:
        raise typer.Exit(1)


def _write_json(checks: Iterable[Check]) -> bool:
    from tunekit.machine.host import detect_host
    from tunekit.machine.toolchain import versions

    results = list(checks)
    failed = any(check.status == "problem" for check in results)
    report = {
        "ok": not failed,
        "checks": [asdict(check) for check in results],
        "host": detect_host().as_dict(),
        "versions": versions(),
    }
    typer.echo(as_json(report), nl=False)
    return failed


def _write_table(checks: Iterable[Check], *, quick: bool) -> bool:
    """Each line as soon as it is known; true if there is a problem."""
    # Piped, each finding stays on one line, for grep.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    problems = 0
    for check in checks:
        problems += check.status == "problem"
        typer.echo(_wrapped(f"{check.status:<8} {check.name:<20} ", check.found, width))
        if check.fix and check.status != "ok":
            # Never wrapped: it is copied and run.
            typer.echo(f"{'':30}fix: {check.fix}")
    if problems:
        typer.echo(f"\n{counted(problems, 'problem')}: tuning would fail here.")
    else:
        typer.echo("\nNo problems found." if quick else "\nTuning works here.")
    return problems > 0


def _wrapped(start: str, text: str, width: int | None) -> str:
    if width is None:
        return start + text
    return textwrap.fill(
        text,
        max(width, len(start) + 30),
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
