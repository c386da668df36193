"""The time of a session: what it is spent on, how much there was, and that its process is alive."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tunekit.catalogue import Catalogue, SessionInfo
from tunekit.measure.measurer import MeasureResult
from tunekit.search.phase_clock import PhaseClock

_HEARTBEAT_S = 10.0


class SessionClock:
    """Measures the time of one run of a session and books it in the catalogue.

    Attributes:
        phases: what the time is spent on: "sample", "model", "build", "measure", "wait" (for either
            of them), "record", "decide".
    """

    def __init__(self, catalogue: Catalogue, session: SessionInfo) -> None:
        self.phases = PhaseClock()
        self._catalogue = catalogue
        self._session = session
        self._started = time.monotonic()
        self._search_ended: float | None = None
        self._last_heartbeat = self._started

    @property
    def search_s(self) -> float:
        """Seconds that this run has searched so far, or searched until `end_search`."""
        return (self._search_ended or time.monotonic()) - self._started

    @property
    def session_s(self) -> float:
        """Seconds of the session, its earlier runs included."""
        return sum(self._session.seconds.values()) + time.monotonic() - self._started

    def end_search(self) -> None:
        """What comes now is no search."""
        self._search_ended = time.monotonic()

    def split_wait(self, results: Sequence[MeasureResult], jobs: int) -> None:
        """Says what was waited for while a batch was measured: building, measuring, or neither.

        Candidates are measured one at a time and built `jobs` at a time; what neither explains was
        spent waiting.
        """
        self.phases.move("wait", "measure", sum(result.measure_s for result in results))
        built_s = sum(result.build_s for result in results)
        self.phases.move("wait", "build", built_s / max(jobs, 1))

    def book(self) -> None:
        """Adds the seconds since the last booking to the session's."""
        spent = self.phases.take()
        if spent:
            self._catalogue.sessions.add_seconds(self._session.id, spent)

    def heartbeat(self) -> None:
        """Tells the catalogue now and then that the session is being run."""
        now = time.monotonic()
        if now - self._last_heartbeat > _HEARTBEAT_S:
            self._catalogue.sessions.heartbeat(self._session.id)
            self._last_heartbeat = now
