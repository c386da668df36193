"""Starts `tunekit` commands in processes that have imported TVM and torch before they begin.

A command's own life is a second or two, loading the frameworks takes five: from here a test can
start (and kill) twenty of them in a minute. Each is a process forked from this one, which has
imported everything and computed nothing; it goes to its folder, runs the command line's `main`
and ends with its exit code. The measuring server, which the command starts as
``python -m tunekit.measure.local.server FD``, is forked from here as well, and is then the process
that a fresh interpreter would have become. Everything else is the product's: TVM, catalogue,
candidates, signals, files.

Without a terminal the command reports its progress every few seconds; here it says each change, so
that a test knows where it is. And where it takes seconds of samples so that their interval is
narrow, fractions of one do here: in the turns of a benchmark, and of the libraries of which the
fastest ships.

Reads one JSON object a line, {"argv", "cwd", "stdout", "stderr", "env"}; answers
{"pid", "server"}, and {"pid", "status"} when one of the two has ended. Ends with its input.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

_WORKER = "tunekit.measure.local.server"
_PR_SET_PDEATHSIG = 1


def _import_everything() -> None:
    import torch
    import torch._dynamo
    import torch.export._trace
    import torch.fx.experimental.optimization
    import tvm
    import tvm.relax
    import tvm.relax.frontend.torch
    import tvm.s_tir.meta_schedule
    import tvm.s_tir.transform
    import xgboost

    import tunekit.library.selection
    import tunekit.measure.local.server
    import tunekit.models.sources.torch_model
    import tunekit.report.tuning
    import tunekit.sessions.run
    import tunekit.timing.rounds
    import tunekit.timing.together
    import tunekit.torch_frontend
    from tunekit import api
    from tunekit.cli.app import VERBS

    for place in VERBS.values():
        importlib.import_module(place.partition(":")[0])
    assert tunekit.report.tuning._LINE_INTERVAL_S > 0
    tunekit.report.tuning._LINE_INTERVAL_S = 0.0
    assert tunekit.library.selection._ROUNDS > 12
    tunekit.library.selection._ROUNDS = 12
    tunekit.timing.rounds.RoundSettings = partial(  # type: ignore[misc, assignment]
        tunekit.timing.rounds.RoundSettings, turn_s=0.1, warm_up_s=0.1, idle_s=0.2
    )
    tunekit.timing.together.Instances = partial(  # type: ignore[misc, assignment]
        tunekit.timing.together.Instances, turn_s=0.3
    )
    assert api
    assert torch
    assert tvm
    assert xgboost


class _ForkedServer:
    """What `subprocess.Popen` gives for the measuring server, of one that waits already forked."""

    def __init__(self, pid: int, line: socket.socket, fd: int, environment: dict[str, str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(pid)
        socket.send_fds(line, [pickle.dumps(environment)], [fd])

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._pidfd], [], [], 0)[0]:
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not select.select([self._pidfd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(_WORKER, timeout or 0.0)
        self.returncode = 0
        return 0

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    terminate = kill


def _offer_server(pid: int, line: socket.socket) -> None:
    """Lets the first start of a measuring server take the one that waits; later ones are cold."""
    popen = subprocess.Popen
    waiting = [True]

    def start(command: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(command, list) and _WORKER in command and waiting:
            waiting.clear()
            return _ForkedServer(pid, line, int(command[-1]), dict(options["env"]))
        return popen(command, *arguments, **options)

    subprocess.Popen = start  # type: ignore[assignment, misc]


def _serve(line: socket.socket) -> None:
    """The life of a measuring server: waits for its socket, then is one."""
    from tunekit.measure.local import server

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    environment, fds, _, _ = socket.recv_fds(line, 1 << 20, 1)
    line.close()
    if not fds:  # the command ended without it
        return
    os.environ.update(pickle.loads(environment))
    sys.argv = [_WORKER, str(fds[0])]
    server.main()


def _command(request: dict[str, Any]) -> None:
    from tunekit.cli.app import main

    for name, fd in (("stdout", 1), ("stderr", 2)):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, fd)
        os.close(file)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    sys.path[0] = request["cwd"]
    sys.path[1:1] = request["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = ["tunekit", *request["argv"]]
    main()


def _fork(body: Callable[[], None], *inherited: socket.socket) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # A test that is stopped leaves nothing behind either.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent's pipes and the other commands' lines are not for children.
        keep = {0, 1, 2, *(line.fileno() for line in inherited)}
        for fd in {int(entry.name) for entry in Path("/proc/self/fd").iterdir()} - keep:
            with contextlib.suppress(OSError):
                os.close(fd)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        body()
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    except BaseException:  # noqa: BLE001 - the end of a process, with what it has to say
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        # A fresh interpreter would run its exit handlers; these are mostly of the parent's.
        os._exit(code)


def main() -> None:
    _import_everything()
    # Whoever looks for garbage among all this writes to each object, and pays with a copy of it.
    gc.collect()
    gc.freeze()
    print(json.dumps({"ready": True}), flush=True)
    running: dict[int, int] = {}  # pidfd -> pid
    buffer = b""
    while True:
        ready, _, _ = select.select([0, *running], [], [])
        for fd in ready:
            if fd == 0:
                continue
            pid = running.pop(fd)
            os.close(fd)
            _, status = os.waitpid(pid, 0)
            print(json.dumps({"pid": pid, "status": os.waitstatus_to_exitcode(status)}), flush=True)
        if 0 not in ready:
            continue
        block = os.read(0, 1 << 16)
        if not block:
            return
        *lines, buffer = (buffer + block).split(b"\n")
        for line in lines:
            request = json.loads(line)
            ours, theirs = socket.socketpair()
            server = _fork(lambda theirs=theirs: _serve(theirs), theirs)

            def command(ours: socket.socket = ours, server: int = server) -> None:
                _offer_server(server, ours)
                _command(request)  # noqa: B023 - runs before the next request

            pid = _fork(command, ours)
            ours.close()
            theirs.close()
            for process in (server, pid):
                running[os.pidfd_open(process)] = process
            print(json.dumps({"pid": pid, "server": server}), flush=True)


if __name__ == "__main__":
    main()
