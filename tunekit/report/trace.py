"""An inference as Chrome and Perfetto show it: kernels on their threads, along time.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU has the format.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tunekit.errors import UsageError

if TYPE_CHECKING:
    from tunekit.attribution.results import Explanation, Operator
    from tunekit.standalone.events import TraceEvent

_PROCESS = 1
_US = 1e6


def trace_text(explanation: Explanation) -> str:
    """The trace of an explanation, as JSON for chrome://tracing and ui.perfetto.dev.

    Raises:
        UsageError: the explanation has none.
    """
    if not explanation.trace:
        raise UsageError(
            f"there is no trace of {explanation.name}: it has no standalone library",
            hint="the manifest's not_standalone says why; the table has its kernels' times",
        )
    operators = {operator.name: operator for operator in explanation.operators}
    threads = _threads(explanation)
    events = [
        _named("process_name", explanation.name, 0),
        *(_named("thread_name", _title(number), number) for number in threads.values()),
        *(_event(event, threads[event.thread], operators) for event in explanation.trace),
    ]
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events}) + "\n"


def _threads(explanation: Explanation) -> dict[int, int]:
    """The threads, numbered; the one that runs the model first."""
    callers = [event.thread for event in explanation.trace if event.task is None]
    others = sorted({event.thread for event in explanation.trace} - set(callers))
    return {thread: number for number, thread in enumerate([*dict.fromkeys(callers), *others])}


def _title(number: int) -> str:
    return f"worker {number}" if number else "caller"


def _event(event: TraceEvent, thread: int, operators: dict[str, Operator]) -> dict[str, Any]:
    operator = operators.get(event.kernel)
    name = event.kernel if operator is None else operator.work
    told: dict[str, Any] = {"kernel": event.kernel, "step": event.step}
    if event.task is not None:
        name, told["task"] = f"task {event.task}", event.task
    return {
        "name": name,
        "cat": "kernel" if operator is None else operator.kind,
        "ph": "X",
        "ts": event.begin_s * _US,
        "dur": (event.end_s - event.begin_s) * _US,
        "pid": _PROCESS,
        "tid": thread,
        "args": told,
    }


def _named(what: str, name: str, thread: int) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": thread, "args": {"name": name}}
