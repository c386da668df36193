"""Measuring on other machines, through TVM's RPC tracker: the tuner's side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunekit.catalogue.entries import FailureKind
from tunekit.errors import DeviceError, SandboxError
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.measure.remote.protocol import DeviceFacts, Fatal, Remote, RemoteRequest
from tunekit.processes.server import ServerProcess


class RpcMeasurer(ServerProcess):
    """Builds candidates here and measures them on the devices of one key.

    A `Measurer`. As many devices at a time as the tracker gives; `MeasureResult.device` names the
    one that measured.
    """

    MODULE = "tunekit.measure.remote.server"
    NAME = "remote measuring server"

    def __init__(self, options: MeasureOptions, remote: Remote) -> None:
        super().__init__()
        self.options = options
        self.remote = remote

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

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        """Results of all candidates, each as soon as it is known, in no promised order.

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
            for result in self._ask(tuple(candidates), rounds, answers=len(open_keys)):
                assert isinstance(result, MeasureResult)
                open_keys.discard(result.key)
                yield result
        except (EOFError, OSError):
            text = f"the measuring server ended: {self._tail()}"
            self._stop()
            for key in sorted(open_keys):
                yield MeasureResult(key, None, FailureKind.LOST_DEVICE, text, 0.0, 0.0)

    def _ask(
        self, candidates: tuple[Candidate, ...], rounds: int, *, answers: int
    ) -> Iterator[MeasureResult | DeviceFacts]:
        self.start()
        self._await_ready()
        connection = self._socket
        complete = False
        try:
            connection.send(RemoteRequest(self.options, self.remote, candidates, rounds))
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
