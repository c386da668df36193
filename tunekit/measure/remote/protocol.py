"""What the tuner and the remote measuring server say to each other; text and numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunekit.measure.measurer import Candidate, MeasureOptions


@dataclass(frozen=True)
class Linking:
    """How a candidate becomes a file that a device can load.

    Attributes:
        compiler: links a shared library here, a cross compiler where one is needed; None leaves
            the linking to the device, which then needs a compiler of its own.
    """

    compiler: str | None

    @property
    def suffix(self) -> str:
        """Of the file: a shared library, or a tar of objects."""
        return ".tar" if self.compiler is None else ".so"


@dataclass(frozen=True)
class Remote:
    """Where to measure.

    Attributes:
        tracker: "host:port" of the RPC tracker.
        key: kind of device to ask it for.
        wait_s: seconds to wait for a device where there is none.
        linking: how candidates become files.
    """

    tracker: str
    key: str
    wait_s: float
    linking: Linking


@dataclass(frozen=True)
class RemoteRequest:
    """What the tuner asks for; without candidates, who one of the devices is."""

    options: MeasureOptions
    remote: Remote
    candidates: tuple[Candidate, ...]
    rounds: int


@dataclass(frozen=True)
class DeviceFacts:
    """What a device says of itself.

    Attributes:
        name: its address.
        facts: "cpu" and "triple" by LLVM's names, "threads" of its pool; what it does not know is
            left out.
    """

    name: str
    facts: Mapping[str, str | int]


@dataclass(frozen=True)
class Fatal:
    """Nothing can be measured; becomes the tuner's error."""

    message: str
    hint: str | None
