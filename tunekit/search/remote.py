"""Measuring on other machines, through TVM's RPC tracker: the tuner's side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from types import TracebackType

from tunekit.catalogue.entries import FailureKind
from tunekit.errors import DeviceError, SandboxError
from tunekit.search.remote_protocol import DeviceFacts, Fatal, Remote, Request
from tunekit.search.trial import Candidate, MeasureOptions, Outcome

_START_TIMEOUT_S = 120.0


class RemoteEngine:
    """Builds candidates here and measures them on the devices of one key.

    A `Measurer`. As many devices at a time as the tracker gives; `Outcome.device` names the one
    that measured. The server that does it starts on first use and ends with the block.
    """

    def __init__(self, options: MeasureOptions, remote: Remote) -> None:
        self.options = options
        self.remote = remote
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._ready = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts the server without waiting for it: it warms up while the tuner samples."""
        if self._process is not None and self._process.poll() is None:
            return
        self._stop()
        mine, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tunekit.search.remote_worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            # Symbolizing a C++ backtrace takes TVM up to tens of seconds a failure.
            env={**os.environ, "TVM_BACKTRACE": "0"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        theirs.close()
        self._connection = Connection(mine.detach())
        self._ready = False

    def describe(self) -> DeviceFacts:
        """What the first device that is free says of itself, having run a small kernel.

        Raises:
            DeviceError: no tracker answers, or it has no device that can run the target's code.
            SandboxError: the server itself cannot be started, or died.
        """
        try:
            (answer,) = self._ask((), 1, answers=1)
        except (EOFError, OSError) as error:
            text = f"the remote measuring server ended: {self._tail()}"
            self._stop()
            raise SandboxError(text, hint="run `tunekit doctor`") from error
        assert isinstance(answer, DeviceFacts)
        return answer

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[Outcome]:
        """Outcomes of all candidates, each as soon as it is known, in no promised order.

        With several `rounds` the candidates are measured in turns, all of them on one device. A
        candidate whose device dies or hangs is measured on another one.

        Raises:
            DeviceError: the tracker or its last device is gone; what was not told yet has not
                been measured.
            SandboxError: the server itself cannot be started.
        """
        if not candidates:
            return
        open_keys = {candidate.key for candidate in candidates}
        try:
            for outcome in self._ask(tuple(candidates), rounds, answers=len(open_keys)):
                assert isinstance(outcome, Outcome)
                open_keys.discard(outcome.key)
                yield outcome
        except (EOFError, OSError):
            text = f"the measuring server ended: {self._tail()}"
            self._stop()
            for key in sorted(open_keys):
                yield Outcome(key, None, FailureKind.LOST_DEVICE, text, 0.0, 0.0)

    def close(self) -> None:
        """Ends the server and whatever it is doing."""
        self._stop()
        self._log.close()

    def _ask(
        self, candidates: tuple[Candidate, ...], rounds: int, *, answers: int
    ) -> Iterator[Outcome | DeviceFacts]:
        self.start()
        self._await_ready()
        connection = self._connection
        assert connection is not None
        complete = False
        try:
            connection.send(Request(self.options, self.remote, candidates, rounds))
            for position in range(answers):
                answer = connection.recv()
                # Before it is handed on: whoever has the last one may not come back.
                complete = position == answers - 1 or isinstance(answer, Fatal)
                if isinstance(answer, Fatal):
                    raise DeviceError(answer.message, hint=answer.hint)
                yield answer
        finally:
            if not complete:
                # Whoever stops listening would find the rest among the next answers.
                self._stop()

    def _await_ready(self) -> None:
        if self._ready:
            return
        assert self._connection is not None
        try:
            if not self._connection.poll(_START_TIMEOUT_S):
                raise EOFError
            self._connection.recv()
        except (EOFError, OSError) as error:
            tail = self._tail()
            self._stop()
            raise SandboxError(
                f"the remote measuring server did not start: {tail}",
                hint="run `tunekit doctor` to see what is missing",
            ) from error
        self._ready = True

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _tail(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
