"""What the verbs have in common: plain help, which also loads without rich, and their flags."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekit.report.output import Format

if TYPE_CHECKING:
    from tunekit.recipe import Recipe

RecipeFile = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]

Target = Annotated[
    str | None, typer.Option(help='"native", a tag, JSON, or like "llvm -mcpu=znver3".')
]

Layout = Annotated[str | None, typer.Option(help="NCHW, NHWC, NCHWc or auto.")]

Catalogue = Annotated[
    str | None,
    typer.Option(
        envvar="TUNEKIT_CATALOGUE",
        help="Where measurements are kept: a SQLite file or SQLAlchemy URL.",
    ),
]

Artifacts = Annotated[
    Path | None, typer.Option(help="Folder that holds the library's folder. Default: the recipe's.")
]

RpcTracker = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Measure on devices of this RPC tracker. Default: the recipe's, or "
        "TVM_TRACKER_HOST and TVM_TRACKER_PORT.",
        show_default=False,
    ),
]

RpcKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Kind of device to measure on. Default: the recipe's, or TVM_TRACKER_KEY.",
        show_default=False,
    ),
]

Compiler = Annotated[
    str | None,
    typer.Option(
        "--cc",
        metavar="COMPILER",
        envvar="TUNEKIT_CC",
        help="Links for the devices, for example aarch64-linux-gnu-g++.",
    ),
]

Selection = Annotated[
    bool,
    typer.Option(
        "--contest/--no-contest",
        help="Compare the tuned library end to end with others, and take the fastest.",
    ),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")]
"""Taken by every verb; the one place that reports errors looks for it (``app.main``)."""


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

ReportForm = Annotated[
    Format | None, format_option(*Format, help="How to write it; of FILE when -o is given.")
]
"""Of reports, which a file's name decides otherwise."""


def new_typer(**settings: Any) -> typer.Typer:
    """A typer app in the project's manner."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        **settings,
    )


def with_devices(
    recipe: Recipe, tracker: str | None, key: str | None, compiler: str | None
) -> Recipe:
    """The recipe with where to measure laid over it: the flags, completed from the environment.

    TVM's variables count where flags or recipe ask for devices, or where they name tracker and key.
    """
    from tunekit.recipe import override
    from tunekit.rpc.tracker import tracker_in_environment

    other_tracker, other_key = tracker_in_environment(), os.environ.get("TVM_TRACKER_KEY")
    asked = tracker or key or recipe.tuning.rpc is not None
    if not asked and not (other_tracker and other_key):
        return recipe
    return override(
        recipe, rpc_tracker=tracker or other_tracker, rpc_key=key or other_key, cc=compiler
    )


def progress(*, quiet: bool) -> Callable[[str], None]:
    """Who is told what is being done, a line at a time: standard error, or nobody."""
    return _silent if quiet else _on_standard_error


def _on_standard_error(line: str) -> None:
    # Whole lines and no live display: an animation would take CPU from what is being measured.
    print(line, file=sys.stderr, flush=True)


def _silent(_: str) -> None:
    """Shows nothing."""


def resume_command(catalogue: str) -> Callable[[str], str]:
    """The command that goes on with a session of this catalogue, by the session's id."""
    from tunekit.catalogue.db.connect import display, parse
    from tunekit.environment import DEFAULT_CATALOGUE

    # What the environment says it says again.
    usual = catalogue == os.environ.get("TUNEKIT_CATALOGUE", DEFAULT_CATALOGUE)
    where = [] if usual else ["--catalogue", display(parse(catalogue))]
    return lambda session_id: shlex.join(["tunekit", "resume", session_id, *where])
