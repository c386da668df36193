"""Children that may crash, hang or leave processes of their own behind: what they say to the kernel
first, and how whoever forked them speaks with them and ends them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, Protocol

from tunekit.processes.exit import Exit

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ORPHANED = 3


class Closable(Protocol):
    """A file or socket of the parent's that its children have no use for."""

    def close(self) -> None: ...


@dataclass(eq=False)
class Child:
    """A forked process, the leader of a process group of its own.

    Attributes:
        pid: its process id.
        connection: this process's end of the socket between the two.
        started: when it was forked, by `time.monotonic`.
    """

    pid: int
    connection: Connection
    started: float = field(default_factory=time.monotonic)

    def send(self, message: Any) -> bool:
        """Sends a message, and lets a paused child go on; False when it has gone."""
        try:
            self.connection.send(message)
            os.kill(self.pid, signal.SIGCONT)
        except OSError:
            return False
        return True

    def pause(self) -> None:
        """Stops it until it is sent something. A child that waits for its turn does not sleep: the
        threads of TVM's pool look for work a third of a million times before they do, which takes
        the cores from whoever is being measured, the longer the more of them there are."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)

    def receive(self) -> Any:
        """The next message, None when there will be none."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def exit(self) -> Exit | None:
        """How a child that says nothing any more has ended; None where it lives on."""
        return Exit.of_child(self.pid)

    def kill(self) -> None:
        """Ends it with its process group, and collects it."""
        self.connection.close()
        # The group first: once its leader is collected the number may be another's.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def fork(
    job: Callable[[Connection], None],
    *,
    inherited: Iterable[Closable] = (),
    memory_bytes: int | None = None,
) -> Child:
    """A child that does a job, and ends when it is done with it.

    Args:
        job: called with the child's end of the connection.
        inherited: what the child closes first.
        memory_bytes: limit of its data segment, None without one.
    """
    mine, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        mine.close()
        for file in inherited:
            file.close()
        _live(job, Connection(theirs.detach()), parent, memory_bytes)
    theirs.close()
    return Child(pid, Connection(mine.detach()))


def _live(
    job: Callable[[Connection], None],
    connection: Connection,
    parent: int,
    memory_bytes: int | None,
) -> NoReturn:
    try:
        os.setsid()
        die_with_parent(parent)
        if memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        leave_no_core()
        job(connection)
    finally:
        # Not sys.exit: nothing of the parent's may be flushed or finalised twice, and TVM's
        # destructors would wait for a device that may be gone.
        os._exit(0)


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


def tvm_may_pin() -> bool:
    """Whether TVM may pin its threads: to the cores numbered from 0, whichever this process may
    use."""
    return core_ids() == list(range(os.cpu_count() or 1))


def pin_to_cores(count: int) -> None:
    """Keeps this process, and threads that it starts from now on, on its first so many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, core_ids()[:count])
