"""Which process runs a session, and whether it still lives.

Nothing is locked: a session names its process (pid and start time, on which boot of which machine)
and beats. On the same machine the process table answers at once, so a killed session can be resumed
immediately and a process that is only busy is never robbed; about other machines the age of the
heartbeat is all there is to go by.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

#: A session on another machine whose last heartbeat is older than this is taken for dead.
HEARTBEAT_TIMEOUT = timedelta(seconds=90)


@dataclass(frozen=True)
class Owner:
    """A process: `started` tells it from a later one with the same pid, `machine` is a boot."""

    pid: int
    started: str
    machine: str

    def lives(self, heartbeat_at: datetime) -> bool:
        if self.started and self.machine == _machine():
            return _started(self.pid) == self.started
        return datetime.now(UTC) - heartbeat_at < HEARTBEAT_TIMEOUT


def this_process() -> Owner:
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> Owner:
    return Owner(pid, _started(pid) or "", _machine())


def _started(pid: int) -> str | None:
    """When the process started, in the kernel's own ticks; None when there is none (a zombie, dead
    but not yet waited for, counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


@cache
def _machine() -> str:
    """This boot of this machine; two containers that cannot see each other's pids differ."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"[:128]
    except OSError:
        return platform.node()[:128]
