"""A batch on this machine: candidates are built, wait for their turns, and are measured.

All of them are built (several at a time) before the first is measured (one at a time), so that
building never disturbs a measurement, unless `MeasureOptions.overlap` is set.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Literal

from tunekit.catalogue.entries import Failure, FailureKind
from tunekit.measure import verdict
from tunekit.measure.correctness import References
from tunekit.measure.local.candidate_process import (
    Shared,
    measure_candidate,
)
from tunekit.measure.local.protocol import LocalRequest
from tunekit.measure.measurer import Candidate
from tunekit.measure.messages import Built, Checked, Failed, Late, Measured
from tunekit.measure.noise_guard import Calibration, Reading, UsualSpeed
from tunekit.measure.reference_runs import ReferenceRun, ReferenceRuns
from tunekit.measure.timing import Bests, Measurement, MeasureOrder
from tunekit.measure.verdict import Pending
from tunekit.processes.child import Child
from tunekit.processes.pool import ChildPool

if TYPE_CHECKING:
    from tunekit.measure.correctness import Array

#: Built candidates wait in their processes; this many at most, to bound their memory.
PARKED_LIMIT = 16
# Rounds that a candidate may have beyond those asked for, while the host is slow: in finals, which
# such a spell would decide, and else.
_MORE_ROUNDS_OF_FINALS, _MORE_ROUNDS = 9, 2

_Stage = Literal["building", "parked", "running", "being checked", "done"]


@dataclass
class LocalAssets:
    """What the server has for all its batches.

    Attributes:
        children: all its children.
        pool: random floats.
        references: what outputs are compared with.
        usual: the host's usual speed.
        calibration: the calibration kernel, None without the noise guard.
    """

    children: ChildPool
    pool: Array
    references: References = field(default_factory=References)
    usual: UsualSpeed = field(default_factory=UsualSpeed)
    calibration: Calibration | None = None


@dataclass(eq=False)
class _Job(Pending):
    """A candidate and its process.

    Attributes:
        process: builds, measures and compares.
        deadline: when the stage has taken too long.
        stage: what the process does.
        stage_began: when it began to.
        rounds: how often it has been measured.
    """

    process: Child = field(kw_only=True)
    deadline: float = field(kw_only=True)
    stage: _Stage = "building"
    stage_began: float = field(default_factory=time.monotonic)
    rounds: int = 0

    def enter(self, stage: _Stage, limit_s: float = math.inf) -> None:
        """Begins another stage, which has its own time limit."""
        now = time.monotonic()
        if self.stage == "building":
            self.build_s = now - self.stage_began
        elif self.stage != "parked":
            self.measure_s += now - self.stage_began
        self.stage, self.stage_began, self.deadline = stage, now, now + limit_s


class LocalBatch:
    """Candidates of one request, as many as may be parked, from their builds to their results."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        request: LocalRequest,
        assets: LocalAssets,
        control: Connection,
    ) -> None:
        self._options = request.options
        self._rounds = request.rounds
        self._assets = assets
        self._children = assets.children
        self._usual = assets.usual
        self._control = control
        self._bests = Bests()
        self._to_build = list(reversed(candidates))
        options = request.options
        self._reference_runs = ReferenceRuns(
            candidates,
            assets.references,
            assets.pool,
            options.target if options.device == "cpu" else "llvm",
        )
        self._building: list[_Job] = []
        self._parked: list[_Job] = []
        # One at a time.
        self._running: list[_Job] = []

    def run(self) -> bool:
        """Builds and measures the candidates; False when the tuner has gone away."""
        while True:
            self._start_builds()
            self._start_turn()
            active: list[_Job | ReferenceRun] = [
                *self._reference_runs.running,
                *self._building,
                *self._running,
            ]
            if not active:
                return True
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
                    message = Late()
                else:
                    continue
                if isinstance(job, ReferenceRun):
                    self._reference_runs.take(job, message)
                    self._children.end(job.process)
                else:
                    self._take(job, message)

    # -- what begins --------------------------------------------------------------------------

    def _start_builds(self) -> None:
        while len(self._building) + len(self._reference_runs.running) < self._options.jobs:
            # What leads is compared with the outputs of its reference: those come first.
            if self._reference_runs.start_next(self._fork):
                continue
            if not self._to_build:
                return
            self._start_build(self._to_build.pop())

    def _start_build(self, candidate: Candidate) -> None:
        assets = self._assets
        memory = assets.references.memory(candidate.workload_json)
        process = self._fork(
            functools.partial(
                measure_candidate,
                options=self._options,
                candidate=candidate,
                shared=Shared(assets.pool, assets.calibration, memory),
            )
        )
        measured = Measurement(noise_guard=self._options.noise_guard)
        deadline = process.started + self._options.build_timeout_s
        self._building.append(_Job(candidate, measured, process=process, deadline=deadline))

    def _fork(self, job: Callable[[Connection], None]) -> Child:
        return self._children.fork(job, memory_bytes=self._options.memory_bytes)

    def _start_turn(self) -> None:
        """Gives a parked candidate its turn, if it is quiet enough for one."""
        while self._parked and not self._running and self._is_quiet_enough():
            # In the batch's order, not in that of the builds: the same each time.
            job = min(self._parked, key=lambda job: (job.rounds, job.candidate.key))
            self._parked.remove(job)
            self._running.append(job)
            if self._has_lost(job):
                self._conclude(job)
            else:
                self._order_measurement(job)

    def _is_quiet_enough(self) -> bool:
        """Whether something may be measured now, beside what is being built or has still to be."""
        if self._options.overlap and self._rounds == 1:
            # What leads is compared with expected outputs: those have to be there.
            return self._reference_runs.are_done
        return self._reference_runs.are_done and not (self._to_build or self._building)

    def _order_measurement(self, job: _Job) -> None:
        job.enter("running", self._options.run_timeout_s)
        job.process.send(
            MeasureOrder(
                job.candidate.slow_s,
                self._best_s(job),
                self._usual.seconds,
                once=self._rounds > 1,
            )
        )

    # -- what is said -------------------------------------------------------------------------

    def _take(self, job: _Job, message: Built | Measured | Checked | Failed | Late | None) -> None:
        """Takes in what a candidate's process says, or that it says nothing (any more)."""
        match message:
            case Built():
                self._building.remove(job)
                self._park(job)
            case Measured(readings=readings):
                self._take_readings(job, readings)
            case Checked(problem=""):
                self._finish(job)
            case Checked(problem=problem):
                self._fail(job, Failure(FailureKind.WRONG_OUTPUT, problem))
            case Failed(text=text):
                self._fail(job, verdict.of_text(text, job.stage))
            case Late():
                self._fail(job, self._late(job))
            case None:
                self._fail(job, verdict.of_exit(job.process.exit(), job.stage))

    def _take_readings(self, job: _Job, readings: Sequence[Reading]) -> None:
        job.measured.add(readings, self._usual)
        job.rounds += 1
        if job.rounds < self._rounds or self._is_worth_a_round(job):
            # To the end of the queue: the candidates take turns.
            self._running.remove(job)
            self._park(job)
            job.process.pause()
            # What a slow host made of it is no standard for the others.
            if self._rounds > 1 and not job.measured.is_disturbed(self._usual.seconds):
                self._note_best(job)
        else:
            self._conclude(job)

    # -- what becomes of a candidate ----------------------------------------------------------

    def _park(self, job: _Job) -> None:
        job.enter("parked")
        self._parked.append(job)

    def _conclude(self, job: _Job) -> None:
        """Has a measured candidate's outputs compared if it leads; is done with it otherwise."""
        workload = job.candidate.workload_json
        if workload is None or (self._rounds == 1 and job.measured.seconds >= self._best_s(job)):
            self._finish(job)
            return
        reference = self._assets.references.get(workload)
        if isinstance(reference, str):
            job.remark = f"the outputs were not compared: {reference}"
            self._finish(job)
            return
        job.enter("being checked", self._options.run_timeout_s)
        job.process.send(reference)

    def _finish(self, job: _Job) -> None:
        self._note_best(job)
        self._end(job)
        self._control.send(job.result())

    def _fail(self, job: _Job, failure: Failure) -> None:
        self._end(job)
        self._control.send(job.failed(failure))

    def _end(self, job: _Job) -> None:
        """Who hears of a result may rely on nothing being left of its candidate."""
        (self._building if job in self._building else self._running).remove(job)
        job.enter("done")
        self._children.end(job.process)

    def _late(self, job: _Job) -> Failure:
        if job.stage == "building":
            return verdict.late_build(self._options.build_timeout_s)
        return verdict.late_measurement(self._options.run_timeout_s)

    # -- who leads ----------------------------------------------------------------------------

    def _has_lost(self, job: _Job) -> bool:
        """Whether further turns are not worth their time: see `Measurement.has_lost`."""
        return job.candidate.workload_json is not None and job.measured.has_lost(
            self._best_s(job), self._usual.seconds
        )

    def _is_worth_a_round(self, job: _Job) -> bool:
        """Whether a candidate has met a slow host in all its rounds: such spells last for seconds,
        so that it may meet a quiet one after the others have had their turn."""
        more = _MORE_ROUNDS_OF_FINALS if self._rounds > 1 else _MORE_ROUNDS
        return (
            self._rounds <= job.rounds < self._rounds + more
            and job.measured.is_disturbed(self._usual.seconds)
            and not job.measured.is_out_of_reach(self._best_s(job))
        )

    def _best_s(self, job: _Job) -> float:
        """Seconds of the fastest other candidate of the job's workload, infinite without one."""
        candidate = job.candidate
        known = math.inf if candidate.best_s is None else candidate.best_s
        return min(known, self._bests.beside(candidate.workload_json, candidate.key))

    def _note_best(self, job: _Job) -> None:
        self._bests.note(job.candidate.workload_json, job.candidate.key, job.measured.seconds)
