"""Tables that fit the terminal they are shown on, and are as wide as they need be elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Row = TypeVar("Row")

# Piped, a table is as wide as it needs to be: one line a row, for grep and awk.
_PIPED_WIDTH = 1000
#: Of what is no list, where nothing says how wide the reader's screen is.
LINE_WIDTH = 100
_GAP = 2
# Of a column that is cut: columns that can be left out give way before it is narrower than the
# first, it is never narrower than the second.
_READABLE = 24
_NARROWEST = 6


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table.

    Attributes:
        title: above it.
        cell: what a row has in it.
        right: numbers stand at the right.
        wide: left out where the terminal is too narrow for all, the last of them first.
        shrinks: is cut where even that does not help.
    """

    title: str
    cell: Callable[[Row], str]
    right: bool = False
    wide: bool = False
    shrinks: bool = False


def console() -> Console:
    """Where results go: the terminal in its width, or plain lines as wide as they need be."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(
        file=sys.stdout, highlight=False, width=_PIPED_WIDTH, no_color=True, force_terminal=False
    )


def table(
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    width: int,
    style: Callable[[Row], str] = lambda _: "",
) -> Text:
    """The rows as lines of at most `width`."""
    from rich.text import Text

    shown = list(columns)
    while _width(shown, rows) > width and any(column.wide for column in shown):
        shown.remove([column for column in shown if column.wide][-1])
    spare = width - _width(shown, rows)
    widths = [
        min(_whole_width(column, rows), max(_NARROWEST, _least_width(column, rows) + spare))
        if column.shrinks
        else _whole_width(column, rows)
        for column in shown
    ]
    lines = [Text(_line(shown, [column.title for column in shown], widths), style="bold")]
    lines += [
        Text(_line(shown, [column.cell(row) for column in shown], widths), style=style(row))
        for row in rows
    ]
    return Text("\n").join(lines)


def shortened(name: str, limit: int) -> str:
    """The name without its middle: kernels differ in their beginning and in their number."""
    if len(name) <= limit:
        return name
    end = limit // 3
    return f"{name[: limit - end - 1]}\N{HORIZONTAL ELLIPSIS}{name[-end:]}"


def _line(columns: Sequence[Column[Row]], texts: Sequence[str], widths: Sequence[int]) -> str:
    return (
        (" " * _GAP)
        .join(
            (str.rjust if column.right else str.ljust)(shortened(text, width), width)
            for column, text, width in zip(columns, texts, widths, strict=True)
        )
        .rstrip()
    )


def _whole_width(column: Column[Row], rows: Sequence[Row]) -> int:
    return max([len(column.title), *(len(column.cell(row)) for row in rows)])


def _least_width(column: Column[Row], rows: Sequence[Row]) -> int:
    whole = _whole_width(column, rows)
    return min(whole, _READABLE) if column.shrinks else whole


def _width(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> int:
    """With the columns that shrink as narrow as they can be read."""
    return sum(_least_width(column, rows) + _GAP for column in columns) - _GAP
