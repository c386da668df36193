"""What the threads of a model did in an inference that was traced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunekit.standalone.abi import CEvent


@dataclass(frozen=True)
class TraceEvent:
    """What a thread did in an inference: a kernel, or a task of its parallel loop.

    Attributes:
        kernel: its name.
        step: number of the kernel in the inference.
        task: number of the task; None where it is the kernel as a whole.
        thread: the system's number of the thread.
        begin_s: seconds after the inference began.
        end_s: likewise.
    """

    kernel: str
    step: int
    task: int | None
    thread: int
    begin_s: float
    end_s: float


def in_their_order(events: Sequence[CEvent]) -> list[TraceEvent]:
    """Events by when they began, what contains another before it."""
    ordered = sorted(events, key=lambda event: (event.begin_ns, event.task))
    start_ns = ordered[0].begin_ns if ordered else 0
    return [
        TraceEvent(
            event.kernel.decode(),
            event.step,
            None if event.task < 0 else event.task,
            event.thread,
            (event.begin_ns - start_ns) / 1e9,
            (event.end_ns - start_ns) / 1e9,
        )
        for event in ordered
    ]
