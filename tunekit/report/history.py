"""Earlier benchmarks: the list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.recipe.axes import in_words
from tunekit.report import numbers
from tunekit.report.output import Result, rows_result
from tunekit.report.table import Column, number

if TYPE_CHECKING:
    from tunekit.benchmark.history import PastRun

KEYS = (
    "id",
    "name",
    "size",
    "measured_at",
    "host",
    "cpu",
    "status",
    "median_s",
    "against",
    "ratio",
    "ratio_low",
    "ratio_high",
    "outcome",
    "verdict",
)


def history_columns(runs: Sequence[PastRun] = ()) -> list[Column[PastRun]]:
    """What is shown of an earlier benchmark, of those that are listed."""
    sizes = any(past.size for past in runs)
    return [
        Column("benchmark", lambda past: numbers.moment(past.run.measured_at)),
        *([Column("size", lambda past: in_words(past.size))] if sizes else []),
        Column("machine", lambda past: past.run.cpu_name, elide=True),
        number(
            "tuned ms", lambda past: past.median_s and numbers.milliseconds(1e3 * past.median_s)
        ),
        number("vs best", lambda past: past.ratio and numbers.ratio(past.ratio)),
        number("interval", _interval),
        Column("best other", lambda past: past.against, priority=1),
        Column("verdict", lambda past: past.outcome),
    ]


def history_result(runs: Sequence[PastRun]) -> Result:
    """A list of benchmarks."""
    return rows_result(history_columns(runs), runs, KEYS, [past_value(past) for past in runs])


def past_value(past: PastRun) -> dict[str, Any]:
    """An earlier benchmark for programs; times in seconds."""
    return {
        "id": past.run.id,
        "name": past.run.name,
        "size": dict(past.size),
        "measured_at": past.run.measured_at,
        "host": past.run.host_fingerprint,
        "cpu": past.run.cpu_name,
        "status": past.status,
        "median_s": past.median_s,
        "against": past.against,
        "ratio": past.ratio,
        "ratio_low": past.low,
        "ratio_high": past.high,
        "outcome": past.outcome,
        "verdict": past.run.verdict,
    }


def _interval(past: PastRun) -> str:
    if past.low is None or past.high is None:
        return ""
    return numbers.interval(past.low, past.high)
