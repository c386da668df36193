"""The finals: the best candidates of a task measured again, taking turns.

A shared host is twice as fast in one minute as in the next, so the best of hundreds of seconds
taken over ten minutes is the candidate that met the best minute. Here the few that may be the
best are measured within one or two seconds, one after the other, round after round, and the
shortest run of each decides: noise only ever adds time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.search.metaschedule import load_trace
from tunekit.search.trial import Candidate, Measurer, TensorArgument

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue, Record

FINALISTS = 4
# Slower than the best by more than this, a candidate can hardly have been the victim of noise.
_SLOWEST_RATIO = 1.8
_ROUNDS = 3


def hold_final(
    records: Sequence[Record], engine: Measurer, catalogue: Catalogue
) -> tuple[float, ...] | None:
    """Decides which of a workload's records is the fastest, and notes it in the catalogue.

    Args:
        records: the workload's records, best first.
        engine: builds and measures them.
        catalogue: gets the winner.

    Returns:
        The winner's run seconds, None when there was nothing to decide or nothing ran.
    """
    finalists = _distinct(
        [record for record in records if record.mean_s <= _SLOWEST_RATIO * records[0].mean_s]
    )
    if len(finalists) < 2:
        return None
    candidates = [_candidate(key, record) for key, record in enumerate(finalists)]
    seconds = {
        outcome.key: outcome.run_seconds
        for outcome in engine.measure(candidates, rounds=_ROUNDS)
        if outcome.run_seconds
    }
    if not seconds:
        return None
    winner = min(seconds, key=lambda key: min(seconds[key]))
    catalogue.add_winner(finalists[winner].trial_id, seconds[winner])
    return seconds[winner]


def _distinct(records: Sequence[Record]) -> list[Record]:
    """Without those that repeat another's trace."""
    return list({record.trace_json: record for record in reversed(records)}.values())[::-1]


def _candidate(key: int, record: Record) -> Candidate:
    import tvm
    from tvm.s_tir import Schedule
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    module = tvm.ir.load_json(record.module_json)
    schedule = Schedule(module)
    load_trace(record.trace_json).apply_to_schedule(schedule, remove_postproc=False)
    arguments = tuple(
        TensorArgument(tuple(int(extent) for extent in info.shape), str(info.dtype))
        for info in ArgInfo.from_entry_func(schedule.mod, True)
    )
    return Candidate(key, tvm.ir.save_json(schedule.mod), arguments, math.inf)
