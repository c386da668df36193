"""What processes that may crash, or outlive whoever started them, say to the kernel first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Collection
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ORPHANED = 3


def die_with_parent(parent: int | None = None) -> None:
    """Has the kernel kill this process when its parent ends; when it has ended by now, too, where
    its process id is given.

    Linux only; elsewhere a child notices by its closed pipe or socket.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(_ORPHANED)


def adopt_orphans() -> None:
    """Has the kernel make this process the parent of whatever its descendants leave behind, also
    of what has left their process groups. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_children_except(known: Collection[int]) -> None:
    """Kills and collects the children of this process that are not among the known ones.

    Needs `/proc` with its lists of children; does nothing without.
    """
    while strays := [pid for pid in _children() if pid not in known]:
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    try:
        lists = [(task / "children").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return []
    return [int(pid) for text in lists for pid in text.split()]


def leave_no_core() -> None:
    """A crash is an expected outcome; its core file is of no use to anyone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def core_ids() -> list[int]:
    """The cores that this process may run on; all of them where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin_to_cores(count: int) -> None:
    """Keeps this process, and threads that it starts from now on, on its first so many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, core_ids()[:count])
