"""The parts of an explanation: written once, shown on terminals and in Markdown alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunekit.attribution.results import Explanation, Operator, Runtime
from tunekit.report import numbers

_SORTED_BY = {
    "gain": "what reaching the peak would gain",
    "difference": "what the fastest other runtime does faster",
    "time": "time",
}
_NAMED_NODES = 4


@dataclass(frozen=True)
class Column:
    """A title with its unit, and one operator's cell; "" where the operator does not have it.

    Wide columns are left out where there is no room.
    """

    title: str
    cell: Callable[[Operator], str]
    wide: bool = False


def columns(explanation: Explanation) -> list[Column]:
    """What is shown of each operator besides what it computes."""
    others = [one.name for one in explanation.runtimes[1:] if one.end_to_end_s is not None]
    found = [
        Column("calls", lambda one: str(one.calls)),
        Column("ms", lambda one: _milliseconds(one.seconds)),
        Column("share", lambda one: f"{one.share:.1%}"),
        Column("GFLOP/s", _gflops, wide=True),
        Column("GB/s", lambda one: numbers.significant(one.bytes_per_s / 1e9), wide=True),
        Column("of peak", lambda one: "" if one.of_peak is None else f"{one.of_peak:.0%}"),
        Column("bound", lambda one: one.bound, wide=True),
        Column("gain ms", lambda one: "" if one.gain_s is None else _milliseconds(one.gain_s)),
        Column("trials", lambda one: str(one.trials)),
        Column("space", lambda one: one.space, wide=True),
    ]
    found += [Column(f"{name} ms", _other(name), wide=True) for name in others]
    if others:
        found.append(Column("diff ms", _difference))
    return found


def heading(explanation: Explanation) -> str:
    """What was measured, and where, in one line."""
    threads, rounds = explanation.threads, explanation.rounds
    return (
        f"{explanation.name} ({explanation.source}), {threads} thread{'s' if threads != 1 else ''},"
        f" {rounds} round{'s' if rounds != 1 else ''}, {explanation.cpu}"
    )


def machine(explanation: Explanation) -> str:
    """The machine's peaks in one line."""
    peaks = explanation.peaks
    if peaks is None:
        return "peaks of this machine: not measured"
    return (
        f"peaks of this machine: {numbers.significant(peaks.flops_per_s / 1e9)} GFLOP/s, "
        f"{numbers.significant(peaks.memory_bytes_per_s / 1e9)} GB/s of memory, "
        f"{numbers.significant(peaks.bytes_per_s / 1e9)} GB/s around the {peaks.streamed_mib} MiB "
        "or less that a run touches; a parallel loop takes "
        f"{numbers.significant(peaks.launch_s * 1e6)} us to start and end"
    )


def runtime_lines(explanation: Explanation) -> list[str]:
    """Of each runtime a line: end to end, the sum of its operators, and what the rest is."""
    return [_runtime_line(one) for one in explanation.runtimes]


def unmatched_lines(explanation: Explanation) -> list[str]:
    """What others do that has no counterpart here, a line for each runtime and kind."""
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in explanation.unmatched:
        which = (one.runtime, one.kind)
        seconds[which] += one.seconds
        names[which].append(f"{one.op} {one.work}".strip())
    lines = []
    for (runtime, kind), total in sorted(seconds.items(), key=lambda item: (item[0][0], -item[1])):
        nodes = _counted(names[runtime, kind])
        lines.append(f"only in {runtime}: {kind} {_milliseconds(total)} ms ({nodes})")
    return lines


def footnote(explanation: Explanation) -> str:
    """What the columns mean."""
    parts = [
        f"Sorted by {_SORTED_BY[explanation.sorted_by]}.",
        "ms: all calls of one run, medians, in the library as it runs.",
        "of peak: the larger of the shares of GFLOP/s and of the GB/s around what a run touches; "
        "over 100% the data was in a faster cache.",
        "gain: less time at that peak.",
    ]
    if any(one.others for one in explanation.operators):
        parts.append(
            "diff: more (or less) time than the fastest of the others for the same work; work of "
            "the same sizes is divided evenly among its calls; ~ only its kind is the same."
        )
    if any(part.seconds < 0 for one in explanation.runtimes for part in one.overheads):
        parts.append("A negative rest: the profiler's own cost and the host's noise.")
    return " ".join(parts)


def _runtime_line(one: Runtime) -> str:
    if one.end_to_end_s is None or one.operators_s is None:
        return f"{one.name}: {one.status}"
    overheads = "; ".join(f"{part.name} {_milliseconds(part.seconds)}" for part in one.overheads)
    return (
        f"{one.name}: {_milliseconds(one.end_to_end_s)} ms end to end = operators "
        f"{_milliseconds(one.operators_s)} + {overheads}"
    )


def _other(name: str) -> Callable[[Operator], str]:
    def cell(one: Operator) -> str:
        found = one.others.get(name)
        if found is None:
            return ""
        return ("~" if found.by == "kind" else "") + _milliseconds(found.seconds)

    return cell


def _difference(one: Operator) -> str:
    if one.difference_s is None:
        return ""
    fastest = min(one.others.values(), key=lambda found: found.seconds)
    mark = "~" if fastest.by == "kind" else ""
    sign = "+" if one.difference_s > 0 else ""
    return f"{mark}{sign}{_milliseconds(one.difference_s)}"


def _gflops(one: Operator) -> str:
    return "" if one.flops_per_s is None else numbers.significant(one.flops_per_s / 1e9)


def _milliseconds(seconds: float) -> str:
    """Milliseconds with three significant digits, to a tenth of a microsecond at most."""
    value = seconds * 1e3
    return f"{value:.4f}" if abs(value) < 0.01 else numbers.milliseconds(value)


def _counted(names: Sequence[str]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name] += 1
    parts = [f"{name} x{count}" if count > 1 else name for name, count in counts.items()]
    more = len(parts) - _NAMED_NODES
    return ", ".join(parts[:_NAMED_NODES]) + (f", {more} more" if more > 0 else "")
