"""What the kernel counts of a process, where it does."""

from __future__ import annotations

import sys
import threading

import pytest

from tunekit.runtimes.events import INSTRUCTIONS, EventCounter

TASK_CLOCK = (1, 1)
"""Nanoseconds of CPU time, which the kernel counts by itself on every machine."""


def work() -> int:
    return sum(range(10**6))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts")
def test_threads_that_start_later_are_counted() -> None:
    counter = EventCounter(TASK_CLOCK)
    before = counter.read()
    if before is None:
        pytest.skip("the kernel forbids it here")
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    after = counter.read()
    assert after is not None
    assert after - before > 1e6  # a millisecond of nanoseconds


def test_an_event_that_nobody_counts_is_none() -> None:
    assert EventCounter((0, 10**6)).read() is None


def test_instructions_grow_with_work_or_are_not_known() -> None:
    counter = EventCounter(INSTRUCTIONS)
    before = counter.read()
    work()
    after = counter.read()
    assert (before is None) == (after is None)
    assert before is None or after is None or after - before > 10**6
