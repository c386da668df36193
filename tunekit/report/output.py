"""Where results go: standard output or a file, in the form that was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.errors import UsageError
from tunekit.files import write_atomically
from tunekit.report import table

if TYPE_CHECKING:
    from rich.text import Text

# Piped or in a file, a table is as wide as it needs to be: one line a row, for grep and awk.
_ENDLESS = 1000
_BY_SUFFIX = {".md": "md", ".txt": "table", ".csv": "csv", ".html": "html", ".htm": "html"}


class Format(StrEnum):
    """How a result is written: for people, for programs, for spreadsheets, for a README, for a
    browser, for what draws traces."""

    table = "table"
    json = "json"
    csv = "csv"
    md = "md"
    html = "html"
    trace = "trace"


@dataclass(frozen=True)
class Result:
    """A result in the forms that it has, each made when it is asked for.

    Attributes:
        table: for people, of at most so many columns; without a newline at its end.
        json: for programs; each of these texts ends with a newline.
        csv: its rows.
        md: all of it in Markdown.
        html: all of it as a page.
        trace: events along time, as Chrome and Perfetto read them.
    """

    table: Callable[[int], Text | str]
    json: Callable[[], str]
    csv: Callable[[], str] | None = None
    md: Callable[[], str] | None = None
    html: Callable[[], str] | None = None
    trace: Callable[[], str] | None = None


def rows_result(
    columns: Sequence[table.Column[table.Row]],
    rows: Sequence[table.Row],
    keys: Sequence[str],
    values: Sequence[Mapping[str, Any]],
    style: Callable[[table.Row], str] = lambda _: "",
) -> Result:
    """A list: `columns` of `rows` for people, `keys` of `values` for programs."""
    return Result(
        table=lambda width: table.terminal(columns, rows, width, style=style),
        json=lambda: as_json(list(values)),
        csv=lambda: table.as_csv(table.fields(keys), values),
        md=lambda: table.markdown(columns, rows, style),
    )


def write(
    result: Result,
    format: Format | None = None,  # noqa: A002 - the flag's name
    *,
    file: Path | None = None,
    width: int | None = None,
) -> None:
    """Writes a result to standard output; where `file` is given, to it, and as a table as well.

    Args:
        result: what is written.
        format: of the file, or of standard output where there is none. By default the one that
            the file's name asks for (JSON, which loses nothing, where it does not say), or a table.
        file: written whole or not at all.
        width: of standard output; by default the terminal's, endless where it is none.
    """
    if file is not None:
        write_atomically(file, in_format(result, format or format_of(file)))
        format = Format.table  # noqa: A001 - as above
    if format not in (None, Format.table):
        sys.stdout.write(in_format(result, format))
        return
    if not sys.stdout.isatty():
        sys.stdout.write(in_format(result, Format.table, width or _ENDLESS))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(result.table(width or console.width), markup=False)


def in_format(result: Result, format: Format, width: int = _ENDLESS) -> str:  # noqa: A002
    """The result as plain text that ends with a newline."""
    if format is Format.table:
        return f"{result.table(width)}\n"
    forms = {
        "json": result.json,
        "csv": result.csv,
        "md": result.md,
        "html": result.html,
        "trace": result.trace,
    }
    made = forms[format.value]
    if made is None:
        known = [name for name, form in forms.items() if form is not None]
        raise UsageError(
            f"this has no {format.value} form", hint=f"it has table, {', '.join(known)}"
        )
    return made()


def format_of(file: Path) -> Format:
    """The format that a file's name asks for; JSON where it does not say."""
    return Format(_BY_SUFFIX.get(file.suffix.lower(), "json"))


def as_json(value: Any) -> str:
    """Indented JSON; moments in ISO form. Ends with a newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=table.plain) + "\n"


def speaks_unicode() -> bool:
    """Whether standard output has more than ASCII."""
    return (sys.stdout.encoding or "").lower().startswith("utf")
