"""What is brought to a device, and what is known of it so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tunekit.measure.verdict import Pending

Ending = Literal["hung", "died"]
"""How a session ended before its candidates had their results."""


@dataclass(eq=False)
class RemoteCandidate(Pending):
    """A candidate on its way to a device.

    Attributes:
        path: the file that it is built into.
    """

    path: Path = field(kw_only=True)


@dataclass(eq=False)
class Job:
    """What is brought to one device together: one candidate, or all that take turns.

    Attributes:
        candidates: those that are still without a result. None from the start: it is the device
            itself that is asked for.
        failures_on: the devices that ended under its only candidate, and how.
        lost_sessions: sessions that ended before a candidate ran.
        ready_at: since when it waits for a device.
    """

    candidates: list[RemoteCandidate]
    failures_on: list[tuple[Ending, str]] = field(default_factory=list)
    lost_sessions: int = 0
    ready_at: float = field(default_factory=time.monotonic)
    is_inquiry: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_inquiry = not self.candidates

    @property
    def hung_on(self) -> Sequence[str]:
        """Names of the devices on which it hung."""
        return [device for how, device in self.failures_on if how == "hung"]

    def candidate(self, key: int) -> RemoteCandidate:
        """The candidate of this key."""
        return next(pending for pending in self.candidates if pending.candidate.key == key)
