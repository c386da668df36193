"""From outcomes to rows: who is right, who is faster than whom, and whether to believe it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tunekit.benchmark.results import (
    Accuracy,
    AtOnce,
    Latency,
    Ratio,
    Round,
    RuntimeResult,
    Status,
)
from tunekit.runtimes.nvml import BY_GROWTH
from tunekit.runtimes.process import LONGER
from tunekit.timing.statistics import median, quantile, ratio_over_common_rounds, relative_spread
from tunekit.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tunekit.accuracy import Comparison
    from tunekit.timing.host_load import Noise
    from tunekit.timing.rounds import Outcome

    Array = NDArray[np.generic]

_NOISY_SHARE = 0.05
_NOISY_SPREAD = 0.10
_ROUNDS_FOR_95_PERCENT = 6
_FULL_COVERAGE = 0.99


def row(
    outcome: Outcome,
    reference: Sequence[Array],
    tolerance: float,
    compare: Callable[[Sequence[Array], Sequence[Array]], Comparison],
    at_once: AtOnce | None = None,
) -> RuntimeResult:
    """The row of one outcome, without its ratio, which needs the others.

    Args:
        outcome: what became of a runtime.
        reference: the model's own outputs.
        tolerance: the relative error to be allowed.
        compare: how far outputs are from the reference's.
        at_once: what several of its processes did at once.
    """
    # The worst of the outputs before and after the rounds.
    compared = [compare(reference, outputs) for outputs in outcome.outputs]
    worst = max(compared, key=lambda result: result.relative_error, default=None)
    status: Status = "ok"
    reason = outcome.reason
    if reason is not None:
        status = "failed"
        reason += f"; {LONGER}" if outcome.hung else ""
    elif worst is None or not worst.within(tolerance):
        status = "wrong"
        reason = f"wrong outputs: {_fault(worst, tolerance)}"
    samples = [seconds for turn in outcome.turns for seconds in turn.seconds]
    latency = summarise(samples) if samples else None
    return RuntimeResult(
        name=outcome.name,
        status=status,
        reason=reason,
        detail=outcome.detail or None,
        latency=latency,
        fps=1e3 / latency.median_ms if latency else None,
        accuracy=Accuracy(
            detections=worst.detections,
            mse=worst.mse,
            max_abs_error=worst.max_abs_error,
            relative_error=worst.relative_error,
            within=worst.within(tolerance),
        )
        if worst
        else None,
        peak_rss_bytes=outcome.peak_rss_bytes or None,
        rss_bytes=outcome.rss_bytes or None,
        import_s=outcome.import_s,
        load_s=outcome.load_s,
        first_run_s=outcome.first_run_s,
        cpu_ms=_cpu_ms(outcome),
        busy_cores=_busy_cores(outcome),
        instructions=_instructions(outcome),
        idle_cpu_s=outcome.idle_cpu_s,
        at_once=at_once,
        settings=outcome.settings,
        rounds=[Round(**vars(turn)) for turn in outcome.turns],
    )


def _cpu_ms(outcome: Outcome) -> float | None:
    """CPU milliseconds of a run, the median over the turns."""
    turns = [1e3 * turn.cpu_s / len(turn.seconds) for turn in outcome.turns]
    return median(turns) if turns else None


def _busy_cores(outcome: Outcome) -> float | None:
    wall_s = sum(turn.wall_s for turn in outcome.turns)
    return sum(turn.cpu_s for turn in outcome.turns) / wall_s if wall_s else None


def _instructions(outcome: Outcome) -> float | None:
    known = [turn.instructions for turn in outcome.turns if turn.instructions is not None]
    return median(known) if known else None


def _fault(worst: Comparison | None, tolerance: float) -> str:
    if worst is None:
        return "it gave none"
    if worst.reason is not None:
        return worst.reason
    return f"relative error {worst.relative_error:.2g}, and {tolerance:.2g} is allowed"


def summarise(samples_s: Sequence[float]) -> Latency:
    """Best, median, p10 and p90 of some seconds, in milliseconds."""
    milliseconds = [sample * 1e3 for sample in samples_s]
    return Latency(
        best_ms=min(milliseconds),
        median_ms=median(milliseconds),
        p10_ms=quantile(milliseconds, 0.1),
        p90_ms=quantile(milliseconds, 0.9),
        samples=len(milliseconds),
    )


def with_ratios(rows: Sequence[RuntimeResult], *, aside: frozenset[str]) -> list[RuntimeResult]:
    """The rows, each with its ratio to the best other runtime.

    "Best" is the smallest median among those that ran to their end with right outputs; only such
    a row has a ratio itself. Those `aside` are nobody's measure.
    """
    right = [row for row in rows if row.status == "ok"]
    measures = [row for row in right if row.name not in aside]
    return [
        row.model_copy(
            update={"ratio": _ratio(row, [other for other in measures if other.name != row.name])}
        )
        if row in right
        else row
        for row in rows
    ]


def _ratio(mine: RuntimeResult, others: Iterable[RuntimeResult]) -> Ratio | None:
    timed = [other for other in others if other.latency]
    if not timed or not mine.rounds:
        return None
    best = min(timed, key=lambda other: other.latency.median_ms if other.latency else 0.0)
    paired = ratio_over_common_rounds(mine.round_medians_s, best.round_medians_s)
    if paired is None:
        return None
    return Ratio(
        against=best.name,
        value=paired.value,
        low=paired.interval.low,
        high=paired.interval.high,
        confidence=paired.interval.confidence,
        rounds=paired.rounds,
    )


def verdict(rows: Sequence[RuntimeResult]) -> str:
    """One sentence: how the tuned library (or the fastest) compares with the best other runtime."""
    tuned = next((row for row in rows if row.name == "tuned"), None)
    if tuned is not None:
        if tuned.status != "ok":
            return f"tuned {'gave ' if tuned.status == 'wrong' else ''}{_why(tuned)}"
        if tuned.ratio is None:
            return "tuned ran, and there is no other runtime to compare it with"
        return _sentence("tuned", tuned.ratio)
    ranked = sorted(
        (row for row in rows if row.status == "ok" and row.latency),
        key=lambda row: row.latency.median_ms if row.latency else 0.0,
    )
    if not ranked:
        return "no runtime could be measured"
    if ranked[0].ratio is None:
        return f"{ranked[0].name} ran, and there is no other runtime to compare it with"
    return _sentence(ranked[0].name, ranked[0].ratio)


def _why(result: RuntimeResult) -> str:
    reason = result.reason or "no reason known"
    return reason if result.status == "wrong" else f"{result.status}: {reason}"


def _sentence(name: str, ratio: Ratio) -> str:
    other = f"the best other runtime ({ratio.against})"
    if ratio.rounds == 1:
        certainty = "one round, so no interval"
    else:
        certainty = (
            f"{ratio.confidence:.0%} interval {ratio.low:.2f} to {ratio.high:.2f}x, "
            f"{ratio.rounds} rounds"
        )
    if ratio.rounds > 1 and ratio.low <= 1.0 <= ratio.high:
        return f"{name} and {other} cannot be told apart: {ratio.value:.2f}x as fast ({certainty})"
    if ratio.value > 1.0:
        return f"{name} is {ratio.value:.2f}x as fast as {other}; {certainty}"
    return (
        f"{name} is slower than {other}: {ratio.value:.2f}x as fast, "
        f"{1 / ratio.value:.2f}x the time; {certainty}"
    )


def warnings(rows: Sequence[RuntimeResult], noise: Noise, *, threads: int, cores: int) -> list[str]:
    """What a reader should know before believing the numbers; empty when all was quiet."""
    notes = []
    if threads > cores:
        notes.append(f"{threads} threads on {cores} usable cores: they wait for each other")
    rounds = max((len(row.rounds) for row in rows), default=0)
    if 0 < rounds < _ROUNDS_FOR_95_PERCENT:
        notes.append(f"{counted(rounds, 'round')}: a 95 % interval needs {_ROUNDS_FOR_95_PERCENT}")
    if noise.steal_share is not None and noise.steal_share > _NOISY_SHARE:
        notes.append(
            f"the hypervisor gave {noise.steal_share:.0%} of the CPU time to other machines"
        )
    if noise.others_share is not None and noise.others_share > _NOISY_SHARE:
        notes.append(f"other processes used {noise.others_share:.0%} of the CPU time")
    for row in rows:
        notes.extend(_about(row, cores))
    notes.extend(_about_gpus(rows))
    return notes


def _about_gpus(rows: Sequence[RuntimeResult]) -> Iterable[str]:
    """Once for all rows: what holds for one of them holds for all on this machine."""
    problems = [row.settings.get("gpu_problem") for row in rows]
    for problem in dict.fromkeys(filter(None, problems)):
        yield f"GPU memory and utilisation are not all known: {problem}"
    grown = [row.name for row in rows if row.settings.get("gpu_mib_by") == BY_GROWTH]
    if grown:
        yield (
            f"GPU memory of {', '.join(grown)} (~) is what more was in use on the whole GPU after "
            "warming up than before loading: NVML does not name the process, as in containers"
        )


def _about(result: RuntimeResult, cores: int) -> Iterable[str]:
    if reason := result.settings.get("virtual_machine"):
        yield f"{result.name} runs in TVM's virtual machine, not as a standalone library: {reason}"
    coverage = result.settings.get("coverage")
    if result.settings.get("candidate") == "default":
        yield (
            f"{result.name} has default schedules: they were faster end to end than the records, "
            "or the only ones that were right"
        )
    elif coverage is not None and coverage < _FULL_COVERAGE:
        yield (
            f"records cover {coverage:.0%} of {result.name}'s estimated latency; the rest has "
            "default schedules: tune it longer"
        )
    if left := result.settings.get("undelegated"):
        names = ", ".join(f"{count} x {name}" for name, count in left.items())
        yield (
            f"{counted(sum(left.values()), 'operator')} of {result.name} run in portable kernels, "
            f"which are slow: {names}"
        )
    if result.at_once is not None and result.at_once.reason:
        yield f"several processes of {result.name} at once failed: {result.at_once.reason}"
    if any(not turn.at_rest for turn in result.rounds):
        yield f"{result.name} kept its threads spinning after its turn"
    taken = sum(turn.waiting_cpu_s for turn in result.rounds)
    wall = sum(turn.wall_s for turn in result.rounds)
    if wall and taken > _NOISY_SHARE * wall * cores:
        share = taken / wall / cores
        yield f"waiting runtimes used {share:.0%} of the CPU in {result.name}'s turns"
    medians = list(result.round_medians_s.values())
    if len(medians) >= 4 and relative_spread(medians) > _NOISY_SPREAD:
        yield f"{result.name} strays by {relative_spread(medians):.0%} from round to round"
