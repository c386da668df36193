"""The measuring server: forks one process for each candidate, from one that is warm.

`import tvm` takes seconds, building a candidate a tenth of one. So this process imports TVM once,
starts none of its threads, and forks: a child builds its candidate, waits for its turn, runs it
straight from the JIT, reports, and is gone (`tunekit.measure.local.candidate_process`). All
candidates of a batch are built (several at a time) before the first of them is measured (one at a
time), so that building never disturbs a measurement, unless `MeasureOptions.overlap` is set.

Started as ``python -m tunekit.measure.local.server FD``; speaks pickles over that socket, whose
closing ends it and its children: it takes one `Request` after the other and answers each with an
`MeasureResult` for every candidate.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from tunekit.catalogue.entries import FailureKind
from tunekit.measure import verdict
from tunekit.measure.correctness import (
    REFERENCE_LIMIT_S,
    Expected,
    References,
    random_pool,
)
from tunekit.measure.local.candidate_process import Shared, candidate_main, reference_main
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.measure.noise_guard import Calibration, UsualSpeed
from tunekit.measure.timing import Bests, Measurement, MeasureOrder
from tunekit.processes.child import adopt_orphans
from tunekit.processes.exit import Exit
from tunekit.processes.pool import Family, Member

# Built candidates wait in their processes; this many at most, to bound their memory.
_PARKED_LIMIT = 16
_TEXT_LIMIT = 2000
# Rounds that a candidate may have beyond those asked for, while the host is slow: in finals, which
# such a spell would decide, and else.
_MORE_ROUNDS_OF_FINALS, _MORE_ROUNDS = 9, 2


@dataclass(frozen=True)
class Request:
    """A batch, or none: to get ready for one.

    Attributes:
        options: how to measure.
        candidates: what to measure.
        rounds: how often, in turns; those that have clearly lost to another of their workload take
            part in no more of them.
        calibrations: seconds of the calibration kernel that servers before this one have seen.
    """

    options: MeasureOptions
    candidates: Sequence[Candidate] = ()
    rounds: int = 1
    calibrations: Sequence[float] = ()


@dataclass
class _Job:
    """A candidate's process, or the one that computes the expected outputs of its workload."""

    candidate: Candidate
    process: Member
    deadline: float
    measured: Measurement
    reference: bool = False
    stage: str = "building"
    stage_began: float = field(default_factory=time.monotonic)
    build_s: float = 0.0
    measure_s: float = 0.0
    rounds: int = 0
    remark: str = ""

    def enter(self, stage: str, limit_s: float) -> None:
        """Begins another stage, which has its own time limit."""
        now = time.monotonic()
        if self.stage == "building":
            self.build_s = now - self.stage_began
        elif self.stage != "parked":
            self.measure_s += now - self.stage_began
        self.stage, self.stage_began, self.deadline = stage, now, now + limit_s


class _Server:
    """Works off one request at a time."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._pool = random_pool()
        self._family = Family(control)
        self._references = References()
        self._usual = UsualSpeed()
        self._calibration: Calibration | None = None
        self._calibrated_for: tuple[str, int] | None = None

    def serve(self) -> None:
        while True:
            try:
                request: Request = self._control.recv()
            except (EOFError, ConnectionResetError):
                return
            self._prepare(request)
            waiting = list(request.candidates)
            while waiting:
                part, waiting = waiting[:_PARKED_LIMIT], waiting[_PARKED_LIMIT:]
                try:
                    if not self._work_off(part, request):
                        return
                finally:
                    self._family.end_all()

    def _prepare(self, request: Request) -> None:
        options = request.options
        for seconds in request.calibrations:
            self._usual.note(seconds)
        kind = (options.target, options.threads)
        if not options.noise_guard or options.device != "cpu":
            self._calibration, self._calibrated_for = None, None
        elif self._calibrated_for != kind:
            self._calibration, self._calibrated_for = Calibration(*kind), kind

    def _work_off(self, candidates: Sequence[Candidate], request: Request) -> bool:
        """Builds and measures candidates; False when the tuner has gone away."""
        options = request.options
        to_start = [(candidate, False) for candidate in reversed(candidates)]
        for candidate in candidates:
            workload = candidate.workload_json
            if workload is not None and self._references.make_room(
                workload, candidate.unscheduled_arguments
            ):
                to_start.append((candidate, True))
        building: list[_Job] = []
        parked: list[_Job] = []
        running: list[_Job] = []
        bests = Bests()
        while to_start or building or parked or running:
            while to_start and len(building) < options.jobs:
                building.append(self._start(options, *to_start.pop()))
            if parked and not running and _quiet_enough(request, to_start, building):
                # In the batch's order, not in that of the builds: the same each time.
                job = min(parked, key=lambda job: (job.rounds, job.candidate.key))
                parked.remove(job)
                if not self._has_lost(job, bests):
                    self._order_measurement(job, request, bests)
                elif not self._conclude(job, request, bests):
                    continue
                running.append(job)
            active = building + running
            limit = min(job.deadline for job in active) - time.monotonic()
            ready = wait(
                [self._control, *(job.process.connection for job in active)], max(limit, 0.0)
            )
            if self._control in ready:
                # A request is answered before the next is sent: this is the socket closing.
                return False
            for job in active:
                if job.process.connection in ready:
                    message = job.process.receive()
                elif time.monotonic() >= job.deadline:
                    message = ("late",)
                else:
                    continue
                at = building if job in building else running
                if self._take(job, message, request, bests):
                    continue
                at.remove(job)
                if job.stage == "parked":
                    parked.append(job)
        return True

    def _start(self, options: MeasureOptions, candidate: Candidate, reference: bool) -> _Job:
        life = reference_main if reference else candidate_main
        shared = Shared(
            self._pool, self._calibration, self._references.memory(candidate.workload_json)
        )
        limit_s = REFERENCE_LIMIT_S if reference else options.build_timeout_s
        process = self._family.fork(
            lambda connection, parent: life(connection, parent, options, candidate, shared)
        )
        measured = Measurement(noise_guard=options.noise_guard)
        return _Job(candidate, process, time.monotonic() + limit_s, measured, reference)

    def _order_measurement(self, job: _Job, request: Request, bests: Bests) -> None:
        job.enter("running", request.options.run_timeout_s)
        job.process.tell(
            "measure",
            MeasureOrder(
                job.candidate.slow_s,
                _best(job, bests),
                self._usual.seconds,
                once=request.rounds > 1,
            ),
        )

    def _take(
        self,
        job: _Job,
        message: tuple[Any, ...] | None,
        request: Request,
        bests: Bests,
    ) -> bool:
        """Takes a message in; True when the job goes on with what it is doing.

        Otherwise it is parked, or done with: then its outcome has been sent.
        """
        options = request.options
        if job.reference:
            self._take_reference(job, message)
            return False
        kind: FailureKind | None = None
        text = ""
        if message is None:
            kind, text = _died(job, job.stage)
        elif message[0] == "late":
            kind, text = _late(job, options)
        elif message[0] == "failed":
            kind, text = _failed(job, str(message[1]))
        elif message[0] == "built":
            job.enter("parked", math.inf)
            return False
        elif message[0] == "measured":
            job.measured.add(message[1], self._usual)
            job.rounds += 1
            if job.rounds < request.rounds or self._is_worth_a_round(job, request, bests):
                # To the end of the queue: the candidates take turns.
                job.enter("parked", math.inf)
                job.process.pause()
                # What a slow host made of it is no standard for the others.
                if request.rounds > 1 and not job.measured.is_disturbed(self._usual.seconds):
                    _note_best(job, bests)
                return False
            return self._conclude(job, request, bests)
        elif message[1]:
            kind, text = FailureKind.WRONG_OUTPUT, message[1]
        if kind is None:
            _note_best(job, bests)
        self._send(job, kind, text or job.remark, options)
        return False

    def _conclude(self, job: _Job, request: Request, bests: Bests) -> bool:
        """Has a measured candidate's outputs compared, or is done with it; True in the first
        case."""
        if self._order_check(job, request, bests):
            return True
        _note_best(job, bests)
        self._send(job, None, job.remark, request.options)
        return False

    def _has_lost(self, job: _Job, bests: Bests) -> bool:
        """Whether further turns are not worth their time: see `Measurement.has_lost`."""
        return job.candidate.workload_json is not None and job.measured.has_lost(
            _best(job, bests), self._usual.seconds
        )

    def _is_worth_a_round(self, job: _Job, request: Request, bests: Bests) -> bool:
        """Whether a candidate has met a slow host in all its rounds: such spells last for seconds,
        so that it may meet a quiet one after the others have had their turn."""
        more = _MORE_ROUNDS_OF_FINALS if request.rounds > 1 else _MORE_ROUNDS
        return (
            request.rounds <= job.rounds < request.rounds + more
            and job.measured.is_disturbed(self._usual.seconds)
            and not job.measured.is_out_of_reach(_best(job, bests))
        )

    def _order_check(self, job: _Job, request: Request, bests: Bests) -> bool:
        """Has the candidate's outputs compared if it leads; False when that is not to be."""
        workload = job.candidate.workload_json
        if workload is None or (request.rounds == 1 and job.measured.seconds >= _best(job, bests)):
            return False
        expected = self._references.get(workload)
        if isinstance(expected, str):
            job.remark = f"the outputs were not compared: {expected}"
            return False
        job.enter("being checked", request.options.run_timeout_s)
        job.process.tell("check", expected)
        return True

    def _take_reference(self, job: _Job, message: tuple[Any, ...] | None) -> None:
        found: Expected | str
        if message is None:
            found = _died(job, "the unscheduled function ran")[1]
        elif message[0] == "late":
            found = f"the unscheduled function takes longer than {REFERENCE_LIMIT_S:g} s"
        elif message[0] == "failed":
            found = str(message[1])
        else:
            found = message[1]
        self._family.end(job.process)
        assert job.candidate.workload_json is not None
        self._references.note(
            job.candidate.workload_json, found, job.candidate.unscheduled_arguments
        )

    def _send(
        self, job: _Job, kind: FailureKind | None, text: str, options: MeasureOptions
    ) -> None:
        job.enter("done", math.inf)
        # Who has heard of an outcome may rely on nothing being left of its candidate.
        self._family.end(job.process)
        good = kind is None
        self._control.send(
            MeasureResult(
                key=job.candidate.key,
                samples_s=job.measured.samples if good else None,
                failure=kind,
                text=text[:_TEXT_LIMIT],
                build_s=job.build_s,
                measure_s=job.measure_s,
                calibration_s=job.measured.calibration_s if good else None,
                slowdown=job.measured.slowdown if good else None,
            )
        )


def _quiet_enough(
    request: Request, to_start: Sequence[tuple[Candidate, bool]], building: Sequence[_Job]
) -> bool:
    """Whether something may be measured now, beside what is being built or has still to be."""
    if not request.options.overlap or request.rounds > 1:
        return not to_start and not building
    # What leads is compared with the unscheduled function's outputs: those have to be there.
    return not any(reference for _, reference in to_start) and not any(
        job.reference for job in building
    )


def _best(job: _Job, bests: Bests) -> float:
    """Seconds of the fastest other candidate of the job's workload, infinite without one."""
    candidate = job.candidate
    known = math.inf if candidate.best_s is None else candidate.best_s
    return min(known, bests.beside(candidate.workload_json, candidate.key))


def _note_best(job: _Job, bests: Bests) -> None:
    bests.note(job.candidate.workload_json, job.candidate.key, job.measured.seconds)


def _died(job: _Job, stage: str) -> tuple[FailureKind, str]:
    failure = verdict.of_exit(Exit.of_child(job.process.pid), stage)
    return failure.kind, failure.text


def _failed(job: _Job, text: str) -> tuple[FailureKind, str]:
    failure = verdict.of_text(text, job.stage)
    return failure.kind, failure.text


def _late(job: _Job, options: MeasureOptions) -> tuple[FailureKind, str]:
    failure = (
        verdict.late_build(options.build_timeout_s)
        if job.stage == verdict.BUILDING
        else verdict.late_measurement(options.run_timeout_s)
    )
    return failure.kind, failure.text


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
    _Server(control).serve()


if __name__ == "__main__":
    main()
