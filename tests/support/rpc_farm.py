"""A tracker and servers for tests, and what tests do to them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tunekit.errors import DeviceError
from tunekit.rpc.tracker import TrackerAddress, tracker_summary

PATIENCE_S = 90.0


class Machines:
    """A tracker and servers of its, on the loopback."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("rpc_machines.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._keys = itertools.count()
        self._read()
        self.address = TrackerAddress("127.0.0.1", self._ask("tracker")["port"])

    def wait_until_it_listens(self) -> None:
        def listens() -> bool:
            try:
                tracker_summary(self.address)
            except DeviceError:
                return False
            return True

        until(listens, "the tracker answers")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)

    def servers(self, count: int, key: str | None = None) -> tuple[str, dict[str, int]]:
        """New servers of a key of their own: the key, and each one's process by its name."""
        key = key or f"key{next(self._keys)}"
        before = {device.name for device in tracker_summary(self.address).of_key(key)}
        found = [self._ask(f"server {self.address.port} {key}") for _ in range(count)]
        until(
            lambda: len(tracker_summary(self.address).of_key(key)) == len(before) + count,
            "the servers are registered",
        )
        return key, {f"127.0.0.1:{server['port']}": server["pid"] for server in found}

    def _ask(self, command: str) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer: dict[str, int] = self._read()
        return answer

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the machines did not start"
        answer: dict[str, int] = json.loads(line)
        return answer


def until(done: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(0.05)


def kill(server: int) -> None:
    """As when the machine loses its power: the server and its sessions."""
    os.killpg(server, signal.SIGKILL)


def sessions(server: int) -> list[psutil.Process]:
    return psutil.Process(server).children(recursive=True)
