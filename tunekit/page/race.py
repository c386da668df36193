"""Benchmarks on a page: one, or several beside each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.page import charts
from tunekit.page.parts import (
    Chart,
    Code,
    Facts,
    HtmlTable,
    Part,
    Prose,
    Section,
    TableCell,
    table_of,
)
from tunekit.report import numbers
from tunekit.report.benchmark import columns, costs, footnote
from tunekit.report.table import Column

if TYPE_CHECKING:
    from tunekit.benchmark.results import Ratio, Report, RuntimeResult

# Of each runtime; more would make the page large and its strips no clearer.
_SAMPLES = 400
_REMARK: Column[RuntimeResult] = Column("remark", lambda row: row.reason)


def race_section(report: Report, title: str = "Race") -> Section:
    """A benchmark: its verdict, every runtime's row, samples and intervals."""
    measured = [row for row in report.runtimes if row.latency is not None]
    loaded = [row for row in report.runtimes if row.load_s is not None]
    order = [
        row.name
        for row in sorted(measured, key=lambda row: row.latency.median_ms if row.latency else 0.0)
    ]
    strong = frozenset(index for index, row in enumerate(report.runtimes) if row.runtime == "tuned")
    parts: list[Part] = [
        Prose(report.verdict, "verdict"),
        *(Prose(warning, "warning") for warning in report.warnings),
        table_of([*columns(report), _REMARK], report.runtimes, strong),
        Prose(footnote(report), "note"),
        table_of(costs(loaded), loaded),
    ]
    if measured:
        parts.append(_samples(measured, order))
    ratios = [row for row in measured if row.ratio is not None and row.ratio.rounds > 1]
    if ratios:
        parts.append(_ratios(ratios))
    parts.append(Facts(_conditions(report)))
    return Section(title, parts)


def measured_again(report: Report) -> Section:
    """The command and the recipe that give the same benchmark again."""
    names = ",".join(row.name for row in report.runtimes)
    command = (
        f"tunekit bench {report.model.name}.yaml --rounds {report.protocol.rounds} "
        f"--threads {report.protocol.threads} --runtimes {names}"
    )
    return Section("How to do it again", [Code(command), Code(report.recipe)])


def matrix_section(reports: Sequence[Report]) -> Section:
    """Several benchmarks beside each other: ratios of the tuned library, and what changed."""
    names = list(dict.fromkeys(row.name for report in reports for row in report.runtimes))
    titles = [
        TableCell("model"),
        TableCell("measured"),
        TableCell("CPU"),
        TableCell("threads", "right"),
    ]
    titles += [TableCell(f"{name} ms", "right") for name in names]
    titles += [TableCell("tuned against the best", "right"), TableCell("interval", "right")]
    rows = []
    for report in reports:
        by_name = {row.name: row for row in report.runtimes}
        tuned = by_name.get("tuned")
        ratio = tuned.ratio if tuned else None
        rows.append(
            [
                TableCell(report.model.name),
                TableCell(report.environment.date),
                TableCell(str(report.environment.host.get("cpu_name", "unknown"))),
                TableCell(str(report.protocol.threads), "right"),
                *(TableCell(_median(by_name.get(name)), "right") for name in names),
                TableCell(numbers.ratio(ratio.value) if ratio else "", "right"),
                TableCell(numbers.interval(ratio.low, ratio.high) if ratio else "", "right"),
            ]
        )
    parts: list[Part] = [HtmlTable(titles, rows), *_verdicts(reports)]
    differences = _differences(reports)
    if differences:
        parts += [Prose("What differs between them:"), Facts(differences)]
    return Section("Benchmarks", parts)


def _verdicts(reports: Sequence[Report]) -> list[Chart]:
    """How the tuned library compares in each benchmark."""
    rows = [
        _interval(f"{report.model.name}, {report.environment.date[:10]}", row.ratio)
        for report in reports
        for row in report.runtimes
        if row.runtime == "tuned" and row.ratio is not None
    ]
    if not rows:
        return []
    order = [str(row["name"]) for row in rows]
    note = "Against the best other runtime of the same benchmark; the line is: as fast as that."
    return [Chart("The tuned library", note, charts.intervals(rows, order, "times as fast", 1.0))]


def _median(row: RuntimeResult | None) -> str:
    if row is None:
        return ""
    return numbers.milliseconds(row.latency.median_ms) if row.latency else row.status


def _samples(rows: Sequence[RuntimeResult], order: Sequence[str]) -> Chart:
    samples = [
        {"name": row.name, "value": round(1e3 * seconds, 6)}
        for row in rows
        for seconds in _thinned(
            list(itertools.chain.from_iterable(turn.seconds for turn in row.rounds))
        )
    ]
    summary = [
        {
            "name": row.name,
            "median": row.latency.median_ms,
            "p10": row.latency.p10_ms,
            "p90": row.latency.p90_ms,
        }
        for row in rows
        if row.latency
    ]
    return Chart(
        "Milliseconds of a run",
        f"Each thin line is a run (of each runtime {_SAMPLES} at most, evenly from all); the point "
        "is the median, the bar reaches from the 10th to the 90th percentile.",
        charts.strips(samples, summary, order, "ms"),
    )


def _thinned(values: Sequence[float]) -> Sequence[float]:
    if len(values) <= _SAMPLES:
        return values
    return [values[index * len(values) // _SAMPLES] for index in range(_SAMPLES)]


def _ratios(rows: Sequence[RuntimeResult]) -> Chart:
    data = [
        _interval(f"{row.name} against {row.ratio.against}", row.ratio) for row in rows if row.ratio
    ]
    return Chart(
        "Times as fast",
        "Paired round by round, so that what slows the machine slows both; an interval that covers "
        "1 says that no difference is beyond doubt.",
        charts.intervals(data, [str(row["name"]) for row in data], "times as fast", 1.0),
    )


def _interval(name: str, ratio: Ratio) -> dict[str, object]:
    return {"name": name, "value": ratio.value, "low": ratio.low, "high": ratio.high}


def _conditions(report: Report) -> list[tuple[str, str]]:
    protocol, environment = report.protocol, report.environment
    inputs = ", ".join(
        f"{tensor.name}: {tensor.dtype}[{', '.join(map(str, tensor.shape))}]"
        for tensor in report.model.inputs
    )
    return [
        ("model", f"{report.model.source} ({report.model.framework})"),
        ("inputs", inputs),
        ("rounds", f"{protocol.rounds}, each runtime {protocol.turn_s:g} s at a time"),
        ("threads", str(protocol.threads)),
        ("tolerance", f"{protocol.relative_error:g} of the largest output"),
        ("CPU", str(environment.host.get("cpu_name", "unknown"))),
        ("system", environment.system),
        ("measured", environment.date),
        *sorted(environment.versions.items()),
    ]


def _differences(reports: Sequence[Report]) -> list[tuple[str, str]]:
    """What is not the same in all benchmarks: machines and versions."""
    seen: dict[str, list[str]] = {}
    for report in reports:
        facts = {
            "CPU": str(report.environment.host.get("cpu_name", "unknown")),
            "system": report.environment.system,
            **report.environment.versions,
        }
        for name, value in facts.items():
            seen.setdefault(name, []).append(value)
    return [
        (name, ", ".join(dict.fromkeys(values)))
        for name, values in sorted(seen.items())
        if len(set(values)) > 1
    ]
