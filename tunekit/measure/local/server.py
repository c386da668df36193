"""The measuring server: forks one process for each candidate, from one that is warm.

`import tvm` takes seconds, building a candidate a tenth of one. So this process imports TVM once,
starts none of its threads, and forks: a child builds its candidate, waits for its turn, runs it
straight from the JIT, reports, and is gone (`tunekit.measure.local.candidate_process`).

Started as `python -m tunekit.measure.local.server FD`; speaks pickles over that socket, whose
closing ends it and its children: it takes one `LocalRequest` after the other and answers each with
a `MeasureResult` for every candidate.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from multiprocessing.connection import Connection

from tunekit.measure.correctness import random_pool
from tunekit.measure.local.batch import PARKED_LIMIT, LocalAssets, LocalBatch
from tunekit.measure.local.protocol import LocalRequest
from tunekit.measure.noise_guard import Calibration
from tunekit.processes.child import adopt_orphans
from tunekit.processes.pool import ChildPool


class _Server:
    """Works off one request at a time."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._assets = LocalAssets(ChildPool(control), random_pool())
        self._calibrated_for: tuple[str, int] | None = None

    def serve(self) -> None:
        while True:
            try:
                request: LocalRequest = self._control.recv()
            except (EOFError, ConnectionResetError):
                return
            self._prepare(request)
            for first in range(0, len(request.candidates), PARKED_LIMIT):
                part = request.candidates[first : first + PARKED_LIMIT]
                try:
                    if not LocalBatch(part, request, self._assets, self._control).run():
                        return
                finally:
                    self._assets.children.end_all()

    def _prepare(self, request: LocalRequest) -> None:
        options, assets = request.options, self._assets
        for seconds in request.calibrations:
            assets.usual.note(seconds)
        kind = (options.target, options.threads)
        if not options.noise_guard or options.device != "cpu":
            assets.calibration, self._calibrated_for = None, None
        elif self._calibrated_for != kind:
            assets.calibration, self._calibrated_for = Calibration(*kind), kind


def main() -> None:
    """Entry of the server process; its one argument is the socket's file descriptor."""
    from tunekit.machine.toolchain import require_tvm
    from tunekit.machine.tvm_loading import without_torch

    # Ctrl-C is for the tuner, which finishes its batch; the batch needs its server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    control = Connection(int(sys.argv[1]))
    require_tvm()
    with without_torch():
        import tvm.s_tir.transform  # noqa: F401

    control.send("ready")
    # A tuner that was killed may be gone while a result is on its way to it.
    with contextlib.suppress(BrokenPipeError):
        _Server(control).serve()


if __name__ == "__main__":
    main()
