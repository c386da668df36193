"""Ctrl-C while candidates are measured loses no measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunekit.measure.measurer import Candidate, MeasureOptions, Measurer, MeasureResult
    from tunekit.processes.interrupts import Stop


class GuardedMeasurer:
    """A measurer whose results reach the catalogue before a second Ctrl-C has its way. A
    `Measurer`."""

    def __init__(self, measurer: Measurer, stop: Stop) -> None:
        self._measurer = measurer
        self._stop = stop

    @property
    def options(self) -> MeasureOptions:
        return self._measurer.options

    def start(self) -> None:
        self._measurer.start()

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        for result in self._measurer.measure(candidates, rounds):
            with self._stop.recording():
                yield result

    def close(self) -> None:
        self._measurer.close()

    def __enter__(self) -> GuardedMeasurer:
        self._measurer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._measurer.__exit__(kind, error, trace)
