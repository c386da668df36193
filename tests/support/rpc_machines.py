"""An RPC tracker and servers on the loopback: TVM's own code, one process each, from one import.

``python -m tvm.exec.rpc_server`` imports TVM twice before it registers, which makes seconds of
every machine a test wants. Here a process imports it once and forks what it is told to, and each
fork runs the classes that those commands run.

Started as ``python rpc_machines.py``; takes a command a line on standard input and answers each
with one line of JSON. Everything ends with standard input.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from tunekit.machine.tvm_loading import without_torch


def _fork(run: Callable[[], Any]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            if os.getppid() == parent:
                run()
                signal.pause()
        finally:
            os._exit(1)
    return pid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tracker() -> dict[str, int]:
    from tvm.rpc.tracker import PopenTrackerServerState

    port = _free_port()
    pid = _fork(lambda: PopenTrackerServerState("127.0.0.1", port, port + 1, silent=True))
    return {"pid": pid, "port": port}


def _server(tracker: str, key: str) -> dict[str, int]:
    from tvm.rpc.server import PopenRPCServerState

    port = _free_port()
    address = ("127.0.0.1", int(tracker))
    pid = _fork(
        lambda: PopenRPCServerState(
            "127.0.0.1", port, port + 1, tracker_addr=address, key=key, silent=True
        )
    )
    return {"pid": pid, "port": port}


def main() -> None:
    # As many as the targets of the tests have; TVM's own choice are the physical cores.
    os.environ["TVM_NUM_THREADS"] = str(os.cpu_count() or 1)
    with without_torch():
        import tvm.rpc.server
        import tvm.rpc.tracker  # noqa: F401

    print(json.dumps("ready"), flush=True)
    machines: list[int] = []
    try:
        for line in sys.stdin:
            command, *arguments = line.split()
            found = {"tracker": _tracker, "server": _server}[command](*arguments)
            machines.append(found["pid"])
            print(json.dumps(found), flush=True)
    finally:
        for pid in machines:
            # The sessions that a server has forked are in its process group.
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
