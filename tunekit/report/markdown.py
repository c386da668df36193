"""A benchmark as Markdown, for a README or an issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.report.bench_columns import COLUMNS, footnote, heading

if TYPE_CHECKING:
    from tunekit.bench.results import Report, RuntimeResult


def bench_markdown(report: Report) -> str:
    """The report as a Markdown table with its verdict; ends with a newline."""
    reasons = any(row.reason for row in report.runtimes)
    titles = ["runtime", *(column.title.replace("*", "\\*") for column in COLUMNS)]
    if reasons:
        titles.append("remark")
    lines = [
        f"### {_escaped(heading(report))}",
        "",
        _line(titles),
        _line(
            ["---", *("---:" for _ in COLUMNS), *(["---"] if reasons else [])],
        ),
    ]
    lines += [_line(_cells(row, reasons)) for row in report.runtimes]
    lines += ["", f"**{_escaped(report.verdict)}**", "", _escaped(footnote(report))]
    lines += [f"- {_escaped(warning)}" for warning in report.warnings]
    versions = ", ".join(
        f"{name} {version}" for name, version in report.environment.versions.items()
    )
    lines += ["", f"<sub>{_escaped(report.environment.system)}; {_escaped(versions)}</sub>"]
    return "\n".join(lines) + "\n"


def _cells(row: RuntimeResult, reasons: bool) -> list[str]:
    name = f"**{_escaped(row.name)}**" if row.name == "tuned" else _escaped(row.name)
    cells = [name, *(column.cell(row) for column in COLUMNS)]
    if reasons:
        cells.append(_escaped(row.reason or ""))
    return cells


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text that a table cell shows as it is."""
    for character in "\\|*_<`":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
