"""How a process ended, as data and in words."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

# A child whose connection closed is about to end; one that closed it on purpose is made to.
_ENDING_S = 1.0
_POLL_S = 0.005
_MEANINGS: dict[int, str] = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGILL: "illegal instruction: compiled for a CPU that this one is not",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGABRT: "aborted",
    signal.SIGKILL: "killed, perhaps for want of memory",
}


@dataclass(frozen=True)
class Exit:
    """How a process ended. Its text is "SIGSEGV" or "exit status 3".

    Attributes:
        signal: number of the signal that killed it, None where it ended by itself.
        status: its exit status, None where a signal killed it.
    """

    signal: int | None = None
    status: int | None = None

    @classmethod
    def of_code(cls, code: int) -> Exit:
        """From a return code as `subprocess` and `multiprocessing` have it: signals negative."""
        return cls(signal=-code) if code < 0 else cls(status=code)

    @classmethod
    def of_child(cls, pid: int) -> Exit | None:
        """Of a child of this process that broke its connection off, and is not collected by this;
        None where it lives on."""
        deadline = time.monotonic() + _ENDING_S
        while True:
            # It stays a zombie, and its group's number its own, until somebody collects it.
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        if ended is None:
            return None
        if ended.si_code == os.CLD_EXITED:
            return cls(status=ended.si_status)
        return cls(signal=ended.si_status)

    @property
    def explained(self) -> str:
        """With what the signal means: "SIGSEGV (segmentation fault)"."""
        meaning = None if self.signal is None else _MEANINGS.get(self.signal)
        return f"{self} ({meaning})" if meaning else str(self)

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.status}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"
