"""Which candidate ships: the fastest of those that are right, end to end, by taking turns.

A kernel that was fastest only need not be fastest in the model: there its weights come from
memory, its neighbours use the caches, and its seconds were a sample. The model has the last word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.accuracy import compare
from tunekit.errors import CompileError, SandboxError
from tunekit.library.manifest import RatioEntry, Selection, VariantEntry
from tunekit.library.verify import verify
from tunekit.runtimes.process import RunnerFailed
from tunekit.timing.interleaved import interleave
from tunekit.timing.statistics import PairedRatio, median, paired_ratio

if TYPE_CHECKING:
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library.built_variant import BuiltVariant, Seconds
    from tunekit.library.verify import Reference

_ROUNDS = 100
# For all candidates together.
_TOTAL_S = 20.0
# Alone, to see which of them fails.
_ALONE_S = 2.0
_CONFIDENCE = 0.95

Say = Callable[[str], None]


def select(
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    reference: Reference,
    *,
    folder: Path,
    say: Say,
) -> tuple[BuiltVariant, Selection]:
    """Verifies the candidates, lets those that are right take turns, and says which one ships.

    Args:
        built_variants: the candidates; the first ships unless it is wrong or another one is faster.
        prepared: their model.
        reference: what it should give.
        folder: takes what the processes write.
        say: told what is done, a line at a time.

    Raises:
        VerificationFailed: none is right.
        SandboxError: none is right, and the first crashed or hung.
    """
    for built in built_variants:
        if built.failure is None:
            try:
                built.errors = verify(built.path, prepared, reference)
            except (CompileError, SandboxError) as error:
                built.leave_out(error, say)
    right = _right(built_variants)
    skipped = None
    if len(right) > 1:
        say(f"contest: {', '.join(one.name for one in right)} take turns")
        skipped = take_turns(right, prepared, reference, folder, say)
        right = _right(right)
    name = decide({one.name: one.rounds_s for one in right})
    shipped = next(one for one in right if one.name == name)
    contest = _summary(shipped, built_variants, prepared, skipped)
    say(verdict(contest))
    return shipped, contest


def only(
    built: BuiltVariant, prepared: PreparedModel, reference: Reference, reason: str
) -> tuple[BuiltVariant, Selection]:
    """Verifies the only candidate; `reason` says why there is no other.

    Raises:
        TunekitError: as for `verify`.
    """
    built.errors = verify(built.path, prepared, reference)
    return built, _summary(built, [built], prepared, skipped=reason)


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


def verdict(contest: Selection) -> str:
    """One line: which library ships, and how it compares with each other one."""
    if contest.skipped is not None:
        return (
            f"warning: the candidates could not be compared, {contest.skipped}; "
            f"{contest.shipped} ships"
        )
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


def _right(built_variants: Sequence[BuiltVariant]) -> list[BuiltVariant]:
    right = [one for one in built_variants if one.failure is None]
    if not right:
        raise next(one.failure for one in built_variants if one.failure is not None)
    return right


def take_turns(
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    reference: Reference,
    folder: Path,
    say: Say,
) -> str | None:
    """Lets the candidates run in turns, and notes the seconds of each; leaves out those that fail.

    Returns why they could not take turns, None if they could.
    """
    try:
        _race(built_variants, prepared, reference, folder, _TOTAL_S, say)
    except RunnerFailed as together:
        for one in built_variants:
            # They were in one process: which of them it was shows when each has its own.
            try:
                _race([one], prepared, reference, folder, _ALONE_S, say)
            except RunnerFailed as failure:
                one.leave_out(SandboxError(f"in the contest it failed: {failure.reason}"), say)
            one.rounds_s = {}
        left = [one for one in built_variants if one.failure is None]
        if len(left) == len(built_variants):
            return f"they fail where they take turns: {together.reason}"
        if len(left) > 1:
            return take_turns(left, prepared, reference, folder, say)
    return None


def _race(
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    reference: Reference,
    folder: Path,
    seconds: float,
    say: Say,
) -> None:
    with tempfile.TemporaryDirectory(prefix="contest-", dir=folder) as place:
        turns = interleave(
            [one.path for one in built_variants],
            {spec.name: reference.inputs[0][spec.name] for spec in prepared.source.inputs},
            device=prepared.target.device,
            threads=prepared.target.cores,
            seconds=seconds,
            rounds=_ROUNDS,
            folder=Path(place),
        )
    limit = prepared.recipe.reference.relative_error
    for one, rounds_s, outputs in zip(built_variants, turns.rounds_s, turns.outputs, strict=True):
        one.rounds_s = dict(enumerate(rounds_s))
        # Once more: a library that is right at first may be wrong after a thousand runs.
        comparison = compare(reference.outputs[0], outputs)
        if not comparison.within(limit):
            error = f"its outputs had a relative error of {comparison.relative_error:.2e}"
            one.leave_out(SandboxError(f"in the contest {error}"), say)


def _ratio(mine: Seconds, others: Seconds) -> PairedRatio | None:
    """How many times as fast "mine" is, None without a common round."""
    shared = [number for number in mine if number in others]
    if not shared:
        return None
    return paired_ratio([mine[number] for number in shared], [others[number] for number in shared])


def _summary(
    shipped: BuiltVariant,
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    skipped: str | None = None,
) -> Selection:
    return Selection(
        shipped=shipped.name,
        skipped=skipped,
        threads=prepared.target.cores,
        rounds=len(shipped.rounds_s),
        candidates=tuple(_entry(one, shipped) for one in built_variants),
    )


def _entry(one: BuiltVariant, shipped: BuiltVariant) -> VariantEntry:
    comparable = one is not shipped and one.failure is None
    rounds_ms = tuple(1e3 * seconds for seconds in one.rounds_s.values())
    return VariantEntry(
        name=one.name,
        left_out=one.failure.message if one.failure is not None else None,
        relative_error=max(one.errors, default=None),
        median_ms=median(rounds_ms) if rounds_ms else None,
        rounds_ms=rounds_ms,
        ratio=_ratio_entry(shipped, one) if comparable else None,
    )


def _ratio_entry(shipped: BuiltVariant, other: BuiltVariant) -> RatioEntry | None:
    found = _ratio(shipped.rounds_s, other.rounds_s)
    if found is None:
        return None
    return RatioEntry(
        value=found.value,
        low=found.interval.low,
        high=found.interval.high,
        confidence=found.interval.confidence,
    )
