"""What the verbs have in common: plain help, which also loads without rich, and their flags."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tunekit.report.output import Format

Catalogue = Annotated[
    str | None,
    typer.Option(
        envvar="TUNEKIT_CATALOGUE",
        help="Where measurements are kept: a SQLite file or SQLAlchemy URL.",
    ),
]

LibraryFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="The library's folder. Default: the recipe's name under its output.",
        show_default=False,
    ),
]

BundleFolder = Annotated[
    Path | None,
    typer.Option(
        "--export",
        metavar="DIR",
        help="Also write the library's bundle for C into DIR, as `tunekit export` does.",
        show_default=False,
    ),
]

Selection = Annotated[
    bool,
    typer.Option(
        "--selection/--no-selection",
        help="Compare variants of the tuned library end to end, and take the fastest.",
    ),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")]
"""Taken by every verb; the one place that reports errors looks for it (`app.main`)."""


def format_option(*formats: Format, help: str = "How to write it.") -> Any:  # noqa: A002 - typer's
    """The flag `--format` of a verb whose result has these forms."""
    names = [offered.value for offered in formats]

    def form(text: str) -> Format:
        if text not in names:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(names)}")
        return Format(text)

    return typer.Option("--format", "-f", parser=form, metavar=f"[{'|'.join(names)}]", help=help)


Form = Annotated[Format, format_option(Format.table, Format.json, Format.csv)]
"""Of lists."""

WholeForm = Annotated[Format, format_option(Format.table, Format.json)]
"""Of what has no rows of one kind."""

SessionForm = Annotated[Format, format_option(Format.table, Format.json, Format.html)]
"""Of a session."""

_OF_FILE = "How to write it; of FILE when -o is given."

ReportForm = Annotated[
    Format | None,
    format_option(*(form for form in Format if form is not Format.trace), help=_OF_FILE),
]
"""Of reports, which a file's name decides otherwise."""

ExplanationForm = Annotated[Format | None, format_option(*Format, help=_OF_FILE)]
"""Of an explanation, likewise."""


def new_typer(**settings: Any) -> typer.Typer:
    """A typer app in the project's manner."""
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        **{"add_completion": False, **settings},
    )


def progress(*, quiet: bool) -> Callable[[str], None]:
    """Who is told what is being done, a line at a time: standard error, or nobody."""
    return _silent if quiet else _on_standard_error


class Lines:
    """A reporter of what is said, a line at a time on standard error; of nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self.say = progress(quiet=quiet)

    def update(self, progress: object) -> None:
        """Numbers are not shown: they would come with every batch."""


def _on_standard_error(line: str) -> None:
    # Whole lines and no live display: an animation would take CPU from what is being measured.
    print(line, file=sys.stderr, flush=True)


def _silent(_: str) -> None:
    """Shows nothing."""


def resume_command(catalogue: str, bundle: Path | None) -> Callable[[str], str]:
    """The command that goes on with a session of this catalogue, by the session's id, and writes
    the bundle that was asked for."""
    from tunekit.catalogue.db.connect import display, parse
    from tunekit.environment import DEFAULT_CATALOGUE

    # What the environment says it says again.
    usual = catalogue == os.environ.get("TUNEKIT_CATALOGUE", DEFAULT_CATALOGUE)
    where = [] if usual else ["--catalogue", display(parse(catalogue))]
    export = [] if bundle is None else ["--export", str(bundle)]
    return lambda session_id: shlex.join(["tunekit", "resume", session_id, *where, *export])
