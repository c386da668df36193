"""Which variant ships: the fastest of those that are right, end to end, by taking turns.

A kernel that was fastest only need not be fastest in the model: there its weights come from
memory, its neighbours use the caches, and its seconds were a sample. The model has the last word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import CompileError, SandboxError
from tunekit.library.manifest import RatioEntry, Selection, VariantEntry
from tunekit.library.program import STANDALONE_VARIANT
from tunekit.library.verify import verify, why_not_verified
from tunekit.runtimes.process import RunnerFailed
from tunekit.timing.interleaved import interleave
from tunekit.timing.statistics import median, ratio_over_common_rounds
from tunekit.wording import Say

if TYPE_CHECKING:
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library.built_variant import BuiltVariant, Seconds
    from tunekit.library.verify import ReferenceOutputs

_ROUNDS = 100
# For all variants together.
_TOTAL_S = 20.0
# Alone, to see which of them fails.
_ALONE_S = 2.0
_CONFIDENCE = 0.95


def select(
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    reference: ReferenceOutputs,
    *,
    folder: Path,
    say: Say,
) -> tuple[BuiltVariant, Selection]:
    """Verifies the variants, lets those that are right take turns, and says which one ships.

    Those that can be standalone libraries run as such, without waiting for TVM; of the one that
    ships the library for TVM's virtual machine is verified as well.

    Args:
        built_variants: the variants; the first ships unless it is wrong or another one is faster.
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
                path, name = built.quickest
                built.verified = verify(path, prepared, reference, name)
            except (CompileError, SandboxError) as error:
                built.leave_out(error, say)
    right = _right(built_variants)
    skipped = None
    if len(right) > 1:
        say(f"selection: {', '.join(built.name for built in right)} take turns")
        skipped = take_turns(right, prepared, reference, folder, say)
    shipped = _shipped(built_variants, prepared, reference, say)
    selection = _summary(shipped, built_variants, prepared, skipped)
    say(verdict(selection))
    return shipped, selection


def only(
    built: BuiltVariant,
    prepared: PreparedModel,
    reference: ReferenceOutputs,
    reason: str,
    *,
    left_out: Sequence[BuiltVariant] = (),
) -> tuple[BuiltVariant, Selection]:
    """Verifies the only variant, where that can be.

    Args:
        built: the variant.
        prepared: its model.
        reference: what it should give.
        reason: why it is not compared with others.
        left_out: those that were wrong.

    Raises:
        TunekitError: as for `verify`.
    """
    if why_not_verified(prepared) is None:
        built.verified = verify(built.path, prepared, reference)
    return built, _summary(built, [*left_out, built], prepared, skipped=reason)


def decide(rounds_s: Mapping[str, Seconds]) -> str:
    """The name of the one that ships: the first, unless another is faster beyond doubt.

    That is: the whole interval of its ratio to the first is above 1. Of several such it is the one
    with the largest ratio.
    """
    first, *others = rounds_s
    best, largest = first, 1.0
    for name in others:
        ratio = ratio_over_common_rounds(rounds_s[name], rounds_s[first])
        if ratio is None or ratio.interval.confidence < _CONFIDENCE or ratio.interval.low <= 1.0:
            continue
        if ratio.value > largest:
            best, largest = name, ratio.value
    return best


def verdict(selection: Selection) -> str:
    """One line: which library ships, and how it compares with each other one."""
    if selection.skipped is not None:
        return (
            f"warning: the variants could not be compared, {selection.skipped}; "
            f"{selection.shipped} ships"
        )
    compared = [
        (f"{entry.ratio.value:.2f}x ({entry.ratio.low:.2f} to {entry.ratio.high:.2f})", entry.name)
        for entry in selection.variants
        if entry.ratio is not None
    ]
    if not compared:
        count = len(selection.variants)
        return f"warning: of {count} variants only {selection.shipped} is right; it ships"
    (ratio, name), *others = compared
    text = ", ".join(
        [f"{ratio} as fast as {name}", *(f"{ratio} as {name}" for ratio, name in others)]
    )
    return f"the {selection.shipped} library is {text}; it ships"


def _right(built_variants: Sequence[BuiltVariant]) -> list[BuiltVariant]:
    right = [built for built in built_variants if built.failure is None]
    if not right:
        raise next(built.failure for built in built_variants if built.failure is not None)
    return right


def _shipped(
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    reference: ReferenceOutputs,
    say: Say,
) -> BuiltVariant:
    """The one that ships, with what it gives in TVM's virtual machine."""
    while True:
        right = {built.name: built for built in _right(built_variants)}
        shipped = right[decide({name: built.rounds_s for name, built in right.items()})]
        if shipped.standalone is None:
            return shipped
        try:
            shipped.verified = verify(shipped.path, prepared, reference)
        except (CompileError, SandboxError) as error:
            shipped.leave_out(error, say)
        else:
            return shipped


def take_turns(
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    reference: ReferenceOutputs,
    folder: Path,
    say: Say,
) -> str | None:
    """Lets the variants run in turns, and notes the seconds of each; leaves out those that fail.

    Returns why they could not take turns, None if they could.
    """
    try:
        _take_turns(built_variants, prepared, reference, folder, _TOTAL_S, say)
    except RunnerFailed as together:
        for built in built_variants:
            # They were in one process: which of them it was shows when each has its own.
            try:
                _take_turns([built], prepared, reference, folder, _ALONE_S, say)
            except RunnerFailed as failure:
                built.leave_out(SandboxError(f"in the selection it failed: {failure.reason}"), say)
            built.rounds_s = {}
        left = [built for built in built_variants if built.failure is None]
        if len(left) == len(built_variants):
            return f"they fail where they take turns: {together.reason}"
        if len(left) > 1:
            return take_turns(left, prepared, reference, folder, say)
    return None


def _take_turns(
    built_variants: Sequence[BuiltVariant],
    prepared: PreparedModel,
    reference: ReferenceOutputs,
    folder: Path,
    seconds: float,
    say: Say,
) -> None:
    standalones = [built.standalone for built in built_variants if built.standalone is not None]
    own = len(standalones) == len(built_variants)
    with tempfile.TemporaryDirectory(prefix="selection-", dir=folder) as exchange:
        turns = interleave(
            standalones if own else [built.path for built in built_variants],
            {spec.name: reference.inputs[0][spec.name] for spec in prepared.source.inputs},
            device=prepared.target.device,
            threads=prepared.target.cores,
            seconds=seconds,
            rounds=_ROUNDS,
            folder=Path(exchange),
            standalone=STANDALONE_VARIANT if own else None,
        )
    limit = prepared.recipe.reference.relative_error
    for built, rounds_s, outputs in zip(built_variants, turns.rounds_s, turns.outputs, strict=True):
        built.rounds_s = dict(enumerate(rounds_s))
        # Once more: a library that is right at first may be wrong after a thousand runs.
        comparison = prepared.source.compare(reference.outputs[0], outputs)
        if not comparison.within(max(limit, prepared.source.rounding_step(reference.outputs[0]))):
            error = (
                f"its outputs had a relative error of {comparison.relative_error:.2e}"
                if comparison.reason is None
                else f"its outputs were wrong: {comparison.reason}"
            )
            built.leave_out(SandboxError(f"in the selection {error}"), say)


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
        variants=tuple(_entry(built, shipped) for built in built_variants),
    )


def _entry(built: BuiltVariant, shipped: BuiltVariant) -> VariantEntry:
    comparable = built is not shipped and built.failure is None
    rounds_ms = tuple(1e3 * seconds for seconds in built.rounds_s.values())
    return VariantEntry(
        name=built.name,
        left_out=built.failure.message if built.failure is not None else None,
        relative_error=max(built.errors, default=None),
        median_ms=median(rounds_ms) if rounds_ms else None,
        rounds_ms=rounds_ms,
        ratio=_ratio_entry(shipped, built) if comparable else None,
    )


def _ratio_entry(shipped: BuiltVariant, other: BuiltVariant) -> RatioEntry | None:
    ratio = ratio_over_common_rounds(shipped.rounds_s, other.rounds_s)
    if ratio is None:
        return None
    return RatioEntry(
        value=ratio.value,
        low=ratio.interval.low,
        high=ratio.interval.high,
        confidence=ratio.interval.confidence,
    )
