"""An explanation on a terminal, in 80 columns or with more where there is room, and as Markdown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from tunekit.report.attribution_columns import (
    Column,
    columns,
    footnote,
    heading,
    machine,
    runtime_lines,
    unmatched_lines,
)
from tunekit.report.fitting_table import shortened
from tunekit.report.markdown import escaped, table_line

if TYPE_CHECKING:
    from rich.text import Text

    from tunekit.attribution.results import Explanation

_GAP = "  "
_NARROW_GAP = " "
# A name needs so much to be told from others.
_LEAST_NAME = 24


def explanation_text(explanation: Explanation, *, width: int = 80) -> Text:
    """The explanation as styled text of at most `width` columns."""
    from rich.text import Text

    text = Text()
    text.append(_wrapped(heading(explanation), width) + "\n", style="bold")
    text.append(_wrapped(machine(explanation), width) + "\n\n")
    for line in runtime_lines(explanation):
        text.append(_wrapped(line, width) + "\n")
    shown, gap, name_width = _fitting(explanation, width)
    titles = gap.join(column.title.rjust(_width(column, explanation)) for column in shown)
    text.append(f"\n{'operator'.ljust(name_width)}{gap}{titles}\n", style="dim")
    for one in explanation.operators:
        cells = (column.cell(one).rjust(_width(column, explanation)) for column in shown)
        name = shortened(one.work, name_width).ljust(name_width)
        text.append(f"{name}{gap}{gap.join(cells)}\n")
    if explanation.unmatched:
        text.append("\n")
    for line in unmatched_lines(explanation):
        text.append(_wrapped(line, width) + "\n")
    text.append("\n" + _wrapped(footnote(explanation), width) + "\n", style="dim")
    for remark in explanation.remarks:
        text.append(_wrapped(f"note: {remark}", width) + "\n", style="yellow")
    return text


def explanation_markdown(explanation: Explanation) -> str:
    """The explanation as Markdown with every column; ends with a newline."""
    shown = columns(explanation)
    lines = [f"### {escaped(heading(explanation))}", "", escaped(machine(explanation)), ""]
    lines += [f"- {escaped(line)}" for line in runtime_lines(explanation)]
    lines += [
        "",
        table_line(["operator", *(column.title for column in shown)]),
        table_line(["---", *("---:" for _ in shown)]),
    ]
    lines += [
        table_line([escaped(one.work), *(escaped(column.cell(one)) for column in shown)])
        for one in explanation.operators
    ]
    lines += ["", *(f"- {escaped(line)}" for line in unmatched_lines(explanation))]
    lines += ["", escaped(footnote(explanation))]
    lines += [f"- {escaped(remark)}" for remark in explanation.remarks]
    return "\n".join(lines) + "\n"


def _fitting(explanation: Explanation, width: int) -> tuple[list[Column], str, int]:
    """All columns where they fit, else the narrow ones; the gap between them; the name's width."""
    every = columns(explanation)
    narrow = [column for column in every if not column.wide]
    longest = max(len("operator"), *(len(one.work) for one in explanation.operators))
    choices = ((every, _GAP), (narrow, _GAP), (narrow, _NARROW_GAP))
    for shown, gap in choices:
        room = width - sum(len(gap) + _width(column, explanation) for column in shown)
        if room >= min(longest, _LEAST_NAME):
            break
    return shown, gap, max(min(longest, room), _LEAST_NAME)


def _width(column: Column, explanation: Explanation) -> int:
    return max(len(column.title), *(len(column.cell(one)) for one in explanation.operators))


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ")
