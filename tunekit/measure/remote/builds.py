"""Candidates become files, several at a time, and their expected outputs are computed beside."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.entries import Failure
from tunekit.measure import verdict
from tunekit.measure.build import build_to_file, with_packed_weights
from tunekit.measure.correctness import REFERENCE_LIMIT_S, Expected, References, compute_expected
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.measure.messages import Built, Failed, Late, answer
from tunekit.measure.remote.job import Job, RemoteCandidate
from tunekit.measure.remote.protocol import Linking, RemoteRequest
from tunekit.measure.timing import Measurement
from tunekit.processes.child import Child
from tunekit.processes.pool import ChildPool

if TYPE_CHECKING:
    import mmap

    from tunekit.measure.correctness import Array
    from tunekit.measure.remote.devices import DevicePool


@dataclass(frozen=True)
class ServerAssets:
    """What the server has for all its batches.

    Attributes:
        children: all its children.
        probe: a library that any device of the target must be able to run.
        calibration: a library with the calibration kernel, None without the noise guard.
        references: what outputs are compared with.
        pool: random floats.
    """

    children: ChildPool
    probe: Path
    calibration: Path | None
    references: References
    pool: Array


@dataclass(eq=False)
class _Build:
    """A candidate that is being built."""

    process: Child
    deadline: float
    pending: RemoteCandidate


@dataclass(eq=False)
class _Reference:
    """The computation of the expected outputs of a candidate's workload."""

    process: Child
    deadline: float
    candidate: Candidate


class Builds:
    """All builds of a batch.

    Args:
        request: the batch.
        assets: what the server has.
        devices: whose open connections are not for children.
        folder: takes the files.
        tell: is given the result of a candidate that could not be built.
    """

    def __init__(
        self,
        request: RemoteRequest,
        assets: ServerAssets,
        devices: DevicePool,
        folder: Path,
        tell: Callable[[MeasureResult], None],
    ) -> None:
        self._options = request.options
        self._linking = request.remote.linking
        self._rounds = request.rounds
        self._assets = assets
        self._devices = devices
        self._tell = tell
        self._to_build = deque(
            RemoteCandidate(
                candidate,
                Measurement(noise_guard=request.options.noise_guard),
                path=folder / f"candidate{candidate.key}{self._linking.suffix}",
            )
            for candidate in request.candidates
        )
        self._to_refer = deque(
            candidate
            for candidate in request.candidates
            if candidate.workload_json is not None
            and assets.references.make_room(
                candidate.workload_json, candidate.unscheduled_arguments
            )
        )
        self._building: list[_Build] = []
        self._referring: list[_Reference] = []
        self._built: list[RemoteCandidate] = []

    @property
    def running(self) -> Sequence[_Build | _Reference]:
        """What has a process."""
        return [*self._building, *self._referring]

    @property
    def are_done(self) -> bool:
        """Whether all candidates are built or have failed, and have been taken by `jobs`."""
        return not (self.running or self._to_build or self._to_refer or self._built)

    @property
    def candidates_left(self) -> bool:
        """Whether there are candidates that are still to be built."""
        return bool(self._to_build or self._building)

    def start(self) -> None:
        """Starts as many as may run at a time, references first."""
        while len(self.running) < self._options.jobs:
            if self._to_refer:
                self._start_reference(self._to_refer.popleft())
            elif self._to_build:
                self._start_build(self._to_build.popleft())
            else:
                return

    def take(self, job: _Build | _Reference, message: Any) -> None:
        """Takes in what the process of a job says, or that it says nothing (any more)."""
        if isinstance(job, _Reference):
            self._take_reference(job, message)
        else:
            self._take_build(job, message)

    def jobs(self) -> list[Job]:
        """Jobs for devices, of what is built: those that take turns have to meet the same device,
        and outputs have to be there before they are compared."""
        if self._rounds > 1:
            if not self._built or self.running or self._to_build or self._to_refer:
                return []
            jobs = [Job(sorted(self._built, key=lambda pending: pending.candidate.key))]
            self._built = []
            return jobs
        unreferred = {candidate.workload_json for candidate in self._to_refer} | {
            reference.candidate.workload_json for reference in self._referring
        }
        ready = [
            pending for pending in self._built if pending.candidate.workload_json not in unreferred
        ]
        self._built = [pending for pending in self._built if pending not in ready]
        return [Job([pending]) for pending in ready]

    def close(self) -> None:
        """Ends the processes."""
        for job in self.running:
            self._assets.children.end(job.process)
        for candidate in (*self._to_refer, *(job.candidate for job in self._referring)):
            self._note_reference(candidate, "it was not computed to the end")
        self._building.clear()
        self._referring.clear()

    def _start_build(self, pending: RemoteCandidate) -> None:
        process = self._fork(
            lambda: _build_files(pending.candidate, self._options, self._linking, pending.path)
        )
        deadline = process.started + self._options.build_timeout_s
        self._building.append(_Build(process, deadline, pending))

    def _start_reference(self, candidate: Candidate) -> None:
        memory = self._assets.references.memory(candidate.workload_json)
        assert memory is not None
        process = self._fork(lambda: _refer(candidate, self._assets.pool, memory))
        self._referring.append(_Reference(process, process.started + REFERENCE_LIMIT_S, candidate))

    def _fork(self, work: Callable[[], object]) -> Child:
        return self._assets.children.fork(
            functools.partial(answer, work=work),
            inherited=self._devices.requests,
            memory_bytes=self._options.memory_bytes,
        )

    def _take_build(self, job: _Build, message: Built | Failed | Late | None) -> None:
        self._building.remove(job)
        failure: Failure | None = None
        match message:
            case None:
                failure = verdict.of_exit(job.process.exit(), verdict.BUILDING)
            case Failed(text=text):
                failure = verdict.of_text(text, verdict.BUILDING)
            case Late():
                failure = verdict.late_build(self._options.build_timeout_s)
            case Built():
                self._built.append(job.pending)
        self._assets.children.end(job.process)
        job.pending.build_s = time.monotonic() - job.process.started
        if failure is not None:
            self._tell(job.pending.failed(failure))

    def _take_reference(self, job: _Reference, message: Expected | Failed | Late | None) -> None:
        self._referring.remove(job)
        reference = verdict.reference_of(message, job.process)
        self._assets.children.end(job.process)
        self._note_reference(job.candidate, reference)

    def _note_reference(self, candidate: Candidate, reference: Expected | str) -> None:
        assert candidate.workload_json is not None
        self._assets.references.note(
            candidate.workload_json, reference, candidate.unscheduled_arguments
        )


def unpacked_library(path: Path) -> Path:
    """The library beside one at `path` that takes weights as the workload has them."""
    return path.with_stem(f"{path.stem}-unpacked")


def _build_files(
    candidate: Candidate, options: MeasureOptions, linking: Linking, path: Path
) -> Built:
    """A candidate's file, and another one for the comparison of its outputs where it needs that."""
    import tvm

    module = tvm.ir.load_json(candidate.module_json)
    build_to_file(with_packed_weights(module), options, linking.compiler, path)
    if candidate.packs_weights and candidate.workload_json is not None:
        build_to_file(module, options, linking.compiler, unpacked_library(path))
    return Built()


def _refer(candidate: Candidate, pool: Array, memory: mmap.mmap) -> Expected:
    """The expected outputs of a candidate's workload, computed on this machine."""
    import tvm

    return compute_expected(candidate, tvm.target.Target("llvm"), pool, memory)
