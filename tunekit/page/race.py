"""A benchmark on a page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tunekit.page import charts
from tunekit.page.machine import machine
from tunekit.page.parts import (
    Chart,
    Facts,
    Part,
    Prose,
    Section,
    table_of,
)
from tunekit.report.benchmark import columns, costs, footnote
from tunekit.report.numbers import significant
from tunekit.timing.statistics import evenly

if TYPE_CHECKING:
    from tunekit.benchmark.results import Ratio, Report, RuntimeResult

# Of each runtime; more would make a page large and its strips no clearer.
_SAMPLES = 400
_LEAST_SAMPLES = 50


def race_section(report: Report, *, label: str = "", of: int = 1) -> Section:
    """A benchmark: its verdict, every runtime's row, samples and intervals.

    Args:
        report: the benchmark.
        label: which of several it is.
        of: how many are on the page; each of many has less room.
    """
    samples = max(_LEAST_SAMPLES, _SAMPLES // of)
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
        table_of(columns(report), report.runtimes, strong, lambda row: row.reason),
        Prose(footnote(report), "note"),
        table_of(costs(loaded), loaded),
    ]
    if measured:
        parts.append(_samples(measured, order, samples))
    ratios = [row for row in measured if row.ratio is not None and row.ratio.rounds > 1]
    if ratios:
        parts.append(_ratios(ratios))
    settings = [
        (row.name, told) for row in report.runtimes if (told := _in_words(row.settings)) != ""
    ]
    if settings:
        parts.append(Facts(settings, "Settings of the runtimes"))
    parts.append(Facts(_conditions(report), "Conditions and versions" if of > 1 else ""))
    return Section(f"Race: {label}" if label else "Race", parts, short=label)


def _samples(rows: Sequence[RuntimeResult], order: Sequence[str], most: int) -> Chart:
    samples = [
        {"name": row.name, "value": round(1e3 * seconds, 6)}
        for row in rows
        for seconds in evenly(
            list(itertools.chain.from_iterable(turn.seconds for turn in row.rounds)), most
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
        f"Each thin line is a run (of each runtime {most} at most, evenly from all); the point "
        "is the median, the bar reaches from the 10th to the 90th percentile.",
        charts.strips(samples, summary, order, "ms"),
    )


def _ratios(rows: Sequence[RuntimeResult]) -> Chart:
    data = [
        interval(f"{row.name} against {row.ratio.against}", row.ratio) for row in rows if row.ratio
    ]
    return Chart(
        "Times as fast",
        "Paired round by round, so that what slows the machine slows both; an interval that covers "
        "1 says that no difference is beyond doubt.",
        charts.intervals(data, [str(row["name"]) for row in data], "times as fast", 1.0),
    )


def interval(name: str, ratio: Ratio) -> dict[str, object]:
    """A ratio with its interval, as a chart has it."""
    return {"name": name, "value": ratio.value, "low": ratio.low, "high": ratio.high}


def _in_words(value: object) -> str:
    """A setting of a runtime: a word, a number, or several of them by their names."""
    if isinstance(value, Mapping):
        known = {name: one for name, one in value.items() if one not in (None, {}, [])}
        each = {str(name).replace("_", " "): one for name, one in known.items()}
        return "; ".join(
            f"{name}: ({_in_words(one)})"
            if isinstance(one, Mapping)
            else f"{name}: {_in_words(one)}"
            for name, one in each.items()
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return significant(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


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
        *machine(environment.host),
        ("system", environment.system),
        ("measured", environment.date),
        *sorted(environment.versions.items()),
    ]
