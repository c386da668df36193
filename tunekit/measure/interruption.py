"""Ctrl-C: once finishes what is being measured, twice stops at once; both lose no measurement."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from tunekit.processes.interrupts import interrupt

if TYPE_CHECKING:
    from types import FrameType

    from tunekit.measure.measurer import Candidate, MeasureOptions, Measurer, MeasureResult


class Stop:
    """Notes Ctrl-C while it is listened to; the tuner asks it whether to go on.

    The second one raises KeyboardInterrupt, but never between a measurement and its way into the
    catalogue: there it waits until that is done.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._recording = False
        self._at_once = False
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes Ctrl-C for itself; only the main thread can."""
        previous = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def guarding(self, measurer: Measurer) -> Measurer:
        """The measurer, whose outcomes reach the catalogue before a second Ctrl-C has its way."""
        return _Guarded(measurer, self)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """What is done here is done to its end."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False
        if self._at_once:
            raise KeyboardInterrupt

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            self._say("stopping after this batch; once more stops at once")
        elif self._recording:
            self._at_once = True
        else:
            interrupt()


class _Guarded:
    """A measurer whose user is not interrupted while it has an outcome in its hands."""

    def __init__(self, measurer: Measurer, stop: Stop) -> None:
        self._measurer = measurer
        self._stop = stop

    @property
    def options(self) -> MeasureOptions:
        return self._measurer.options

    def start(self) -> None:
        self._measurer.start()

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        for outcome in self._measurer.measure(candidates, rounds):
            with self._stop.recording():
                yield outcome

    def close(self) -> None:
        self._measurer.close()

    def __enter__(self) -> _Guarded:
        self._measurer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._measurer.__exit__(kind, error, trace)
