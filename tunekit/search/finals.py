"""The finals: the best candidates of a task measured again, in interleaved rounds.

A shared host is twice as fast in one minute as in the next, so the best of hundreds of seconds
taken over ten minutes is the candidate that met the best minute. Here the few candidates that may
be the best are measured within a few seconds, one after the other, round after round, and their
least disturbed runs decide: noise only ever adds time. Their outputs are compared with those of
the unscheduled function, so that nothing wrong is ever compiled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.catalogue.entries import FailureKind
from tunekit.measure.measurer import Measurer
from tunekit.search.candidates import candidate_of_record

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue, Record
    from tunekit.measure.measurer import MeasureResult

FINALISTS = 3
# Slower than the best by more than this, a candidate can hardly have been the victim of noise.
_SLOWEST_RATIO = 1.3
_ROUNDS = 3


@dataclass(frozen=True)
class FinalEntry:
    """A workload in a final.

    Attributes:
        records: its records, best first.
        default: what it would be compiled with had nothing been measured; takes part however slow
            it was, so that nothing slower is ever compiled. None where there is none.
    """

    records: Sequence[Record]
    default: Record | None = None

    @property
    def finalists(self) -> list[Record]:
        """The records that may be the fastest, and the default."""
        if not self.records:
            return []
        limit_s = _SLOWEST_RATIO * self.records[0].score_s
        near = [record for record in self.records if record.score_s <= limit_s]
        return _distinct(near if self.default is None else [*near, self.default])


def run_final(
    entries: Sequence[FinalEntry], measurer: Measurer, catalogue: Catalogue
) -> list[tuple[float, ...] | None]:
    """Decides which of each workload's records is the fastest, and records it in the catalogue.

    Workloads of which a library has one or the other, as of the algorithms of one convolution,
    have their final together: only seconds of the same rounds say which of them is faster. Records
    whose outputs turn out to be wrong are marked as such.

    Args:
        entries: the workloads.
        measurer: builds and measures their records.
        catalogue: gets the winners.

    Returns:
        The samples of each workload's winner in seconds, None where nothing ran; None for all where
        there was nothing to decide.
    """
    finalists = [
        (index, record) for index, entry in enumerate(entries) for record in entry.finalists
    ]
    if len(finalists) < 2:
        return [None] * len(entries)
    candidates = [candidate_of_record(key, record) for key, (_, record) in enumerate(finalists)]
    results = {result.key: result for result in measurer.measure(candidates, rounds=_ROUNDS)}
    winners: dict[int, MeasureResult] = {}
    for key, (index, record) in enumerate(finalists):
        result = results[key]
        if result.failure is FailureKind.WRONG_OUTPUT:
            catalogue.trials.mark_wrong(record.trial_id, result.text)
        if result.seconds is not None and (
            index not in winners or result.seconds < (winners[index].seconds or math.inf)
        ):
            winners[index] = result
    for result in winners.values():
        assert result.samples_s is not None
        catalogue.records.add_winner(finalists[result.key][1].trial_id, result.samples_s)
    return [winners[index].samples_s if index in winners else None for index in range(len(entries))]


def _distinct(records: Sequence[Record]) -> list[Record]:
    """The records without those that repeat another's trace."""
    return list({record.trace_json: record for record in reversed(records)}.values())[::-1]
