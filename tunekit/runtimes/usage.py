"""What a process takes: CPU, memory, and whether its threads have come to rest."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

# A process is at rest when it uses less than this share of one core.
_REST_SHARE = 0.1
_REST_WINDOW_S = 0.02
_REST_LIMIT_S = 2.0


def cpu_s(pid: int) -> float:
    """CPU seconds that a process's threads have used, those of another process that run yet."""
    if pid == os.getpid():
        return time.process_time()
    used_ns = 0
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            # In nanoseconds, where /proc/PID/stat counts hundredths of a second.
            used_ns += int((thread / "schedstat").read_text().split()[0])
    return used_ns / 1e9


def memory(pid: int) -> dict[str, int]:
    """A process's resident memory in bytes: the most it ever had, and now (0 if unknown).

    Linux says both in /proc/PID/status. Elsewhere `ru_maxrss` stands in for the peak; on Linux
    it would not do, as a process starts with its parent's.
    """
    fields = {"VmHWM": 0, "VmRSS": 0}
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in fields:
                fields[key] = int(value.split()[0]) * 1024
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        fields["VmHWM"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"peak_rss_bytes": fields["VmHWM"], "rss_bytes": fields["VmRSS"]}


def come_to_rest(pid: int) -> bool:
    """Waits until a process's threads have stopped spinning; False if they never do.

    Thread pools keep their threads awake for some milliseconds after the last work (ONNX
    Runtime for 40), which would be taken from whoever has the next turn.
    """
    deadline = time.perf_counter() + _REST_LIMIT_S
    while time.perf_counter() < deadline:
        cpu, wall = cpu_s(pid), time.perf_counter()
        time.sleep(_REST_WINDOW_S)
        idle = cpu_s(pid) - cpu < _REST_SHARE * (time.perf_counter() - wall)
        # On a busy machine a thread may spin without getting a core for a whole window.
        if idle and not _another_thread_wants_to_run(pid):
            return True
    return False


def _another_thread_wants_to_run(pid: int) -> bool:
    """Whether a thread beside this one runs or waits for a core (False if unknown)."""
    mine = str(threading.get_native_id())
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            # The name in parentheses may itself hold spaces and parentheses.
            state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "R" and thread.name != mine:
                return True
    return False
