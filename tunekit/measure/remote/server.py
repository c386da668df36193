"""The remote measuring server: builds candidates here, measures them on an RPC tracker's devices.

Like the local server it imports TVM once and forks: a child builds a candidate into a file, a child
brings it to a device and times it there. Building goes on while devices measure, as many devices
at a time as the tracker gives. This process itself never talks to a device, so no device can hang
it, and killing a child ends whatever that one waits for.

Started as `python -m tunekit.measure.remote.server FD`; speaks pickles over that socket, whose
closing ends it and its children.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tunekit.measure.build import build_calibration, build_probe
from tunekit.measure.correctness import References, random_pool
from tunekit.measure.measurer import MeasureOptions
from tunekit.measure.messages import Built, Failed, answer
from tunekit.measure.remote.batch import RemoteBatch, TunerGone
from tunekit.measure.remote.builds import ServerAssets
from tunekit.measure.remote.devices import DevicePool
from tunekit.measure.remote.protocol import Fatal, RemoteRequest
from tunekit.processes.pool import ChildPool
from tunekit.rpc.tracker import parse_tracker

_KERNEL_BUILD_S = 120.0

_BuildKernel = Callable[[MeasureOptions, str | None, Path], None]


class _Server:
    """Works off one request at a time; what it learns about devices stays."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._children = ChildPool(control)
        self._folder = Path(tempfile.mkdtemp(prefix="tunekit-remote-"))
        # Children that build are killed without a word: what they and their compilers leave behind
        # lies in there, too.
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder)
        # By what they are built for.
        self._kernels: dict[tuple[object, ...], Path] = {}
        self._references = References()
        self._floats = random_pool()
        self._devices: dict[tuple[str, str], DevicePool] = {}

    def serve(self) -> None:
        try:
            request: RemoteRequest | None = None
            while True:
                request = self._handle(request or self._control.recv())
        except (EOFError, BrokenPipeError, TunerGone):
            return
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _handle(self, request: RemoteRequest) -> RemoteRequest | None:
        """Works off a request; returns the next one, if it came meanwhile."""
        assets = self._assets(request)
        if isinstance(assets, Fatal):
            self._control.send(assets)
            return None
        remote = request.remote
        kind = (remote.tracker, remote.key)
        if kind not in self._devices:
            self._devices[kind] = DevicePool(parse_tracker(remote.tracker), remote.key)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        batch = RemoteBatch(
            request, self._devices[kind], self._control, folder=folder, assets=assets
        )
        try:
            fatal = batch.run()
            if fatal is not None:
                self._control.send(fatal)
            return batch.early
        finally:
            batch.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _assets(self, request: RemoteRequest) -> ServerAssets | Fatal:
        options = request.options
        probe = self._kernel(build_probe, request)
        if isinstance(probe, Fatal):
            return probe
        assets = ServerAssets(self._children, probe, None, self._references, self._floats)
        if not options.noise_guard or options.device != "cpu":
            return assets
        calibration = self._kernel(build_calibration, request)
        if isinstance(calibration, Fatal):
            return calibration
        return dataclasses.replace(assets, calibration=calibration)

    def _kernel(self, build: _BuildKernel, request: RemoteRequest) -> Path | Fatal:
        """The library of one of our own kernels, built at the first request for such devices."""
        options, linking = request.options, request.remote.linking
        kind = (build, options.target, options.threads, linking)
        if kind not in self._kernels:
            path = self._folder / f"kernel{len(self._kernels)}{linking.suffix}"
            problem = self._build_kernel(functools.partial(build, options, linking.compiler, path))
            if problem:
                return Fatal(
                    f"nothing can be built for target {options.target}: {problem}",
                    "--cc (or TUNEKIT_CC) names the compiler that links for the device, for "
                    "example aarch64-linux-gnu-g++",
                )
            self._kernels[kind] = path
        return self._kernels[kind]

    def _build_kernel(self, build: Callable[[], None]) -> str:
        """Builds in a process of its own; returns why that failed, "" if it did not.

        Raises:
            TunerGone: nobody listens any more.
        """

        def work() -> Built:
            build()
            return Built()

        process = self._children.fork(functools.partial(answer, work=work))
        try:
            ready = wait([process.connection, self._control], _KERNEL_BUILD_S)
            if self._control in ready:
                raise TunerGone
            if not ready:
                return f"not built within {_KERNEL_BUILD_S:g} s"
            message: Built | Failed | None = process.receive()
        finally:
            self._children.end(process)
        match message:
            case Built():
                return ""
            case Failed(text=text):
                return text
            case None:
                return "the compiler died"


def main() -> None:
    """Entry of the server process; its one argument is the socket's file descriptor."""
    from tunekit.machine.toolchain import require_tvm
    from tunekit.machine.tvm_loading import without_torch

    # Ctrl-C is for the tuner, which finishes its batch; the batch needs its server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = Connection(int(sys.argv[1]))
    require_tvm()
    with without_torch():
        import tvm.rpc
        import tvm.s_tir.transform  # noqa: F401

    control.send("ready")
    _Server(control).serve()


if __name__ == "__main__":
    main()
