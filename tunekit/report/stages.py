"""The stages of a detector: a row for each, for those that are counted together, and for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.report import numbers
from tunekit.report.table import Column, number

if TYPE_CHECKING:
    from tunekit.attribution.results import Explanation, StageEntry

_TOTAL = "total"


@dataclass(frozen=True)
class StageRow:
    """A row of the table.

    Attributes:
        name: of the stage, or of several together.
        seconds: of each runtime.
        shares: of its time from end to end, likewise.
        is_sum: whether other rows have the same time.
    """

    name: str
    seconds: Sequence[float]
    shares: Sequence[float]
    is_sum: bool = False


def stage_rows(explanation: Explanation) -> list[StageRow]:
    """The stages in the order of a run; behind the last of those that are counted together, their
    sum; in the end the total."""
    stages = explanation.stages
    totals = _sum(stages)
    rows: list[StageRow] = []
    for place, stage in enumerate(stages):
        rows.append(_row(stage.name, [stage], totals))
        following = stages[place + 1 :]
        if stage.part_of is not None and all(one.part_of != stage.part_of for one in following):
            together = [one for one in stages if one.part_of == stage.part_of]
            rows.append(_row(stage.part_of, together, totals, is_sum=True))
    return [*rows, _row(_TOTAL, stages, totals, is_sum=True)]


def stage_columns(explanation: Explanation) -> list[Column[StageRow]]:
    """Milliseconds and share of each runtime, and how many times as fast the library is."""
    runtimes = list(explanation.stages[0].seconds)
    columns: list[Column[StageRow]] = [Column("stage", lambda row: row.name)]
    for index, name in enumerate(runtimes):
        columns.append(number(f"{name} ms", _milliseconds(index)))
        columns.append(number("share", _share(index), priority=1))
    if len(runtimes) > 1:
        columns.append(number("times as fast", _ratio))
    return columns


def stage_style(row: StageRow) -> str:
    """Sums stand out."""
    return "bold" if row.is_sum else ""


def _row(
    name: str, stages: Sequence[StageEntry], totals: Sequence[float], *, is_sum: bool = False
) -> StageRow:
    seconds = _sum(stages)
    shares = [part / whole if whole else 0.0 for part, whole in zip(seconds, totals, strict=True)]
    return StageRow(name, seconds, shares, is_sum)


def _sum(stages: Iterable[StageEntry]) -> list[float]:
    return [
        sum(of_runtime)
        for of_runtime in zip(*(stage.seconds.values() for stage in stages), strict=True)
    ]


def _milliseconds(index: int) -> Callable[[StageRow], str]:
    return lambda row: numbers.milliseconds(1e3 * row.seconds[index])


def _share(index: int) -> Callable[[StageRow], str]:
    return lambda row: f"{row.shares[index]:.1%}"


def _ratio(row: StageRow) -> str | None:
    """How many times as fast the first runtime is as the second; None where one takes no time."""
    own, other = row.seconds[:2]
    return f"{other / own:.2f}" if own > 0 and other > 0 else None
