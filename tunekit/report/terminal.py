"""A benchmark on a terminal: fits 80 columns, and says more where there is room."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.report.bench_columns import COLUMNS, Column, footnote, heading

if TYPE_CHECKING:
    from rich.text import Text

    from tunekit.benchmark.results import Report, RuntimeResult

_GAP = "  "
_NARROW_GAP = " "


def bench_text(report: Report, *, width: int = 80, details: bool = False) -> Text:
    """The report as styled text of at most `width` columns.

    A runtime that could not be measured has its reason across its row, where a table would have
    empty cells. `details` adds tracebacks and what failed contestants printed.
    """
    from rich.text import Text

    text = Text()
    text.append(_wrapped(heading(report), width) + "\n\n", style="bold")
    columns, gap = _fitting(report.runtimes, width)
    name_width = max(len("runtime"), *(len(row.name) for row in report.runtimes))
    widths = [_width(column, report.runtimes) for column in columns]
    titles = gap.join(
        column.title.rjust(size) for column, size in zip(columns, widths, strict=True)
    )
    text.append(f"{'runtime'.ljust(name_width)}{gap}{titles}\n", style="dim")
    for row in report.runtimes:
        text.append(row.name.ljust(name_width), style=_style(row))
        if row.latency is not None:
            cells = (
                column.cell(row).rjust(size) for column, size in zip(columns, widths, strict=True)
            )
            text.append(gap + gap.join(cells), style=_style(row))
            text.append("\n")
        if row.reason is not None:
            indent = " " * (name_width + len(gap))
            block = textwrap.fill(
                row.reason, width, initial_indent=indent, subsequent_indent=indent
            )
            text.append(block if row.latency else block[name_width:], style="red")
            text.append("\n")
    text.append("\n" + _wrapped(footnote(report), width) + "\n", style="dim")
    for warning in report.warnings:
        text.append(_wrapped(f"note: {warning}", width) + "\n", style="yellow")
    text.append("\n" + _wrapped(report.verdict, width) + "\n", style="bold")
    if details:
        for row in report.runtimes:
            if row.detail:
                text.append(f"\n{row.name}:\n{textwrap.indent(row.detail.rstrip(), '  ')}\n")
    return text


def _fitting(rows: Sequence[RuntimeResult], width: int) -> tuple[list[Column], str]:
    """All columns where they fit, else the narrow ones, and the gap between them."""
    name_width = max(len("runtime"), *(len(row.name) for row in rows))
    every, narrow = list(COLUMNS), [column for column in COLUMNS if not column.wide]
    for columns, gap in ((every, _GAP), (narrow, _GAP)):
        if name_width + sum(len(gap) + _width(column, rows) for column in columns) <= width:
            return columns, gap
    return narrow, _NARROW_GAP


def _width(column: Column, rows: Sequence[RuntimeResult]) -> int:
    return max(len(column.title), *(len(column.cell(row)) for row in rows))


def _style(row: RuntimeResult) -> str:
    return "bold" if row.name == "tuned" else ""


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width)
