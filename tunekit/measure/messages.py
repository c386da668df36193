"""What the children of the measuring servers say to them: values that travel as pickles.

A child that builds or measures one candidate leaves the `key` at 0; one that measures several on a
device says which of them it speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from tunekit.measure.noise_guard import Reading
from tunekit.wording import last_lines

_TOLD_LINES = 6

Then = Literal["again", "check", "over"]
"""What a child does after a measurement: it measures the candidate once more, compares its outputs,
or is done with it."""


@dataclass(frozen=True)
class Built:
    """The candidate, or kernel, is built."""


@dataclass(frozen=True)
class Running:
    """The candidate's measurement begins."""

    key: int


@dataclass(frozen=True)
class Measured:
    """The candidate has been measured.

    Attributes:
        readings: one at least.
        key: the candidate's.
        seconds: wall seconds that it took.
        then: what comes next.
    """

    readings: Sequence[Reading]
    key: int = 0
    seconds: float = 0.0
    then: Then = "over"


@dataclass(frozen=True)
class Checked:
    """The candidate's outputs have been compared: what is wrong with them, "" if nothing is."""

    problem: str
    key: int = 0


@dataclass(frozen=True)
class Failed:
    """The candidate raised something, and the child lived on to say what."""

    text: str
    key: int = 0


@dataclass(frozen=True)
class Late:
    """Said by nobody: the child took longer than it may."""


@dataclass(frozen=True)
class DeviceReady:
    """The device works: what it says of itself, None where it had shown before that it works."""

    facts: Mapping[str, str | int] | None


@dataclass(frozen=True)
class SessionDone:
    """All candidates of the session have had their turns."""


@dataclass(frozen=True)
class DeviceRefused:
    """The device cannot run what is built for its target."""

    text: str


@dataclass(frozen=True)
class SessionLost:
    """The session broke; `expired` where the device's server ended it for being too long."""

    text: str
    expired: bool


SessionMessage = (
    DeviceReady
    | Running
    | Measured
    | Checked
    | Failed
    | SessionDone
    | DeviceRefused
    | SessionLost
    | Late
)
"""What the process of a session with a device says, or is said of it."""


def answer(connection: Connection, work: Callable[[], object]) -> None:
    """Sends what the work returns, or `Failed`: what goes wrong with a candidate is data."""
    try:
        said = work()
    except BaseException as error:  # noqa: BLE001 - the server counts it as the candidate's
        said = Failed(failure_text(error))
    connection.send(said)


def failure_text(error: BaseException) -> str:
    """What a child tells of its failure: the last lines of the message, without the backtrace that
    TVM's C++ part puts in front of it."""
    text = last_lines(error, _TOLD_LINES)
    return f"MemoryError: {text}" if isinstance(error, MemoryError) else text
