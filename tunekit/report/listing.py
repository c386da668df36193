"""Lists for people and for programs: an aligned table, CSV or JSON of the same rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        cell: what a row has there, as people read it.
        right: numbers stand at the right.
        most: longer texts are cut to so many characters.
    """

    title: str
    cell: Callable[[Row], str]
    right: bool = False
    most: int = 60


def table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The rows under their headings; ends with a newline."""
    lines = [[column.title for column in columns]]
    lines += [[_cut(column.cell(row), column.most) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    return "".join(
        "  ".join(
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def as_csv(keys: Sequence[str], rows: Sequence[Row]) -> str:
    """These keys of the rows with a heading; moments in ISO form, lists and mappings as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([_csv_cell(row[key]) for key in keys] for row in rows)
    return text.getvalue()


def as_json(value: Any) -> str:
    """Indented JSON; moments in ISO form. Ends with a newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n"


def moment(value: datetime) -> str:
    """A moment to the minute, in this machine's time zone."""
    return f"{value.astimezone():%Y-%m-%d %H:%M}"


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _csv_cell(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
