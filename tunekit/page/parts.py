"""What a page is made of: sections, and in them prose, facts, tables and charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from tunekit.report.table import Column

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Prose:
    """A paragraph; `tone` sets apart what a reader must not miss, and what explains."""

    text: str
    tone: Literal["plain", "verdict", "warning", "note"] = "plain"
    kind: Literal["prose"] = "prose"


@dataclass(frozen=True)
class Facts:
    """Names and what they are, one below the other; with a title they are folded below it."""

    items: Sequence[tuple[str, str]]
    title: str = ""
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, and which way it stands."""

    text: str
    align: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class HtmlTable:
    """Rows under titles; `strong` are the numbers of rows that stand out, `remarks` what is wrong
    with a row, by its number."""

    titles: Sequence[TableCell]
    rows: Sequence[Sequence[TableCell]]
    strong: frozenset[int] = frozenset()
    remarks: Mapping[int, str] = field(default_factory=dict)
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Chart:
    """A drawing: what it shows, how to read it, and the Vega-Lite specification."""

    title: str
    note: str
    spec: Mapping[str, Any]
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Code:
    """Lines to copy; with a title they are folded below it."""

    text: str
    title: str = ""
    kind: Literal["code"] = "code"


Part = Prose | Facts | HtmlTable | Chart | Code


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading; `short` is the heading among many."""

    title: str
    parts: Sequence[Part] = field(default_factory=tuple)
    short: str = ""


def table_of(
    columns: Sequence[Column[_Row]],
    rows: Sequence[_Row],
    strong: frozenset[int] = frozenset(),
    remark: Callable[[_Row], str | None] = lambda _: None,
) -> HtmlTable:
    """The table that terminals and Markdown have, without columns in which nothing is."""
    kept = [column for column in columns if any(column.text(row) for row in rows)]
    return HtmlTable(
        titles=[TableCell(column.title, column.align) for column in kept],
        rows=[[TableCell(column.text(row), column.align) for column in kept] for row in rows],
        strong=strong,
        remarks={number: told for number, row in enumerate(rows) if (told := remark(row))},
    )
