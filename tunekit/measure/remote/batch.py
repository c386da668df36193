"""One batch on remote devices: what is built, what is where, and what becomes of what fails.

A candidate whose device dies or hangs under it goes to another one, once. If that one fares no
better, it is the candidate: CRASH if both died, RUN_TIMEOUT otherwise. A device on which a
candidate hung is free again when its server ends the session, which it was told to do; one that
died has left the tracker.
"""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.entries import FailureKind
from tunekit.measure import verdict
from tunekit.measure.correctness import REFERENCE_LIMIT_S, Expected, References
from tunekit.measure.measurer import Candidate, MeasureResult
from tunekit.measure.remote import session
from tunekit.measure.remote.devices import DevicePool
from tunekit.measure.remote.protocol import DeviceFacts, Fatal, Request
from tunekit.measure.timing import Measurement
from tunekit.processes.exit import Exit
from tunekit.rpc.tracker import server_command

if TYPE_CHECKING:
    from tunekit.measure.correctness import Array

_CONNECT_S = 10.0
# For bringing candidates to a device, loading them and allocating their tensors there.
_SETUP_S = 10.0
# Devices that exist and are busy are waited for this many times longer than those that do not.
_BUSY_PATIENCE = 10
_HOMELESS_LIMIT = 3
_POLL_S = 0.5
_PARTING_S = 3.0
_TEXT_LIMIT = 2000


class TunerGone(Exception):  # noqa: N818 - reads as what happened
    """The tuner closed the connection."""


@dataclass(eq=False)
class _Item:
    """A candidate on its way, with what is known of it so far."""

    candidate: Candidate
    path: Path
    measured: Measurement
    build_s: float = 0.0
    measure_s: float = 0.0
    remark: str = ""


@dataclass(eq=False)
class _Job:
    """What is brought to one device together: one candidate, or all that take turns.

    Attributes:
        items: the candidates that are still without an outcome.
        strikes: how a device ended under it, "hung" or "died", and the device's name.
        homeless: sessions that ended before a candidate ran.
        ready_at: since when it waits for a device.
    """

    items: list[_Item]
    strikes: list[tuple[str, str]] = field(default_factory=list)
    homeless: int = 0
    ready_at: float = field(default_factory=time.monotonic)

    def item(self, key: int) -> _Item:
        return next(item for item in self.items if item.candidate.key == key)


@dataclass(eq=False)
class _Process:
    """A child and when its patience ends."""

    pid: int
    connection: Connection
    started: float
    deadline: float


@dataclass(eq=False)
class _Build(_Process):
    item: _Item


@dataclass(eq=False)
class _Reference(_Process):
    candidate: Candidate


@dataclass(eq=False)
class _Visit(_Process):
    job: _Job
    device: str
    running: _Item | None = None


@dataclass(frozen=True)
class ServerAssets:
    """What the server has for all its batches.

    Attributes:
        probe: a library that any device of the target must be able to run.
        calibration: a library with the calibration kernel, None without the noise guard.
        references: what outputs are compared with.
        pool: random floats.
    """

    probe: Path
    calibration: Path | None
    references: References
    pool: Array


class Batch:
    """One request, from the first build to the last outcome.

    Attributes:
        early: the next request, where the tuner had its last outcome before the device that gave
            it had said goodbye.
    """

    def __init__(
        self,
        request: Request,
        pool: DevicePool,
        control: Connection,
        *,
        folder: Path,
        equipment: ServerAssets,
    ) -> None:
        self._options = request.options
        self._remote = request.remote
        self._rounds = request.rounds
        self._pool = pool
        self._control = control
        self._equipment = equipment
        self.early: Request | None = None
        suffix = request.remote.linking.suffix
        self._to_build = deque(
            _Item(
                candidate,
                folder / f"candidate{candidate.key}{suffix}",
                self._nothing_measured(),
            )
            for candidate in request.candidates
        )
        self._to_refer = deque(
            candidate
            for candidate in request.candidates
            if candidate.workload_json is not None
            and equipment.references.make_room(
                candidate.workload_json, candidate.unscheduled_arguments
            )
        )
        self._referring: list[_Reference] = []
        self._best: dict[str | None, float] = {}
        self._builds: list[_Build] = []
        self._built: list[_Item] = []
        # Without candidates it is a device itself that is asked for.
        self._is_inquiry = not request.candidates
        self._jobs: list[_Job] = [_Job([])] if self._is_inquiry else []
        self._visits: list[_Visit] = []
        # Since when there is work and no device that does any of it.
        self._idle_since: float | None = None

    def run(self) -> Fatal | None:
        """Works until every candidate has an outcome, or none can get one.

        Raises:
            TunerGone: nobody listens any more.
        """
        while True:
            self._start_builds()
            self._gather()
            self._start_visits()
            self._judge()
            if not (
                self._to_build
                or self._builds
                or self._built
                or self._jobs
                or self._visits
                or self._to_refer
                or self._referring
            ):
                return None
            fatal = self._out_of_devices()
            if fatal is not None:
                return fatal
            self._ask_for_devices()
            self._listen()

    def close(self) -> None:
        """Ends the children and takes back what was asked of the tracker."""
        self._pool.close()
        self._part()
        for process in (*self._builds, *self._referring, *self._visits):
            self._end(process)
        for candidate in (*self._to_refer, *(one.candidate for one in self._referring)):
            self._note_reference(candidate, "it was not computed to the end")
        self._builds.clear()
        self._visits.clear()

    def _part(self) -> None:
        """Lets sessions end by themselves that can do so soon: a server whose client goes away in
        the middle may not serve again."""
        until = time.monotonic() + _PARTING_S
        talking = {visit.connection for visit in self._visits}
        while talking and time.monotonic() < until:
            for connection in wait(list(talking), timeout=max(until - time.monotonic(), 0.0)):
                assert isinstance(connection, Connection)
                if session.receive(connection) is None:
                    talking.discard(connection)

    # -- building -----------------------------------------------------------------------------

    def _nothing_measured(self) -> Measurement:
        return Measurement(noise_guard=self._options.noise_guard)

    def _start_builds(self) -> None:
        while self._to_refer and len(self._builds) + len(self._referring) < self._options.jobs:
            self._start_reference(self._to_refer.popleft())
        while self._to_build and len(self._builds) + len(self._referring) < self._options.jobs:
            item = self._to_build.popleft()
            pid, connection = self._fork(
                functools.partial(
                    session.build,
                    candidate=item.candidate,
                    options=self._options,
                    linking=self._remote.linking,
                    path=item.path,
                )
            )
            now = time.monotonic()
            self._builds.append(
                _Build(pid, connection, now, now + self._options.build_timeout_s, item)
            )

    def _start_reference(self, candidate: Candidate) -> None:
        assert candidate.workload_json is not None
        memory = self._equipment.references.memory(candidate.workload_json)
        assert memory is not None
        pid, connection = self._fork(
            functools.partial(
                session.refer,
                candidate=candidate,
                pool=self._equipment.pool,
                memory=memory,
                limit_bytes=self._options.memory_bytes,
            )
        )
        now = time.monotonic()
        self._referring.append(_Reference(pid, connection, now, now + REFERENCE_LIMIT_S, candidate))

    def _hear_reference(self, reference: _Reference, message: tuple[Any, ...] | None) -> None:
        self._referring.remove(reference)
        if message is None:
            found = verdict.of_exit(
                Exit.of_child(reference.pid), "the unscheduled function ran"
            ).text
        else:
            found = message[1]
        self._end(reference)
        self._note_reference(reference.candidate, found)

    def _reference_took_too_long(self, reference: _Reference) -> None:
        self._referring.remove(reference)
        self._end(reference)
        text = f"the unscheduled function takes longer than {REFERENCE_LIMIT_S:g} s"
        self._note_reference(reference.candidate, text)

    def _note_reference(self, candidate: Candidate, found: Expected | str) -> None:
        assert candidate.workload_json is not None
        self._equipment.references.note(
            candidate.workload_json, found, candidate.unscheduled_arguments
        )

    def _hear_build(self, build: _Build, message: tuple[Any, ...] | None) -> None:
        self._builds.remove(build)
        if message is None:
            died = verdict.of_exit(Exit.of_child(build.pid), verdict.BUILDING)
            message = ("died", died.kind, died.text)
        self._end(build)
        build.item.build_s = time.monotonic() - build.started
        if message[0] == "died":
            self._fail(build.item, message[1], message[2])
        elif message[0] == "built":
            self._built.append(build.item)
        else:
            self._fail(build.item, verdict.of_text(message[1], verdict.BUILDING).kind, message[1])

    def _build_took_too_long(self, build: _Build) -> None:
        self._builds.remove(build)
        self._end(build)
        build.item.build_s = time.monotonic() - build.started
        text = f"not built within {self._options.build_timeout_s:g} s"
        self._fail(build.item, FailureKind.BUILD_TIMEOUT, text)

    def _gather(self) -> None:
        """Makes jobs of what is built: those that take turns have to meet the same device."""
        if self._rounds == 1:
            open_ones = {one.workload_json for one in self._to_refer} | {
                one.candidate.workload_json for one in self._referring
            }
            ready = [i for i in self._built if i.candidate.workload_json not in open_ones]
            self._jobs += [_Job([item]) for item in ready]
            self._built = [item for item in self._built if item not in ready]
        elif self._built and not (
            self._to_build or self._builds or self._to_refer or self._referring
        ):
            self._jobs.append(_Job(sorted(self._built, key=lambda item: item.candidate.key)))
            self._built = []

    # -- measuring ----------------------------------------------------------------------------

    def _ask_for_devices(self) -> None:
        free = max(1, len(self._pool.known()) - len(self._visits)) if self._jobs else 0
        self._pool.want(min(len(self._jobs), free))

    def _start_visits(self) -> None:
        for job in list(self._jobs):
            grant = self._pool.take({name for how, name in job.strikes if how == "hung"})
            if grant is None:
                continue
            self._jobs.remove(job)
            self._idle_since = None
            name = grant.device.name
            visit = session.Visit(
                grant=grant,
                loads=tuple(self._load(item) for item in job.items),
                rounds=self._rounds,
                probe=None if name in self._pool.proven and job.items else self._equipment.probe,
                calibration=self._equipment.calibration,
                usual=self._pool.usual[name],
                session_s=self._session_s(job),
            )
            pid, connection = self._fork(
                functools.partial(session.visit, options=self._options, wanted=visit)
            )
            now = time.monotonic()
            self._visits.append(_Visit(pid, connection, now, now + _CONNECT_S, job, name))

    def _session_s(self, job: _Job) -> float:
        """How long a session may take at the most."""
        compared = sum(item.candidate.workload_json is not None for item in job.items)
        measuring_s = self._options.run_timeout_s * self._rounds * len(job.items)
        return _SETUP_S + measuring_s + compared * (_SETUP_S + self._options.run_timeout_s)

    def _load(self, item: _Item) -> session.Load:
        candidate, equipment = item.candidate, self._equipment
        workload, check = candidate.workload_json, None
        if workload is not None:
            expected = equipment.references.get(workload)
            memory = equipment.references.memory(workload)
            if isinstance(expected, str) or memory is None:
                item.remark = f"the outputs were not compared: {expected}"
            else:
                library = item.path
                if candidate.packs_weights:
                    library = session.unpacked(library)
                check = session.Check(expected, memory, equipment.pool, library)
        return session.Load(candidate, item.path, self._best_s(item), check)

    def _best_s(self, item: _Item) -> float:
        known = item.candidate.best_s
        best_s = self._best.get(item.candidate.workload_json, math.inf)
        return best_s if known is None or self._rounds > 1 else min(known, best_s)

    def _hear_visit(self, visit: _Visit, message: tuple[Any, ...] | None) -> None:
        now = time.monotonic()
        match message:
            case ("device", facts):
                visit.deadline = now + _SETUP_S
                if facts is not None:
                    self._pool.proven[visit.device] = facts
            case ("running", key):
                visit.deadline = now + self._options.run_timeout_s
                visit.running = visit.job.item(key)
            case ("measured", key, readings, seconds, then):
                visit.deadline = now + _SETUP_S
                item = visit.job.item(key)
                self._pool.fine(visit.device)
                item.measured.add(readings, self._pool.usual[visit.device])
                item.measure_s += seconds
                visit.running = item if then == "check" else None
                if then == "check":
                    visit.deadline += self._options.run_timeout_s
                elif then == "over":
                    self._is_measured(visit, item)
            case ("checked", key, wrong):
                visit.deadline = now + _SETUP_S
                visit.running = None
                item = visit.job.item(key)
                if wrong:
                    visit.job.items.remove(item)
                    self._fail(item, FailureKind.WRONG_OUTPUT, wrong, visit.device)
                else:
                    self._is_measured(visit, item)
            case ("failed", key, text):
                visit.deadline = now + _SETUP_S
                visit.running = None
                item = visit.job.item(key)
                visit.job.items.remove(item)
                self._fail(item, verdict.of_text(text, "running").kind, text, visit.device)
            case ("done",):
                self._leave(visit)
                assert not visit.job.items
                if self._is_inquiry:
                    facts = self._pool.proven[visit.device]
                    self._control.send(DeviceFacts(visit.device, facts))
            case ("refused", text):
                self._leave(visit)
                self._pool.refused[visit.device] = str(text)
                self._again(visit.job)
            case ("expired", text):
                self._leave(visit)
                self._lost(visit, "hung", str(text))
            case ("lost", text):
                self._leave(visit)
                self._lost(visit, "died", str(text))
            case _:
                self._leave(visit)
                self._lost(visit, "died", "the connection to it broke")

    def _is_measured(self, visit: _Visit, item: _Item) -> None:
        visit.job.items.remove(item)
        workload, seconds = item.candidate.workload_json, item.measured.seconds
        self._best[workload] = min(seconds, self._best.get(workload, math.inf))
        self._control.send(
            MeasureResult(
                key=item.candidate.key,
                samples_s=item.measured.samples,
                failure=None,
                text=item.remark,
                build_s=item.build_s,
                measure_s=item.measure_s,
                calibration_s=item.measured.calibration_s,
                slowdown=item.measured.slowdown,
                device=visit.device,
            )
        )

    def _visit_took_too_long(self, visit: _Visit) -> None:
        self._leave(visit)
        limit = f"{time.monotonic() - visit.started:.0f} s"
        self._lost(visit, "hung", f"no answer for {limit}")

    def _lost(self, visit: _Visit, how: str, text: str) -> None:
        """What becomes of a job whose session ended under it."""
        job, device = visit.job, visit.device
        for item in job.items:
            # Rounds on one device do not compare with rounds on another.
            item.measured = self._nothing_measured()
        if how == "died":
            # What comes back under its address may be another machine.
            self._pool.proven.pop(device, None)
        if visit.running is None:
            self._pool.fault(device, text)
            job.homeless += 1
            if job.homeless >= _HOMELESS_LIMIT:
                for item in job.items:
                    self._fail(item, FailureKind.LOST_DEVICE, f"{device}: {text}", device)
                job.items.clear()
        elif len(job.items) == 1:
            job.strikes.append((how, device))
        else:
            # It ran before, or it would not take turns now: the rest goes on without it.
            job.items.remove(visit.running)
            kind = FailureKind.RUN_TIMEOUT if how == "hung" else FailureKind.LOST_DEVICE
            self._fail(visit.running, kind, f"{device} {how}: {text}", device)
        if job.items or self._is_inquiry:
            self._again(job)

    def _again(self, job: _Job) -> None:
        """In front of all others: what has waited for one device does not wait for all again."""
        job.ready_at = time.monotonic()
        self._jobs.insert(0, job)

    # -- judging ------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Settles those under which devices ended, as far as no device could say more."""
        now = time.monotonic()
        for job in list(self._jobs):
            if not job.strikes:
                continue
            (item,) = job.items
            how, device = job.strikes[-1]
            places = " and ".join(name for _, name in job.strikes)
            if len(job.strikes) > 1:
                if all(how == "died" for how, _ in job.strikes):
                    self._settle(job, item, FailureKind.CRASH, f"it took down {places}", device)
                else:
                    text = f"not measured within {self._options.run_timeout_s:g} s on {places}"
                    self._settle(job, item, FailureKind.RUN_TIMEOUT, text, device)
            elif how == "hung":
                others = self._pool.known() | {visit.device for visit in self._visits}
                if others <= {device} or now - job.ready_at > self._remote.wait_s:
                    text = (
                        f"not measured within {self._options.run_timeout_s:g} s on {device}, and "
                        "there is no other device to try"
                    )
                    self._settle(job, item, FailureKind.RUN_TIMEOUT, text, device)

    def _settle(self, job: _Job, item: _Item, kind: FailureKind, text: str, device: str) -> None:
        self._jobs.remove(job)
        self._fail(item, kind, text, device)

    def _out_of_devices(self) -> Fatal | None:
        """The end, when there is work and has been no device for too long."""
        if not self._jobs or self._visits:
            self._idle_since = None
            return None
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        known = self._pool.known()
        patience = self._remote.wait_s * (_BUSY_PATIENCE if known else 1)
        if now - self._idle_since < patience and not self._pool.all_refused():
            return None
        for job in list(self._jobs):
            if job.strikes:
                _, device = job.strikes[-1]
                text = f"{device} died, and no other device came within {patience:g} s"
                self._settle(job, job.items[0], FailureKind.LOST_DEVICE, text, device)
        if not self._jobs and not self._to_build and not self._builds:
            return None
        return self._reason(bool(known))

    def _reason(self, busy: bool) -> Fatal:
        remote, pool = self._remote, self._pool
        if pool.trouble is not None:
            return Fatal(pool.trouble.message, pool.trouble.hint)
        if busy:
            return Fatal(
                f"all devices of key {remote.key!r} at {remote.tracker} have been busy for "
                f"{remote.wait_s * _BUSY_PATIENCE:g} s",
                "`tunekit devices` shows who waits",
            )
        if pool.refused:
            reasons = "; ".join(f"{name}: {text}" for name, text in pool.refused.items())
            return Fatal(
                f"no device of key {remote.key!r} can run what is built for it: {reasons}",
                "is --target (the recipe's `target`) the device's, and --cc its compiler?",
            )
        return Fatal(
            f"the tracker at {remote.tracker} had no device of key {remote.key!r} for "
            f"{remote.wait_s:g} s",
            f"on the device, run: {server_command(remote.tracker, remote.key)}",
        )

    # -- listening ----------------------------------------------------------------------------

    def _listen(self) -> None:
        """Waits for whatever happens next, and handles it."""
        active = [*self._builds, *self._referring, *self._visits]
        # Not longer than a moment: trackers and patience end without a sound.
        limit = min([time.monotonic() + _POLL_S, *(process.deadline for process in active)])
        ready = wait(
            [
                *([self._control] if self.early is None else []),
                *(process.connection for process in active),
                *(request.connection for request in self._pool.requests),
            ],
            timeout=max(limit - time.monotonic(), 0.0),
        )
        if self._control in ready:
            try:
                self.early = self._control.recv()
            except (EOFError, OSError):
                raise TunerGone from None
        self._pool.collect(ready)
        now = time.monotonic()
        for build in list(self._builds):
            if build.connection in ready:
                self._hear_build(build, session.receive(build.connection))
            elif now >= build.deadline:
                self._build_took_too_long(build)
        for reference in list(self._referring):
            if reference.connection in ready:
                self._hear_reference(reference, session.receive(reference.connection))
            elif now >= reference.deadline:
                self._reference_took_too_long(reference)
        for visit in list(self._visits):
            if visit.connection in ready:
                self._hear_visit(visit, session.receive(visit.connection))
            elif now >= visit.deadline:
                self._visit_took_too_long(visit)

    def _leave(self, visit: _Visit) -> None:
        self._visits.remove(visit)
        self._end(visit)

    def _fork(self, job: Any) -> tuple[int, Connection]:
        return session.fork(job, [self._control, *self._pool.requests])

    @staticmethod
    def _end(process: _Process) -> None:
        process.connection.close()
        session.end(process.pid)

    def _fail(self, item: _Item, kind: FailureKind, text: str, device: str | None = None) -> None:
        self._control.send(
            MeasureResult(
                key=item.candidate.key,
                samples_s=None,
                failure=kind,
                text=text[:_TEXT_LIMIT],
                build_s=item.build_s,
                measure_s=item.measure_s,
                device=device,
            )
        )
