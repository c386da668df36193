"""Where the time goes: wall seconds by phase, each second in one phase only."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class PhaseClock:
    """Adds up wall seconds by phase. A phase within another one interrupts it."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._taken: dict[str, float] = {}
        self._phases: list[str] = []
        self._since = 0.0

    @property
    def seconds(self) -> Mapping[str, float]:
        """Everything so far, phases that go on excepted."""
        return dict(self._seconds)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the block's time under `name`."""
        self._switch()
        self._phases.append(name)
        try:
            yield
        finally:
            self._switch()
            self._phases.pop()

    def move(self, source: str, destination: str, seconds: float) -> None:
        """Counts time of one phase as another's: at most what there is."""
        moved = max(0.0, min(seconds, self._seconds[source]))
        self._seconds[source] -= moved
        self._seconds[destination] += moved

    def take(self) -> dict[str, float]:
        """What came since the last time this was asked."""
        fresh = {
            phase: seconds - self._taken.get(phase, 0.0)
            for phase, seconds in self._seconds.items()
            if seconds > self._taken.get(phase, 0.0)
        }
        self._taken = dict(self._seconds)
        return fresh

    def _switch(self) -> None:
        now = time.monotonic()
        if self._phases:
            self._seconds[self._phases[-1]] += now - self._since
        self._since = now
