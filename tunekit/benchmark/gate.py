"""Whether a benchmark passes: what a build that depends on a library's speed may ask.

Seconds of two machines, or of two days, do not compare. How many times as fast as another runtime
the library is does: both had their turns in the same run. So that is compared, with its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunekit.benchmark.registry import default_runtimes, find_runtime
from tunekit.errors import UsageError
from tunekit.timing.statistics import LEAST_ROUNDS, PairedRatio, ratio_over_common_rounds
from tunekit.wording import counted

if TYPE_CHECKING:
    from tunekit.benchmark.results import Report, RuntimeResult
    from tunekit.recipe import Recipe

SUBJECT = "tuned"
"""The runtime that is judged."""

AGAIN = "tuned-again"
"""The same once more."""
# How far a contestant may be from itself, and how wide that may be known.
_LEVEL = 0.02
_WIDEST = 0.05
# Of an interval on which an answer rests.
_CONFIDENCE = 0.95

Answer = Literal["passed", "failed", "cannot tell"]


@dataclass(frozen=True)
class Demands:
    """What is asked of a benchmark; None of what is not asked.

    Attributes:
        baseline: an earlier benchmark of the same model.
        max_slowdown: against the baseline, 0.03 for three percent.
        reference: the runtime against which both are measured; the fastest that ran in both if left
            out.
        min_accuracy: one less the relative error of the outputs, at least.
        min_coverage: share of the estimated latency that has a record, at least.
        faster_than: names of runtimes.
    """

    baseline: Report | None = None
    max_slowdown: float = 0.03
    reference: str | None = None
    min_accuracy: float | None = None
    min_coverage: float | None = None
    faster_than: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """An answer to one demand, and what it rests on."""

    answer: Answer
    text: str


def require_one_race(recipe: Recipe) -> None:
    """Refuses a recipe of which each size has a race of its own, before anything is measured.

    Raises:
        UsageError: it has several sizes; says how to choose one.
    """
    from tunekit.models import require_one_size

    require_one_size(recipe.model)


def contestants(recipe: Recipe, names: Sequence[str] | None, demands: Demands) -> list[str]:
    """Who takes part: those that were asked for, and those that the demands speak of."""
    asked = names or default_runtimes(recipe)
    named = () if demands.reference is None else (demands.reference,)
    return list(dict.fromkeys([*asked, SUBJECT, *named, *demands.faster_than]))


def require_comparable(recipe: Recipe, names: Sequence[str], demands: Demands) -> None:
    """Refuses a baseline with which a race of these runtimes cannot be compared, before it begins.

    Raises:
        UsageError: it is of another model, or has no times of a runtime that takes part.
    """
    baseline = demands.baseline
    if baseline is None:
        return
    from tunekit.cache import ContentCache
    from tunekit.models import load_source

    _require_one_model(load_source(recipe.model, cache=ContentCache()).digest, baseline)
    reference = demands.reference
    if reference is not None:
        _require_ratio(baseline, reference)
    elif not any(row.name in names for row in _others(baseline)):
        raise _no_common_runtime()


def judge(report: Report, demands: Demands) -> list[Finding]:
    """The answers to all demands, in order.

    A difference counts only where its whole interval is beyond the limit.

    Raises:
        UsageError: the baseline is of another model, or has nothing to compare with.
    """
    findings = []
    if demands.baseline is not None:
        findings.append(_against_baseline(report, demands.baseline, demands))
    findings += [_faster(report, name) for name in demands.faster_than]
    if demands.min_accuracy is not None:
        findings.append(_accuracy(report, demands.min_accuracy))
    if demands.min_coverage is not None:
        findings.append(_coverage(report, demands.min_coverage))
    return findings


def steadiness(report: Report) -> Finding:
    """What a difference means on this machine, from one contestant that ran as two.

    Passed where the two are level, and the interval of their ratio is narrow.
    """
    ratio = _ratio(report, AGAIN)
    if ratio is None:
        return Finding("failed", f"{SUBJECT} did not run to its end")
    low, high = ratio.interval.low, ratio.interval.high
    text = f"the same library against itself: {ratio.value:.3f} ({low:.3f} to {high:.3f})"
    if not _is_sure(ratio):
        return Finding("cannot tell", f"{text}; {_MORE_ROUNDS}")
    smallest = max(high - 1.0, 1.0 - low, 0.0)
    if abs(ratio.value - 1.0) > _LEVEL or smallest > _WIDEST:
        return Finding("failed", f"{text}; unstable: differences of a few percent mean nothing now")
    return Finding("passed", f"{text}; differences from {100 * smallest:.1f}% on can be seen")


def _against_baseline(report: Report, baseline: Report, demands: Demands) -> Finding:
    _require_one_model(report.model.digest, baseline)
    reference = demands.reference or _common_reference(report, baseline)
    before = _require_ratio(baseline, reference)
    now = _ratio(report, reference)
    if now is None:
        return Finding("cannot tell", _why_none(report, reference))
    # The interval of the quotient, from the least favourable ends of both.
    low = before.interval.low / now.interval.high
    high = before.interval.high / now.interval.low
    limit = 1.0 + demands.max_slowdown
    text = (
        f"against {reference} {now.value:.2f}x as fast, {before.value:.2f}x in the baseline: "
        f"{_change(before.value / now.value)} ({_change(low)} to {_change(high)}), allowed "
        f"{_change(limit)}{_other_version(report, baseline, reference)}"
    )
    here, there = report.protocol.threads, baseline.protocol.threads
    if here != there:
        more = f"on {counted(here, 'thread')} here, on {there} in the baseline (--threads {there})"
        return Finding("cannot tell", f"{text}; {more}")
    if not (_is_sure(now) and _is_sure(before)):
        return Finding("cannot tell", f"{text}; {_MORE_ROUNDS}")
    return Finding(_answer(low, high, limit), text)


_MORE_ROUNDS = f"an answer needs --rounds {LEAST_ROUNDS} or more"


def _is_sure(ratio: PairedRatio) -> bool:
    """Whether the rounds were enough for an interval on which an answer can rest."""
    return ratio.interval.confidence >= _CONFIDENCE


def _other_version(report: Report, baseline: Report, reference: str) -> str:
    """What to know of a reference that is not the one that the baseline was measured against."""
    packages = find_runtime(reference).needs.values()
    here, there = report.environment.versions, baseline.environment.versions
    changed = [
        f"{name} is {here[name]} here, {there[name]} in the baseline"
        for name in packages
        if name in here and name in there and here[name] != there[name]
    ]
    return "".join(f"; {text}" for text in changed)


def _require_one_model(digest: str, baseline: Report) -> None:
    if baseline.model.digest != digest:
        raise UsageError(
            f"the baseline is of another model: {baseline.model.name} ({baseline.model.source})",
            hint="give a file that `tunekit bench -o` wrote for this recipe and these weights",
        )


def _require_ratio(baseline: Report, reference: str) -> PairedRatio:
    ratio = _ratio(baseline, reference)
    if ratio is None:
        raise UsageError(
            f"the baseline has no times of both {SUBJECT} and {reference}",
            hint="--reference names a runtime that ran in both",
        )
    return ratio


def _why_none(report: Report, name: str) -> str:
    """Why the two cannot be compared: what became of the one that has no times, or wrong ones."""
    for wanted in (SUBJECT, name):
        row = _row(report, wanted)
        if row is None:
            return f"{wanted} took no part"
        if row.status != "ok":
            return f"{wanted} is no measure: {row.reason or row.status}"
    return f"{SUBJECT} and {name} have no round in common"


def _answer(low: float, high: float, limit: float) -> Answer:
    """Whether what is between `low` and `high` is at most the limit."""
    if low > limit:
        return "failed"
    return "passed" if high <= limit else "cannot tell"


def _change(factor: float) -> str:
    percent = 100.0 * (factor - 1.0)
    return f"{abs(percent):.1f}% {'slower' if percent >= 0 else 'faster'}"


def _faster(report: Report, name: str) -> Finding:
    ratio = _ratio(report, name)
    if ratio is None:
        subject = _row(report, SUBJECT)
        is_right = subject is not None and subject.status == "ok"
        # What another runtime does wrong says nothing of the library.
        answer: Answer = "cannot tell" if is_right else "failed"
        return Finding(answer, f"faster than {name} or not: {_why_none(report, name)}")
    low, high = ratio.interval.low, ratio.interval.high
    text = f"{ratio.value:.2f}x as fast as {name} ({low:.2f} to {high:.2f}), wanted: faster"
    if not _is_sure(ratio):
        return Finding("cannot tell", f"{text}; {_MORE_ROUNDS}")
    if high < 1.0:
        return Finding("failed", text)
    return Finding("passed" if low > 1.0 else "cannot tell", text)


def _accuracy(report: Report, least: float) -> Finding:
    row = _row(report, SUBJECT)
    if row is None or row.accuracy is None:
        return Finding("failed", f"{SUBJECT} gave no outputs")
    accuracy = 1.0 - row.accuracy.relative_error
    text = f"accuracy {accuracy:.8g} (relative error {row.accuracy.relative_error:.1e}), wanted "
    # NaN is no accuracy.
    return Finding("passed" if accuracy >= least else "failed", f"{text}{least:.8g}")


def _coverage(report: Report, least: float) -> Finding:
    row = _row(report, SUBJECT)
    coverage = None if row is None else row.settings.get("coverage")
    if coverage is None:
        return Finding("failed", f"the coverage of {SUBJECT} is not known")
    answer: Answer = "passed" if coverage >= least else "failed"
    return Finding(answer, f"coverage {coverage:.1%}, wanted {least:.1%}")


def _common_reference(report: Report, baseline: Report) -> str:
    """The runtime with the smallest median that ran to its end in both, and is none of tunekit's
    own."""
    known = {row.name for row in _others(baseline)}
    others = [row for row in _others(report) if row.name in known]
    if not others:
        raise _no_common_runtime()
    return min(others, key=lambda row: row.latency.median_ms if row.latency else 0.0).name


def _others(report: Report) -> list[RuntimeResult]:
    """The rows of runtimes that ran to their end, and are none of tunekit's own."""
    return [
        row
        for row in report.runtimes
        if row.status == "ok"
        and row.latency is not None
        and row.rounds
        and not row.name.startswith((SUBJECT, "default", "unscheduled"))
    ]


def _no_common_runtime() -> UsageError:
    return UsageError(
        "no other runtime ran to its end here and in the baseline",
        hint="add one to --runtimes, such as onnxruntime, and write the baseline with it",
    )


def _row(report: Report, name: str) -> RuntimeResult | None:
    if ":" in name:
        name = find_runtime(name).name
    return next((row for row in report.runtimes if row.name == name), None)


def _ratio(report: Report, name: str) -> PairedRatio | None:
    """How many times as fast as another runtime the subject is, over their common rounds."""
    subject, other = _row(report, SUBJECT), _row(report, name)
    if subject is None or other is None or {subject.status, other.status} != {"ok"}:
        return None
    return ratio_over_common_rounds(subject.round_medians_s, other.round_medians_s)
