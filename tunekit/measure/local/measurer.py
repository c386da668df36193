"""The tuner's side of the measuring server."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence

from tunekit.catalogue.entries import FailureKind
from tunekit.measure.local.protocol import LocalRequest
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.processes.child import tvm_may_pin
from tunekit.processes.server import ServerProcess

# A server that has grown by this much since it was ready is replaced between two batches.
_LARGEST_GROWTH_BYTES = 1 << 30
# Calibrations that a fresh server is told of.
_TOLD = 256


class LocalMeasurer(ServerProcess):
    """Builds and measures candidates in processes of their own. A `Measurer`."""

    MODULE = "tunekit.measure.local.server"
    NAME = "measuring server"

    def __init__(self, options: MeasureOptions) -> None:
        super().__init__()
        self.options = options
        self._grown_from = 0
        self._calibrations: deque[float] = deque(maxlen=_TOLD)

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        """Results of all candidates, each as soon as it is known, in no promised order.

        With several `rounds` the candidates (16 at a time) are measured in turns, so that a slow
        second of the host meets all of them; a result then has the seconds of all its rounds.
        Where the server itself dies, what it had not yet told is lost (`LOST_DEVICE`). Candidates
        that are the same but for their keys are built and measured once.

        Raises:
            SandboxError: the server itself cannot be started.
        """
        self._replace_if_grown()
        self.start()
        self._await_ready()
        keys_of: dict[Candidate, list[int]] = {}
        for candidate in candidates:
            # What differs in its key only is built and measured once.
            keys_of.setdefault(dataclasses.replace(candidate, key=0), []).append(candidate.key)
        firsts = {keys[0]: keys[1:] for keys in keys_of.values()}
        open_keys = {candidate.key for candidate in candidates}
        batch = [candidate for candidate in candidates if candidate.key in firsts]
        try:
            self._socket.send(LocalRequest(self.options, batch, rounds))
            while open_keys:
                result: MeasureResult = self._socket.recv()
                if result.calibration_s is not None:
                    self._calibrations.append(result.calibration_s)
                for key in (result.key, *firsts[result.key]):
                    open_keys.discard(key)
                    yield dataclasses.replace(result, key=key)
        except GeneratorExit:
            # Whoever stops listening would find the rest of this batch among the next one's.
            self._stop()
            raise
        except (EOFError, OSError):
            # The server died, which no candidate should be able to cause: count what was under
            # way as lost and go on with a fresh one.
            text = f"the measuring server ended: {self._tail()}"
            self._stop()
            for key in sorted(open_keys):
                yield MeasureResult(key, None, FailureKind.LOST_DEVICE, text, 0.0, 0.0)

    def _greet(self) -> None:
        # Should it have died by now, `_await_ready` says so.
        with contextlib.suppress(OSError):
            self._socket.send(LocalRequest(self.options, calibrations=list(self._calibrations)))

    def _environment(self) -> dict[str, str]:
        return {
            **super()._environment(),
            "TVM_NUM_THREADS": str(self.options.threads),
            # Where it may not, only the process is pinned, by `pin_to_cores`.
            "TVM_BIND_THREADS": str(int(tvm_may_pin())),
        }

    def _await_ready(self) -> None:
        fresh = not self._ready
        super()._await_ready()
        if fresh:
            self._grown_from = self._server_bytes()

    def _replace_if_grown(self) -> None:
        if self._ready and self._server_bytes() - self._grown_from > _LARGEST_GROWTH_BYTES:
            self._stop()

    def _server_bytes(self) -> int:
        """The server's own memory, what it shares with its children included."""
        import psutil

        assert self._process is not None
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0
