"""One batch on remote devices: what is built goes to devices, and results come back."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tunekit.measure.messages import Late
from tunekit.measure.remote.builds import Builds, ServerAssets
from tunekit.measure.remote.devices import DevicePool
from tunekit.measure.remote.job import Job
from tunekit.measure.remote.protocol import Fatal, RemoteRequest
from tunekit.measure.remote.retries import BUSY_PATIENCE, Retries
from tunekit.measure.remote.sessions import DeviceSessions
from tunekit.rpc.tracker import server_command

_POLL_S = 0.5


class TunerGone(Exception):  # noqa: N818 - reads as what happened
    """The tuner closed the connection."""


class RemoteBatch:
    """One request, from the first build to the last result.

    Attributes:
        early: the next request, where the tuner had its last result before the device that gave it
            had said goodbye.
    """

    def __init__(
        self,
        request: RemoteRequest,
        devices: DevicePool,
        control: Connection,
        *,
        folder: Path,
        assets: ServerAssets,
    ) -> None:
        self._remote = request.remote
        self._devices = devices
        self._control = control
        self._builds = Builds(request, assets, devices, folder, control.send)
        self._retries = Retries(request.options, request.remote.wait_s)
        self._sessions = DeviceSessions(request, assets, devices, self._retries, control.send)
        self.early: RemoteRequest | None = None
        if not request.candidates:
            self._retries.add([Job([])])

    def run(self) -> Fatal | None:
        """Works until every candidate has a result, or none can get one.

        Raises:
            TunerGone: nobody listens any more.
        """
        while True:
            self._builds.start()
            self._retries.add(self._builds.jobs())
            self._start_sessions()
            self._judge()
            if self._builds.are_done and not self._retries.waiting and not self._sessions.running:
                return None
            fatal = self._out_of_devices()
            if fatal is not None:
                return fatal
            self._ask_for_devices()
            self._listen()

    def close(self) -> None:
        """Ends the children and takes back what was asked of the tracker."""
        self._devices.close()
        self._sessions.close()
        self._builds.close()

    def _start_sessions(self) -> None:
        for job in list(self._retries.waiting):
            grant = self._devices.take(avoid=job.hung_on)
            if grant is not None:
                self._retries.waiting.remove(job)
                self._sessions.start(job, grant)

    def _judge(self) -> None:
        if any(job.failures_on for job in self._retries.waiting):
            in_use = {session.device for session in self._sessions.running}
            names = self._devices.known() | in_use
            self._sessions.settle(self._retries.judge(time.monotonic(), names))

    def _ask_for_devices(self) -> None:
        waiting = len(self._retries.waiting)
        free = max(1, len(self._devices.known()) - len(self._sessions.running)) if waiting else 0
        self._devices.want(min(waiting, free))

    def _listen(self) -> None:
        """Waits for whatever happens next, and handles it."""
        active = [*self._builds.running, *self._sessions.running]
        # Not longer than a moment: trackers and patience end without a sound.
        limit = min([time.monotonic() + _POLL_S, *(job.deadline for job in active)])
        ready = wait(
            [
                *([self._control] if self.early is None else []),
                *(job.process.connection for job in active),
                *(request.connection for request in self._devices.requests),
            ],
            timeout=max(limit - time.monotonic(), 0.0),
        )
        if self._control in ready:
            try:
                self.early = self._control.recv()
            except (EOFError, OSError):
                raise TunerGone from None
        self._devices.collect(ready)
        now = time.monotonic()
        for build in self._builds.running:
            if build.process.connection in ready:
                self._builds.take(build, build.process.receive())
            elif now >= build.deadline:
                self._builds.take(build, Late())
        for session in list(self._sessions.running):
            if session.process.connection in ready:
                self._sessions.take(session, session.process.receive())
            elif now >= session.deadline:
                self._sessions.take(session, Late())

    def _out_of_devices(self) -> Fatal | None:
        """The end, when there is work and has been no device for too long."""
        if not self._retries.waiting or self._sessions.running:
            self._retries.not_idle()
            return None
        any_device = bool(self._devices.known())
        if not self._retries.is_out_of_patience(
            time.monotonic(), any_device=any_device, all_refused=self._devices.all_refused()
        ):
            return None
        self._sessions.settle(self._retries.give_up(any_device=any_device))
        if not self._retries.waiting and not self._builds.candidates_left:
            return None
        return self._reason(any_device)

    def _reason(self, any_device: bool) -> Fatal:
        remote, devices = self._remote, self._devices
        if devices.trouble is not None:
            return Fatal(devices.trouble.message, devices.trouble.hint)
        if any_device:
            return Fatal(
                f"all devices of key {remote.key!r} at {remote.tracker} have been busy for "
                f"{remote.wait_s * BUSY_PATIENCE:g} s",
                "`tunekit devices` shows who waits",
            )
        if devices.refused:
            reasons = "; ".join(f"{name}: {text}" for name, text in devices.refused.items())
            return Fatal(
                f"no device of key {remote.key!r} can run what is built for it: {reasons}",
                "is --target (the recipe's `target`) the device's, and --cc its compiler?",
            )
        return Fatal(
            f"the tracker at {remote.tracker} had no device of key {remote.key!r} for "
            f"{remote.wait_s:g} s",
            f"on the device, run: {server_command(remote.tracker, remote.key)}",
        )
