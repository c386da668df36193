"""The columns of a benchmark's table: written once, shown on terminals and in Markdown alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tunekit.benchmark.results import Report, RuntimeResult
from tunekit.report import numbers


@dataclass(frozen=True)
class Column:
    """A title, and one row's cell; "" where the row does not have it.

    Wide columns are left out where there is no room.
    """

    title: str
    cell: Callable[[RuntimeResult], str]
    wide: bool = False


def _latency(name: str) -> Callable[[RuntimeResult], str]:
    return lambda row: numbers.milliseconds(getattr(row.latency, name)) if row.latency else ""


def _interval(row: RuntimeResult) -> str:
    if row.ratio is None or row.ratio.rounds < 2:
        return ""
    return f"{numbers.ratio(row.ratio.low)[:-1]} to {numbers.ratio(row.ratio.high)}"


COLUMNS: tuple[Column, ...] = (
    Column("median ms", _latency("median_ms")),
    Column("best", _latency("best_ms")),
    Column("p10", _latency("p10_ms")),
    Column("p90", _latency("p90_ms")),
    Column("FPS", lambda row: numbers.significant(row.fps) if row.fps else ""),
    Column("vs best*", lambda row: numbers.ratio(row.ratio.value) if row.ratio else ""),
    Column("interval", _interval, wide=True),
    Column("MiB", lambda row: numbers.mebibytes(row.peak_rss_bytes) if row.peak_rss_bytes else ""),
    Column("rel. err", lambda row: _error(row, "relative_error")),
    Column("max abs err", lambda row: _error(row, "max_abs_error"), wide=True),
    Column("mse", lambda row: _error(row, "mse"), wide=True),
    Column("samples", lambda row: str(row.latency.samples) if row.latency else "", wide=True),
)


def _error(row: RuntimeResult, name: str) -> str:
    return numbers.error(getattr(row.accuracy, name)) if row.accuracy else ""


def heading(report: Report) -> str:
    """What was measured, how and where, in one line."""
    model, protocol, host = report.model, report.protocol, report.environment.host
    shapes = ", ".join(f"{one.name} {'x'.join(map(str, one.shape))}" for one in model.inputs)
    return (
        f"{model.name} ({shapes}), {protocol.threads} "
        f"thread{'s' if protocol.threads != 1 else ''}, {protocol.rounds} "
        f"round{'s' if protocol.rounds != 1 else ''}, {host.get('cpu_name', 'unknown CPU')}, "
        f"{report.environment.date}"
    )


def footnote(report: Report) -> str:
    """What "vs best*" and the other columns mean for this report."""
    against = {row.name: row.ratio.against for row in report.runtimes if row.ratio}
    named = list(dict.fromkeys(against.values()))
    if not named:
        return "MiB: peak resident memory of the process."
    usual = max(named, key=lambda name: list(against.values()).count(name))
    text = f"* times as fast as the best other runtime: {usual}"
    for name, other in against.items():
        if other != usual:
            text += f"; for {name}, {other}"
    return f"{text}. MiB: peak resident memory of the process."
