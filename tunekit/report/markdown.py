"""A benchmark as Markdown, for a README or an issue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.report.bench_columns import COLUMNS, footnote, heading

if TYPE_CHECKING:
    from tunekit.benchmark.results import Report, RuntimeResult


def bench_markdown(report: Report) -> str:
    """The report as a Markdown table with its verdict; ends with a newline."""
    reasons = any(row.reason for row in report.runtimes)
    titles = ["runtime", *(column.title.replace("*", "\\*") for column in COLUMNS)]
    if reasons:
        titles.append("remark")
    lines = [
        f"### {escaped(heading(report))}",
        "",
        table_line(titles),
        table_line(
            ["---", *("---:" for _ in COLUMNS), *(["---"] if reasons else [])],
        ),
    ]
    lines += [table_line(_cells(row, reasons)) for row in report.runtimes]
    lines += ["", f"**{escaped(report.verdict)}**", "", escaped(footnote(report))]
    lines += [f"- {escaped(warning)}" for warning in report.warnings]
    versions = ", ".join(
        f"{name} {version}" for name, version in report.environment.versions.items()
    )
    lines += ["", f"<sub>{escaped(report.environment.system)}; {escaped(versions)}</sub>"]
    return "\n".join(lines) + "\n"


def _cells(row: RuntimeResult, reasons: bool) -> list[str]:
    name = f"**{escaped(row.name)}**" if row.name == "tuned" else escaped(row.name)
    cells = [name, *(column.cell(row) for column in COLUMNS)]
    if reasons:
        cells.append(escaped(row.reason or ""))
    return cells


def table_line(cells: list[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Text that a table cell shows as it is."""
    for character in "\\|*_<`":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
