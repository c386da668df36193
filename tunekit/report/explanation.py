"""An explanation: on a terminal of any width, in Markdown, and its operators for spreadsheets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunekit.attribution.results import Explanation, Operator, RuntimeEntry
from tunekit.report import numbers
from tunekit.report.output import Result
from tunekit.report.stages import stage_columns, stage_rows, stage_style
from tunekit.report.table import (
    Column,
    as_csv,
    escaped,
    fields,
    markdown,
    number,
    terminal,
    wrapped,
)
from tunekit.report.trace import trace_text
from tunekit.wording import counted

if TYPE_CHECKING:
    from rich.text import Text

_SORTED_BY = {
    "gain": "what reaching the peak would gain",
    "difference": "what the fastest other runtime does faster",
    "time": "time",
}
_NAMED_NODES = 4


# What a spreadsheet has of each operator, by the names of the JSON form.
_KEYS = (
    "name",
    "work",
    "kind",
    "calls",
    "seconds",
    "best_s",
    "share",
    "flops",
    "bytes",
    "of_peak",
    "bound",
    "gain_s",
    "trials",
    "space",
    "difference_s",
)


def explanation_result(explanation: Explanation) -> Result:
    """The explanation in every form."""
    operators = [operator.model_dump() for operator in explanation.operators]
    return Result(
        table=lambda width: explanation_text(explanation, width),
        json=explanation.to_json,
        trace=lambda: trace_text(explanation),
        csv=lambda: as_csv(fields(_KEYS), operators),
        md=lambda: explanation_markdown(explanation),
    )


def explanation_text(explanation: Explanation, width: int) -> Text:
    """The explanation as styled text of at most `width` columns."""
    from rich.text import Text

    def lines(texts: Sequence[str]) -> str:
        return "".join(wrapped(text, width) + "\n" for text in texts)

    unmatched = lines(_unmatched_lines(explanation))
    remarks = lines([f"note: {remark}" for remark in explanation.remarks])
    text = Text.assemble(
        (lines([_heading(explanation)]), "bold"),
        lines([_machine(explanation)]) + "\n",
        lines(_runtime_lines(explanation)) + "\n",
        _stage_table(explanation, width),
        terminal(explanation_columns(explanation), explanation.operators, width),
        "\n\n" + (unmatched and unmatched + "\n"),
        (lines([_footnote(explanation)]), "dim"),
        (remarks, "yellow"),
    )
    text.rstrip()
    return text


def explanation_markdown(explanation: Explanation) -> str:
    """The explanation as Markdown with every column; ends with a newline."""

    def items(texts: Sequence[str]) -> str:
        return "".join(f"- {escaped(text)}\n" for text in texts)

    parts = [
        f"### {escaped(_heading(explanation))}\n",
        f"{escaped(_machine(explanation))}\n",
        items(_runtime_lines(explanation)),
        _stage_markdown(explanation),
        markdown(explanation_columns(explanation), explanation.operators),
        items(_unmatched_lines(explanation)),
        f"{escaped(_footnote(explanation))}\n{items(explanation.remarks)}",
    ]
    return "\n".join(part for part in parts if part)


def explanation_columns(explanation: Explanation) -> list[Column[Operator]]:
    """What is shown of each operator; other runtimes' times have a column each."""
    others = [
        runtime.name for runtime in explanation.runtimes[1:] if runtime.end_to_end_s is not None
    ]
    return [
        Column("operator", lambda operator: operator.work, elide=True),
        number("calls", lambda operator: operator.calls),
        number("ms", lambda operator: _milliseconds(operator.seconds)),
        number("share", lambda operator: f"{operator.share:.1%}"),
        number("GFLOP/s", _gflops, priority=2),
        number("GB/s", _gigabytes, priority=4),
        number("of peak", lambda operator: _percent(operator.of_peak)),
        Column("bound", lambda operator: operator.bound, priority=5),
        number("gain ms", lambda operator: _optional_milliseconds(operator.gain_s)),
        number("trials", lambda operator: operator.trials),
        Column("space", lambda operator: operator.space, priority=3),
        *(number(f"{name} ms", _other(name), priority=1) for name in others),
        *([number("diff ms", _difference)] if others else []),
    ]


def _stage_table(explanation: Explanation, width: int) -> Text:
    """The stages of a detector, and an empty line; nothing of what has none."""
    from rich.text import Text

    if not explanation.stages:
        return Text()
    rows = stage_rows(explanation)
    return Text.assemble(
        terminal(stage_columns(explanation), rows, width, style=stage_style), "\n\n"
    )


def _stage_markdown(explanation: Explanation) -> str:
    if not explanation.stages:
        return ""
    return markdown(stage_columns(explanation), stage_rows(explanation), stage_style)


def _heading(explanation: Explanation) -> str:
    """What was measured, and where, in one line."""
    return (
        f"{explanation.name} ({explanation.source}), {counted(explanation.threads, 'thread')}, "
        f"{counted(explanation.rounds, 'round')}, {explanation.cpu}"
    )


def _machine(explanation: Explanation) -> str:
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


def _runtime_lines(explanation: Explanation) -> list[str]:
    """Of each runtime a line: end to end, the sum of its operators, and what the rest is."""
    return [_runtime_line(runtime) for runtime in explanation.runtimes]


def _unmatched_lines(explanation: Explanation) -> list[str]:
    """What others do that has no counterpart here, a line for each runtime and kind."""
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in explanation.unmatched:
        which = (node.runtime, node.kind)
        seconds[which] += node.seconds
        names[which].append(f"{node.op} {node.work}".strip())
    lines = []
    for (runtime, kind), total in sorted(seconds.items(), key=lambda item: (item[0][0], -item[1])):
        nodes = _counted(names[runtime, kind])
        lines.append(f"only in {runtime}: {kind} {_milliseconds(total)} ms ({nodes})")
    return lines


def _footnote(explanation: Explanation) -> str:
    """What the columns mean."""
    parts = [
        f"Sorted by {_SORTED_BY[explanation.sorted_by]}.",
        "ms: all calls of one run, medians, in the library as it runs.",
        "of peak: the larger of the shares of GFLOP/s and of the GB/s around what a run touches; "
        "over 100% the data was in a faster cache.",
        "gain: less time at that peak.",
    ]
    if any(operator.others for operator in explanation.operators):
        parts.append(
            "diff: more (or less) time than the fastest of the others for the same work; work of "
            "the same sizes is divided evenly among its calls; ~ only its kind is the same."
        )
    if explanation.stages:
        parts.append(
            "stages: a kernel's is that of the operator that reads its result; the rest: what no "
            "stage has of the time from end to end."
        )
    if any(part.seconds < 0 for runtime in explanation.runtimes for part in runtime.overheads):
        parts.append("A negative rest: the profiler's own cost and the host's noise.")
    return " ".join(parts)


def _runtime_line(runtime: RuntimeEntry) -> str:
    if runtime.end_to_end_s is None or runtime.operators_s is None:
        return f"{runtime.name}: {runtime.status}"
    overheads = "; ".join(
        f"{part.name} {_milliseconds(part.seconds)}" for part in runtime.overheads
    )
    return (
        f"{runtime.name}: {_milliseconds(runtime.end_to_end_s)} ms end to end = operators "
        f"{_milliseconds(runtime.operators_s)} + {overheads}"
    )


def _other(name: str) -> Callable[[Operator], str]:
    def cell(operator: Operator) -> str:
        counterpart = operator.others.get(name)
        if counterpart is None:
            return ""
        return ("~" if counterpart.by == "kind" else "") + _milliseconds(counterpart.seconds)

    return cell


def _difference(operator: Operator) -> str:
    if operator.difference_s is None:
        return ""
    fastest = min(operator.others.values(), key=lambda counterpart: counterpart.seconds)
    mark = "~" if fastest.by == "kind" else ""
    sign = "+" if operator.difference_s > 0 else ""
    return f"{mark}{sign}{_milliseconds(operator.difference_s)}"


def _gigabytes(operator: Operator) -> str:
    rate = operator.bytes_per_s
    return "" if rate is None else numbers.significant(rate / 1e9)


def _gflops(operator: Operator) -> str:
    rate = operator.flops_per_s
    return "" if rate is None else numbers.significant(rate / 1e9)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _optional_milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else _milliseconds(seconds)


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
