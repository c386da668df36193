"""Sessions with devices: each has a process, and candidates that are measured in it."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from tunekit.catalogue.entries import Failure, FailureKind
from tunekit.measure import verdict
from tunekit.measure.measurer import MeasureResult
from tunekit.measure.messages import (
    Checked,
    DeviceReady,
    DeviceRefused,
    Failed,
    Late,
    Measured,
    Running,
    SessionDone,
    SessionLost,
    SessionMessage,
)
from tunekit.measure.remote.builds import ServerAssets, unpacked_library
from tunekit.measure.remote.devices import DevicePool
from tunekit.measure.remote.job import Ending, Job, RemoteCandidate
from tunekit.measure.remote.protocol import DeviceFacts, RemoteRequest
from tunekit.measure.remote.retries import Retries, Settled
from tunekit.measure.remote.session import DeviceSession, OutputCheck, Upload, hold_session
from tunekit.processes.child import Child

if TYPE_CHECKING:
    from tunekit.rpc.tracker import Grant

_CONNECT_S = 10.0
# For bringing a candidate to a device, loading it and allocating its tensors there.
_SETUP_S = 10.0
_PARTING_S = 3.0


@dataclass(eq=False)
class _OpenSession:
    """A session that goes on.

    Attributes:
        process: talks to the device.
        deadline: when it has said nothing for too long.
        job: what was brought to the device.
        device: its name.
        running: the candidate that it is measuring or comparing.
    """

    process: Child
    deadline: float
    job: Job
    device: str
    running: RemoteCandidate | None = None


class DeviceSessions:
    """All sessions of a batch.

    Args:
        request: the batch.
        assets: what the server has.
        devices: the key's devices, of which it notes what sessions say of them.
        retries: is told of sessions that end before their time.
        tell: is given each result, and what a device says of itself where that is asked.

    Attributes:
        running: those that go on.
    """

    def __init__(
        self,
        request: RemoteRequest,
        assets: ServerAssets,
        devices: DevicePool,
        retries: Retries,
        tell: Callable[[MeasureResult | DeviceFacts], None],
    ) -> None:
        self._options = request.options
        self._rounds = request.rounds
        self._assets = assets
        self._devices = devices
        self._retries = retries
        self._tell = tell
        self._best: dict[str | None, float] = {}
        self.running: list[_OpenSession] = []

    def start(self, job: Job, grant: Grant) -> None:
        """Brings a job to a device."""
        device = grant.device.name
        is_known = device in self._devices.proven and not job.is_inquiry
        session = DeviceSession(
            grant=grant,
            uploads=tuple(self._upload(pending) for pending in job.candidates),
            rounds=self._rounds,
            probe=None if is_known else self._assets.probe,
            calibration=self._assets.calibration,
            usual=self._devices.usual[device],
            session_s=self._session_s(job),
        )
        process = self._assets.children.fork(
            functools.partial(hold_session, options=self._options, session=session),
            inherited=self._devices.requests,
        )
        deadline = process.started + _CONNECT_S
        self.running.append(_OpenSession(process, deadline, job, device))

    def take(self, session: _OpenSession, message: SessionMessage | None) -> None:
        """Takes in what the process of a session says, or that it says nothing (any more)."""
        match message:
            case DeviceReady(facts=facts):
                # Nothing is said until all candidates are there.
                self._allow(session, _setup_s(session.job))
                if facts is not None:
                    self._devices.proven[session.device] = dict(facts)
            case Running(key=key):
                self._allow(session, self._options.run_timeout_s, session.job.candidate(key))
            case Measured():
                self._take_readings(session, message)
            case Checked(problem=problem, key=key):
                self._allow(session, _SETUP_S)
                pending = session.job.candidate(key)
                if problem:
                    self._fail(session, pending, Failure(FailureKind.WRONG_OUTPUT, problem))
                else:
                    self._finish(session, pending)
            case Failed(text=text, key=key):
                self._allow(session, _SETUP_S)
                self._fail(session, session.job.candidate(key), verdict.of_text(text, "running"))
            case SessionDone():
                self._leave(session)
                assert not session.job.candidates
                if session.job.is_inquiry:
                    facts = self._devices.proven[session.device]
                    self._tell(DeviceFacts(session.device, facts))
            case DeviceRefused(text=text):
                self._leave(session)
                self._devices.refused[session.device] = text
                self._retries.again(session.job, time.monotonic())
            case SessionLost(text=text, expired=expired):
                self._lost(session, "hung" if expired else "died", text)
            case Late():
                waited_s = time.monotonic() - session.process.started
                self._lost(session, "hung", f"no answer for {waited_s:.0f} s")
            case None:
                self._lost(session, "died", "the connection to it broke")

    def settle(self, settled: Sequence[Settled]) -> None:
        """Tells the results of candidates that no device could say more about."""
        for fate in settled:
            self._tell(fate.candidate.failed(fate.failure, fate.device))

    def close(self) -> None:
        """Ends the processes."""
        self._part()
        for session in self.running:
            self._assets.children.end(session.process)
        self.running.clear()

    def _part(self) -> None:
        """Lets sessions end by themselves that can do so soon: a server whose client goes away in
        the middle may not serve again."""
        until = time.monotonic() + _PARTING_S
        talking = [session.process for session in self.running]
        while talking and time.monotonic() < until:
            ready = wait(
                [process.connection for process in talking], max(until - time.monotonic(), 0.0)
            )
            talking = [
                process
                for process in talking
                if process.connection not in ready or process.receive() is not None
            ]

    # -- what is brought to a device ----------------------------------------------------------

    def _session_s(self, job: Job) -> float:
        """How long a session may take at the most."""
        compared = sum(pending.candidate.workload_json is not None for pending in job.candidates)
        measuring_s = self._options.run_timeout_s * self._rounds * len(job.candidates)
        return _setup_s(job) + measuring_s + compared * (_SETUP_S + self._options.run_timeout_s)

    def _upload(self, pending: RemoteCandidate) -> Upload:
        check = self._check(pending)
        return Upload(pending.candidate, pending.path, self._best_s(pending), check)

    def _check(self, pending: RemoteCandidate) -> OutputCheck | None:
        """What its outputs are compared with, None where they are not; then it says why."""
        candidate, references = pending.candidate, self._assets.references
        if candidate.workload_json is None:
            return None
        reference = references.get(candidate.workload_json)
        memory = references.memory(candidate.workload_json)
        if isinstance(reference, str) or memory is None:
            pending.remark = f"the outputs were not compared: {reference}"
            return None
        library = unpacked_library(pending.path) if candidate.packs_weights else pending.path
        return OutputCheck(reference, memory, self._assets.pool, library)

    def _best_s(self, pending: RemoteCandidate) -> float:
        known = pending.candidate.best_s
        best_s = self._best.get(pending.candidate.workload_json, math.inf)
        return best_s if known is None or self._rounds > 1 else min(known, best_s)

    # -- what comes of it ---------------------------------------------------------------------

    def _allow(
        self, session: _OpenSession, seconds: float, running: RemoteCandidate | None = None
    ) -> None:
        """Has the session say something within so many seconds."""
        session.deadline = time.monotonic() + seconds
        session.running = running

    def _take_readings(self, session: _OpenSession, message: Measured) -> None:
        pending = session.job.candidate(message.key)
        self._devices.fine(session.device)
        pending.measured.add(message.readings, self._devices.usual[session.device])
        pending.measure_s += message.seconds
        if message.then == "check":
            self._allow(session, _SETUP_S + self._options.run_timeout_s, pending)
            return
        self._allow(session, _SETUP_S)
        if message.then == "over":
            self._finish(session, pending)

    def _finish(self, session: _OpenSession, pending: RemoteCandidate) -> None:
        session.job.candidates.remove(pending)
        workload, seconds = pending.candidate.workload_json, pending.measured.seconds
        self._best[workload] = min(seconds, self._best.get(workload, math.inf))
        self._tell(pending.result(session.device))

    def _fail(self, session: _OpenSession, pending: RemoteCandidate, failure: Failure) -> None:
        session.job.candidates.remove(pending)
        self._tell(pending.failed(failure, session.device))

    def _lost(self, session: _OpenSession, how: Ending, text: str) -> None:
        """The session is over before its time."""
        self._leave(session)
        if how == "died":
            # What comes back under its address may be another machine.
            self._devices.proven.pop(session.device, None)
        if session.running is None:
            self._devices.fault(session.device, text)
        self.settle(
            self._retries.lost(
                session.job, session.device, how, text, session.running, time.monotonic()
            )
        )

    def _leave(self, session: _OpenSession) -> None:
        self.running.remove(session)
        self._assets.children.end(session.process)


def _setup_s(job: Job) -> float:
    return _SETUP_S * max(1, len(job.candidates))
