"""Which candidate ships: the fastest of those that are right, end to end, by taking turns.

A kernel that was fastest alone need not be fastest in the model: there its weights come from
memory, its neighbours use the caches, and its seconds were a sample. The model has the last word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import CompileError, SandboxError
from tunekit.library.manifest import CandidateEntry, Contest, RatioEntry
from tunekit.library.verify import verify
from tunekit.models.compare import compare
from tunekit.race.harness import Entry, Settings, compete
from tunekit.race.statistics import PairedRatio, median, paired_ratio

if TYPE_CHECKING:
    from tunekit.graph.staging import Staged
    from tunekit.library.entrants import Entrant, Seconds
    from tunekit.library.verify import Reference
    from tunekit.race.harness import Outcome

_RUNNER = "tunekit.race.relax_library:RelaxLibrary"
_ROUNDS = 24
# For all candidates together; a part of it goes to untimed runs and to threads that come to rest.
_TOTAL_S = 10.0
_TIMED_SHARE = 0.7
_WARM_UP_S = 0.3
# Enough for the median of a turn, which then takes a small model a few milliseconds.
_TURN_RUNS = 100
_CONFIDENCE = 0.95

Say = Callable[[str], None]


def hold(
    entrants: Sequence[Entrant], staged: Staged, reference: Reference, *, folder: Path, say: Say
) -> tuple[Entrant, Contest]:
    """Verifies the candidates, lets those that are right take turns, and says which one ships.

    Args:
        entrants: the candidates; the first ships unless it is wrong or another one is faster.
        staged: their model.
        reference: what it should give.
        folder: takes what the processes write.
        say: told what is done, a line at a time.

    Raises:
        VerificationFailed: none is right.
        SandboxError: none is right, and the first crashed or hung.
    """
    for entrant in entrants:
        if entrant.failure is None:
            try:
                entrant.errors = verify(entrant.path, staged, reference)
            except (CompileError, SandboxError) as error:
                entrant.leave_out(error, say)
    right = _right(entrants)
    if len(right) > 1:
        say(f"contest: {', '.join(one.name for one in right)} take turns")
        _take_turns(right, staged, reference, folder, say)
        right = _right(right)
    name = decide({one.name: one.rounds_s for one in right})
    shipped = next(one for one in right if one.name == name)
    contest = _summary(shipped, entrants, staged)
    say(verdict(contest))
    return shipped, contest


def alone(
    entrant: Entrant, staged: Staged, reference: Reference, reason: str
) -> tuple[Entrant, Contest]:
    """Verifies the only candidate; `reason` says why there is no other.

    Raises:
        TunekitError: as for `verify`.
    """
    entrant.errors = verify(entrant.path, staged, reference)
    return entrant, _summary(entrant, [entrant], staged, skipped=reason)


def decide(rounds_s: Mapping[str, Seconds]) -> str:
    """The name of the one that ships: the first, unless another is faster beyond doubt.

    That is: the whole interval of its ratio to the first is above 1. Of several such it is the one
    with the largest ratio.
    """
    first, *others = rounds_s
    best, largest = first, 1.0
    for name in others:
        ratio = _ratio(rounds_s[name], rounds_s[first])
        if ratio is None or ratio.interval.confidence < _CONFIDENCE or ratio.interval.low <= 1.0:
            continue
        if ratio.value > largest:
            best, largest = name, ratio.value
    return best


def verdict(contest: Contest) -> str:
    """One line: which library ships, and how it compares with each other one."""
    compared = [
        (f"{entry.ratio.value:.2f}x ({entry.ratio.low:.2f} to {entry.ratio.high:.2f})", entry.name)
        for entry in contest.candidates
        if entry.ratio is not None
    ]
    if not compared:
        every = len(contest.candidates)
        return f"warning: of {every} candidates only {contest.shipped} is right; it ships"
    (ratio, name), *others = compared
    text = ", ".join(
        [f"{ratio} as fast as {name}", *(f"{ratio} as {name}" for ratio, name in others)]
    )
    return f"the {contest.shipped} library is {text}; it ships"


def _right(entrants: Sequence[Entrant]) -> list[Entrant]:
    right = [one for one in entrants if one.failure is None]
    if not right:
        raise next(one.failure for one in entrants if one.failure is not None)
    return right


def _take_turns(
    entrants: Sequence[Entrant], staged: Staged, reference: Reference, folder: Path, say: Say
) -> None:
    names = [spec.name for spec in staged.source.inputs]
    entries = [
        Entry(
            one.name,
            _RUNNER,
            {
                "file": str(one.path.absolute()),
                "device": staged.target.device,
                "input_names": names,
            },
        )
        for one in entrants
    ]
    settings = Settings(
        rounds=_ROUNDS,
        threads=staged.target.cores,
        turn_s=_TIMED_SHARE * _TOTAL_S / _ROUNDS / len(entrants),
        turn_runs=_TURN_RUNS,
        rounds_s=_TOTAL_S,
        warm_up_s=_WARM_UP_S,
    )
    inputs = {name: reference.inputs[0][name] for name in names}
    with tempfile.TemporaryDirectory(prefix="contest-", dir=folder) as place:
        outcomes = compete(entries, inputs, settings, folder=Path(place), say=_silent).outcomes
    limit = staged.recipe.reference.relative_error
    for one, outcome in zip(entrants, outcomes, strict=True):
        one.rounds_s = {turn.round: median(turn.seconds) for turn in outcome.turns}
        if reason := _fault(outcome, reference, limit):
            one.leave_out(SandboxError(f"in the contest {reason}"), say)


def _fault(outcome: Outcome, reference: Reference, limit: float) -> str | None:
    """What went wrong in a contestant's process, None if nothing did."""
    if outcome.reason is not None:
        return f"it failed: {outcome.reason}"
    # Once more: a library that is right at first may be wrong after a thousand runs.
    for outputs in outcome.outputs:
        comparison = compare(reference.outputs[0], outputs)
        if not comparison.within(limit):
            return f"its outputs had a relative error of {comparison.relative_error:.2e}"
    return None


def _ratio(mine: Seconds, others: Seconds) -> PairedRatio | None:
    """How many times as fast "mine" is, None without a common round."""
    shared = [number for number in mine if number in others]
    if not shared:
        return None
    return paired_ratio([mine[number] for number in shared], [others[number] for number in shared])


def _summary(
    shipped: Entrant, entrants: Sequence[Entrant], staged: Staged, skipped: str | None = None
) -> Contest:
    return Contest(
        shipped=shipped.name,
        skipped=skipped,
        threads=staged.target.cores,
        rounds=len(shipped.rounds_s),
        candidates=tuple(_entry(one, shipped) for one in entrants),
    )


def _entry(one: Entrant, shipped: Entrant) -> CandidateEntry:
    comparable = one is not shipped and one.failure is None
    rounds_ms = tuple(1e3 * seconds for seconds in one.rounds_s.values())
    return CandidateEntry(
        name=one.name,
        left_out=one.failure.message if one.failure is not None else None,
        relative_error=max(one.errors, default=None),
        median_ms=median(rounds_ms) if rounds_ms else None,
        rounds_ms=rounds_ms,
        ratio=_ratio_entry(shipped, one) if comparable else None,
    )


def _ratio_entry(shipped: Entrant, other: Entrant) -> RatioEntry | None:
    found = _ratio(shipped.rounds_s, other.rounds_s)
    if found is None:
        return None
    return RatioEntry(
        value=found.value,
        low=found.interval.low,
        high=found.interval.high,
        confidence=found.interval.confidence,
    )


def _silent(_: str) -> None:
    """The rounds go by too fast to be told."""
