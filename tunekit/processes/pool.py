"""The measuring server's children: forked, listened to, and ended with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from tunekit.processes.child import end_children_except


@dataclass
class Member:
    """One child: the leader of a process group of its own."""

    pid: int
    connection: Connection

    def tell(self, *message: Any) -> bool:
        """Sends a message, and lets the child go on; False when it has gone."""
        try:
            self.connection.send(message)
            os.kill(self.pid, signal.SIGCONT)
        except OSError:
            return False
        return True

    def pause(self) -> None:
        """Stops it until it is told something. A child that waits for its turn does not sleep: the
        threads of TVM's pool look for work a third of a million times before they do, which takes
        the cores from whoever is being measured, the longer the more of them there are."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)

    def receive(self) -> tuple[Any, ...] | None:
        """The next message, None when there will be none."""
        try:
            message: tuple[Any, ...] = self.connection.recv()
        except (EOFError, OSError):
            return None
        return message


class Family:
    """All children of this process."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._living: dict[int, Member] = {}

    def fork(self, life: Callable[[Connection, int], NoReturn]) -> Member:
        """Starts a child that lives `life(connection, process id of its parent)`."""
        mine, theirs = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            mine.close()
            self._control.close()
            for member in self._living.values():
                member.connection.close()
            life(Connection(theirs.detach()), parent)
        theirs.close()
        member = Member(pid, Connection(mine.detach()))
        self._living[pid] = member
        return member

    def end(self, member: Member) -> None:
        """Kills a child and whatever it has started, in its group or out of it."""
        member.connection.close()
        if self._living.pop(member.pid, None) is None:
            return
        # The group first: once its leader is collected the number may be another's.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(member.pid, signal.SIGKILL)
        os.waitpid(member.pid, 0)
        end_children_except(self._living)

    def end_all(self) -> None:
        """Kills all children."""
        for member in list(self._living.values()):
            self.end(member)
