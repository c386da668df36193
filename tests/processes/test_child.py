"""Children do a job, answer, wait without taking the cores, and leave nothing behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psutil
import pytest

from tunekit.processes.child import Child, fork
from tunekit.processes.exit import Exit

if TYPE_CHECKING:
    from tests.conftest import StillRunning

_PATIENCE_S = 60.0


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Forks a child, which does not outlive the test."""
    started: list[Child] = []

    def start(job: Callable[[Connection], None], memory_bytes: int | None = None) -> Child:
        started.append(fork(job, memory_bytes=memory_bytes))
        return started[-1]

    yield start
    for child in started:
        if psutil.pid_exists(child.pid):
            child.kill()


def _echo(connection: Connection) -> NoReturn:
    while True:
        connection.send(connection.recv())


def test_a_child_answers_and_is_gone_once_it_is_killed(start: Callable[..., Child]) -> None:
    child = start(lambda connection: connection.send(connection.recv() + 1))
    assert child.send(41)
    assert child.receive() == 42
    assert child.receive() is None
    assert child.exit() == Exit(status=0)
    child.kill()
    assert not psutil.pid_exists(child.pid)
    assert not child.send(1)


def test_a_paused_child_does_nothing_until_it_is_sent_something(
    start: Callable[..., Child],
) -> None:
    child = start(_echo)
    child.pause()
    deadline = time.monotonic() + _PATIENCE_S
    while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.send("go on")
    assert child.receive() == "go on"


def test_a_child_that_dies_says_by_what(start: Callable[..., Child]) -> None:
    child = start(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert child.receive() is None
    assert child.exit() == Exit(signal=signal.SIGKILL)


def test_a_child_may_allocate_what_it_was_given_and_leaves_no_core(
    start: Callable[..., Child],
) -> None:
    kinds = (resource.RLIMIT_DATA, resource.RLIMIT_CORE)

    def limits(connection: Connection) -> None:
        connection.send([resource.getrlimit(kind)[0] for kind in kinds])

    assert start(limits, 1 << 30).receive() == [1 << 30, 0]
    assert start(limits).receive() == [resource.getrlimit(resource.RLIMIT_DATA)[0], 0]


# In a process of its own, as a pool ends all children that are not its own. Starts a process in the
# child's group and one that left it; of another child it lets go.
_STARTER = """
import subprocess, sys, time
from multiprocessing.connection import Pipe
from tunekit.processes.child import adopt_orphans
from tunekit.processes.pool import ChildPool

def start(connection):
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    inside = subprocess.Popen(sleep)
    outside = subprocess.Popen(sleep, start_new_session=True)
    connection.send((inside.pid, outside.pid))
    time.sleep(600)

def echo(connection):
    while True:
        connection.send(connection.recv())

adopt_orphans()
pool = ChildPool(Pipe()[0])
alone = pool.fork(echo)
child = pool.fork(start)
other = pool.fork(echo)
print(*child.receive(), flush=True)
sys.stdin.readline()
alone.connection.close()
print(alone.exit(), flush=True)
pool.end(child)
assert other.send("there") and other.receive() == "there"
print("ended", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_child_of_a_pool_takes_along_what_it_started_and_has_no_hold_on_the_others(
    still_running: StillRunning,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        started = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(started) == 2
        parent.stdin.write("\n")
        parent.stdin.flush()
        # It noticed that its connection closed, which a sibling did not keep open.
        assert parent.stdout.readline() == "exit status 0\n"
        assert parent.stdout.readline() == "ended\n"
        assert still_running(started) == []
