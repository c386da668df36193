"""Ctrl-C while measuring: what a first and a second one do, by real signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType

import pytest

from tunekit.measure.interruption import GuardedMeasurer
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.processes.interrupts import Stop


def _interrupt() -> None:
    # Python runs its handler before the next instruction of the main thread.
    os.kill(os.getpid(), signal.SIGINT)


class _Measurer:
    """Yields results; may be interrupted while it waits for the next."""

    def __init__(self, interrupt_before: int | None = None) -> None:
        self.interrupt_before = interrupt_before
        self.closed = False

    @property
    def options(self) -> MeasureOptions:
        raise AssertionError("nobody asks")

    def start(self) -> None: ...

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        for number in range(3):
            if number == self.interrupt_before:
                _interrupt()
            yield MeasureResult(number, (1.0,), None, "", 0.0, 0.0)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> _Measurer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def test_the_first_asks_to_stop_and_says_so() -> None:
    said: list[str] = []
    stop = Stop(said.append)
    with stop.listening():
        assert not stop()
        _interrupt()
        assert stop()
    assert said == ["stopping after this batch; once more stops at once"]


def test_the_second_stops_at_once() -> None:
    stop = Stop(lambda _: None)
    with stop.listening():
        _interrupt()
        with pytest.raises(KeyboardInterrupt):
            _interrupt()


def test_who_was_listening_before_listens_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Stop(lambda _: None).listening():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_the_second_lets_a_measurement_reach_the_catalogue() -> None:
    stop = Stop(lambda _: None)
    kept: list[int] = []

    def record_all() -> None:
        for result in GuardedMeasurer(_Measurer(), stop).measure([]):
            if result.key == 1:
                _interrupt()
                _interrupt()
            kept.append(result.key)

    with stop.listening(), pytest.raises(KeyboardInterrupt):
        record_all()
    assert kept == [0, 1]


def test_the_second_does_not_wait_for_what_is_being_measured() -> None:
    stop = Stop(lambda _: None)
    kept: set[int] = set()

    def record_all() -> None:
        _interrupt()
        for result in GuardedMeasurer(_Measurer(interrupt_before=2), stop).measure([]):
            kept.add(result.key)

    with stop.listening(), pytest.raises(KeyboardInterrupt):
        record_all()
    assert kept == {0, 1}


def test_a_guarded_measurer_is_closed_with_its_block() -> None:
    measurer = _Measurer()
    with GuardedMeasurer(measurer, Stop(lambda _: None)) as guarded:
        assert [result.key for result in guarded.measure([])] == [0, 1, 2]
        assert not measurer.closed
    assert measurer.closed


def test_a_thread_beside_the_main_one_leaves_ctrl_c_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), list[object]()

    def listen() -> None:
        with Stop(lambda _: None).listening():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]
