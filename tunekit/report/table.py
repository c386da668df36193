"""One table for people, readers of Markdown and programs: columns told once, written three ways."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from rich.text import Text

Row = TypeVar("Row")

# Columns between two cells; the second where the first does not fit.
_GAP, _NARROW_GAP = 2, 1
# Characters of a column that may be elided. Optional columns are left out before it has fewer than
# the first, the gap narrows before it has fewer than the second; it never has fewer than the third.
_COMFORTABLE, _READABLE, _NARROWEST = 32, 24, 6
# Longer lines of prose are hard to read, on however wide a screen.
_WIDEST_PROSE = 160


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table.

    Attributes:
        title: above it, with its unit.
        cell: what a row has in it; None, which is shown as nothing, where it has none.
        align: texts stand at the left, numbers at the right.
        priority: 0 is always shown; of the others, those with the largest number are left out
            first where a terminal is too narrow.
        elide: loses the middle of its cells where even that is not enough.
    """

    title: str
    cell: Callable[[Row], object]
    align: Literal["left", "right"] = "left"
    priority: int = 0
    elide: bool = False

    def text(self, row: Row) -> str:
        """The cell in one line."""
        value = self.cell(row)
        return "" if value is None else " ".join(str(value).split())


def number(title: str, cell: Callable[[Row], object], priority: int = 0) -> Column[Row]:
    """A column of numbers."""
    return Column(title, cell, align="right", priority=priority)


def fields(keys: Sequence[str]) -> list[Column[Mapping[str, Any]]]:
    """The columns of rows that are mappings already, for programs."""
    return [Column(key, lambda row, key=key: row[key]) for key in keys]  # type: ignore[misc]


def terminal(
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    width: int,
    *,
    style: Callable[[Row], str] = lambda _: "",
    remark: Callable[[Row], str] = lambda _: "",
) -> Text:
    """The rows under their titles, in lines of at most `width`; the last ends without a newline.

    Args:
        columns: what is shown of a row.
        rows: from top to bottom.
        width: of the terminal.
        style: of a row, for rich.
        remark: what is wrong with a row: below it, or in place of its cells where all but the
            first are empty.
    """
    from rich.text import Text

    layout = _Layout.fitting(columns, rows, width)
    lines = [Text(layout.line([column.title for column in layout.columns]), style="bold")]
    for row in rows:
        cells = [column.text(row) for column in layout.columns]
        told = remark(row)
        if not told or any(cells[1:]):
            lines.append(Text(layout.line(cells), style=style(row)))
        if told:
            indent = " " * (layout.widths[0] + layout.gap)
            block = textwrap.fill(told, width, initial_indent=indent, subsequent_indent=indent)
            if any(cells[1:]):
                lines.append(Text(block, style="red"))
            else:
                name = layout.cell(0, cells[0])
                lines.append(Text.assemble((name, style(row)), (block[len(name) :], "red")))
    return Text("\n").join(lines)


def markdown(
    columns: Sequence[Column[Row]], rows: Sequence[Row], style: Callable[[Row], str] = lambda _: ""
) -> str:
    """All columns as a table in Markdown, the first cell of bold rows bold; ends with a newline."""
    lines = [
        [escaped(column.title) for column in columns],
        ["---:" if column.align == "right" else "---" for column in columns],
    ]
    for row in rows:
        cells = [escaped(column.text(row)) for column in columns]
        if style(row) == "bold":
            cells[0] = f"**{cells[0]}**"
        lines.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def as_csv(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> str:
    """All columns with their titles; moments in ISO form, lists and mappings as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.title for column in columns)
    writer.writerows([_csv_cell(column.cell(row)) for column in columns] for row in rows)
    return text.getvalue()


def facts(pairs: Mapping[str, str]) -> Text:
    """A line for each name that has a value, the values below each other."""
    from rich.text import Text

    room = max(map(len, pairs), default=0) + 2
    return Text("\n").join(
        Text.assemble((f"{name:<{room}}", "dim"), value) for name, value in pairs.items() if value
    )


def wrapped(text: str, width: int, *, indent: str = "  ") -> str:
    """A line of prose as lines of at most `width`, all but the first behind `indent`."""
    return textwrap.fill(text, min(width, _WIDEST_PROSE), subsequent_indent=indent)


def elided(text: str, limit: int) -> str:
    """The text without its middle where it is longer than `limit`.

    Names of kernels differ in their beginning, and in what stands last: the number of TVM's names,
    the algorithm in parentheses of those for people.
    """
    if len(text) <= limit:
        return text
    end = limit // 3
    parenthesis = len(text) - max(text.rfind(" ("), 0)
    if text.endswith(")") and parenthesis <= limit // 2:
        end = parenthesis
    return f"{text[: limit - end - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}{text[len(text) - end :]}"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table's cell as elsewhere."""
    for character in "\\|*_<`":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def plain(value: object) -> object:
    """What JSON has no form for: moments in ISO form."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _csv_cell(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=plain)


@dataclass(frozen=True)
class _Layout(Generic[Row]):
    """Which columns a terminal has room for, how wide, and how far from each other."""

    columns: Sequence[Column[Row]]
    widths: Sequence[int]
    gap: int

    @classmethod
    def fitting(
        cls, columns: Sequence[Column[Row]], rows: Sequence[Row], width: int
    ) -> _Layout[Row]:
        whole = {
            column.title: max([len(column.title), *(len(column.text(row)) for row in rows)])
            for column in columns
        }

        def taken(shown: Sequence[Column[Row]], least: int, gap: int) -> int:
            widths = [
                min(whole[column.title], least) if column.elide else whole[column.title]
                for column in shown
            ]
            return sum(widths) + gap * (len(shown) - 1)

        shown = list(columns)
        while taken(shown, _COMFORTABLE, _GAP) > width:
            last = max(shown, key=lambda column: column.priority)
            if not last.priority:
                break
            shown.remove(last)
        gap = _GAP if taken(shown, _READABLE, _GAP) <= width else _NARROW_GAP
        spare = width - taken(shown, _NARROWEST, gap)
        widths = []
        for column in shown:
            wide = whole[column.title]
            if column.elide:
                given = min(max(spare, 0), max(wide - _NARROWEST, 0))
                spare -= given
                wide = min(wide, _NARROWEST + given)
            widths.append(wide)
        return cls(shown, widths, gap)

    def line(self, cells: Sequence[str]) -> str:
        return (" " * self.gap).join(map(self.cell, range(len(cells)), cells)).rstrip()

    def cell(self, position: int, text: str) -> str:
        width = self.widths[position]
        text = elided(text, width)
        right = self.columns[position].align == "right"
        return text.rjust(width) if right else text.ljust(width)
