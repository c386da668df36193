"""What docs/results/detectors.md says of benchmarks/results/detectors/."""

from __future__ import annotations

from pathlib import Path

from deployment_page import NONE, Table

from tunekit.attribution.results import Explanation
from tunekit.benchmark.results import Report
from tunekit.report.numbers import significant
from tunekit.report.stages import stage_columns, stage_rows

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks/results/detectors"
_STAGES = ".stages"


def races(table: Table) -> str:
    """A row for each detector."""
    reports = {
        path.stem: Report.from_json(path.read_text("utf-8"), file=path)
        for path in sorted(RESULTS.glob("*.json"))
        if _STAGES not in path.name
    }
    if not reports:
        return NONE
    names = list(dict.fromkeys(row.name for report in reports.values() for row in report.runtimes))
    titles = (
        "detector",
        "canvas",
        *(f"{name} ms" for name in names),
        "tuned vs best other",
        "matched",
    )
    where = sorted(
        {
            f"{one.environment.host['cpu_name']}, {one.environment.date[:10]}"
            for one in reports.values()
        }
    )
    rows = [_race(name, report, names) for name, report in reports.items()]
    return "\n".join([*table(titles, rows), "", f"{'; '.join(where)}."])


def _race(detector: str, report: Report, names: list[str]) -> tuple[str, ...]:
    rows = {row.name: row for row in report.runtimes}
    height, width = report.model.inputs[0].shape[-2:]
    tuned = rows["tuned"]
    times = [
        significant(row.latency.median_ms) if row is not None and row.latency else "-"
        for row in map(rows.get, names)
    ]
    ratio = tuned.ratio
    against = (
        "-"
        if ratio is None
        else f"{ratio.value:.2f}x {ratio.against} ({ratio.low:.2f} to {ratio.high:.2f})"
    )
    found = tuned.accuracy.detections if tuned.accuracy else None
    matched = "-" if found is None else f"{found.matched} of {found.count}"
    return (f"`{detector}`", f"{height}x{width}", *times, against, matched)


def stages(table: Table) -> str:
    """A table for each detector: the stages of the library, and of eager PyTorch."""
    lines: list[str] = []
    for path in sorted(RESULTS.glob(f"*{_STAGES}.json")):
        explanation = Explanation.from_json(path.read_text("utf-8"), file=path)
        columns = stage_columns(explanation)
        rows = [tuple(column.text(row) for column in columns) for row in stage_rows(explanation)]
        lines += [f"### `{explanation.name}`", ""]
        lines += [*table(tuple(column.title for column in columns), rows), ""]
    return "\n".join(lines).rstrip() or NONE
