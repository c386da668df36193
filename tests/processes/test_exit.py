"""How a process ended is told alike wherever it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tunekit.processes.exit import Exit


@pytest.mark.parametrize(
    ("code", "text", "explained"),
    [
        (3, "exit status 3", "exit status 3"),
        (-signal.SIGSEGV, "SIGSEGV", "SIGSEGV (segmentation fault)"),
        (-signal.SIGTERM, "SIGTERM", "SIGTERM"),
        (-signal.SIGKILL, "SIGKILL", "SIGKILL (killed, perhaps for want of memory)"),
        (-63, "signal 63", "signal 63"),
    ],
)
def test_the_end_of_a_process_is_told_by_its_signal(code: int, text: str, explained: str) -> None:
    ended = Exit.of_code(code)
    assert (str(ended), ended.explained) == (text, explained)


@pytest.mark.parametrize("ending", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_child_is_still_to_be_collected_when_it_is_known_how_it_ended(ending: str) -> None:
    with subprocess.Popen([sys.executable, "-c", f"import os; {ending}"]) as child:
        # The first asks while it may be on its way yet.
        while (ended := Exit.of_child(child.pid)) is None:
            pass
        assert Exit.of_child(child.pid) == ended
        assert Exit.of_code(child.wait()) == ended
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)


def test_a_child_that_lives_on_has_not_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert Exit.of_child(child.pid) is None
