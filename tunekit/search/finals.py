"""The finals: the best candidates of a task measured again, taking turns.

A shared host is twice as fast in one minute as in the next, so the best of hundreds of seconds
taken over ten minutes is the candidate that met the best minute. Here the few that may be the
best are measured within a few seconds, one after the other, round after round, and their least
disturbed runs decide: noise only ever adds time. Their outputs are compared with those of the
unscheduled function, so that nothing wrong is ever compiled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.catalogue.entries import FailureKind
from tunekit.search.metaschedule import candidate_of, load_trace
from tunekit.search.trial import Candidate, Measurer

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue, Record

FINALISTS = 4
# Slower than the best by more than this, a candidate can hardly have been the victim of noise.
_SLOWEST_RATIO = 1.8
_ROUNDS = 3


def hold_final(
    records: Sequence[Record],
    engine: Measurer,
    catalogue: Catalogue,
    default: Record | None = None,
) -> tuple[float, ...] | None:
    """Decides which of a workload's records is the fastest, and notes it in the catalogue.

    Records whose outputs turn out to be wrong are marked as such.

    Args:
        records: the workload's records, best first.
        engine: builds and measures them.
        catalogue: gets the winner.
        default: what the workload would be compiled with had nothing been measured; takes part
            however slow it was, so that nothing slower is ever compiled.

    Returns:
        The winner's run seconds, None when there was nothing to decide or nothing ran.
    """
    near = [record for record in records if record.mean_s <= _SLOWEST_RATIO * records[0].mean_s]
    finalists = _distinct(near if default is None else [*near, default])
    if len(finalists) < 2:
        return None
    candidates = [_candidate(key, record) for key, record in enumerate(finalists)]
    outcomes = {outcome.key: outcome for outcome in engine.measure(candidates, rounds=_ROUNDS)}
    for key, outcome in outcomes.items():
        if outcome.failure is FailureKind.WRONG_OUTPUT:
            catalogue.mark_wrong(finalists[key].trial_id, outcome.text)
    seconds = {
        key: outcome.seconds for key, outcome in outcomes.items() if outcome.seconds is not None
    }
    if not seconds:
        return None
    winner = min(seconds, key=lambda key: seconds[key])
    run_seconds = outcomes[winner].run_seconds
    assert run_seconds is not None
    catalogue.add_winner(finalists[winner].trial_id, run_seconds)
    return run_seconds


def _distinct(records: Sequence[Record]) -> list[Record]:
    """Without those that repeat another's trace."""
    return list({record.trace_json: record for record in reversed(records)}.values())[::-1]


def _candidate(key: int, record: Record) -> Candidate:
    import tvm
    from tvm.s_tir import Schedule

    module = tvm.ir.load_json(record.module_json)
    schedule = Schedule(module)
    load_trace(record.trace_json).apply_to_schedule(schedule, remove_postproc=False)
    return candidate_of(key, schedule.mod, module, math.inf, workload_json=record.module_json)
