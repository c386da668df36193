"""Candidates become files, several at a time, and their expected outputs are computed beside."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.entries import Failure
from tunekit.measure import verdict
from tunekit.measure.build import build_to_file, with_packed_weights
from tunekit.measure.correctness import References
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.measure.messages import Built, Failed, Late, answer
from tunekit.measure.reference_runs import ReferenceRun, ReferenceRuns
from tunekit.measure.remote.job import Job, RemoteCandidate
from tunekit.measure.remote.protocol import Linking, RemoteRequest
from tunekit.measure.timing import Measurement
from tunekit.processes.child import Child
from tunekit.processes.pool import ChildPool

if TYPE_CHECKING:
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
        self._reference_runs = ReferenceRuns(
            request.candidates, assets.references, assets.pool, "llvm"
        )
        self._building: list[_Build] = []
        self._built: list[RemoteCandidate] = []

    @property
    def running(self) -> Sequence[_Build | ReferenceRun]:
        """What has a process."""
        return [*self._building, *self._reference_runs.running]

    @property
    def are_done(self) -> bool:
        """Whether all candidates are built or have failed, and have been taken by `jobs`."""
        return self._reference_runs.are_done and not self.candidates_left and not self._built

    @property
    def candidates_left(self) -> bool:
        """Whether there are candidates that are still to be built."""
        return bool(self._to_build or self._building)

    def start(self) -> None:
        """Starts as many as may run at a time, references first."""
        while len(self.running) < self._options.jobs:
            if self._reference_runs.start_next(self._fork):
                continue
            if not self._to_build:
                return
            self._start_build(self._to_build.popleft())

    def take(self, job: _Build | ReferenceRun, message: Any) -> None:
        """Takes in what the process of a job says, or that it says nothing (any more)."""
        if isinstance(job, ReferenceRun):
            self._reference_runs.take(job, message)
            self._assets.children.end(job.process)
        else:
            self._take_build(job, message)

    def jobs(self) -> list[Job]:
        """Jobs for devices, of what is built: those that take turns have to meet the same device,
        and outputs have to be there before they are compared."""
        if self._rounds > 1:
            if not self._built or self.candidates_left or not self._reference_runs.are_done:
                return []
            jobs = [Job(sorted(self._built, key=lambda pending: pending.candidate.key))]
            self._built = []
            return jobs
        unknown = self._reference_runs.unknown
        ready = [
            pending for pending in self._built if pending.candidate.workload_json not in unknown
        ]
        self._built = [pending for pending in self._built if pending not in ready]
        return [Job([pending]) for pending in ready]

    def close(self) -> None:
        """Ends the processes."""
        for job in self.running:
            self._assets.children.end(job.process)
        self._reference_runs.give_up()
        self._building.clear()

    def _start_build(self, pending: RemoteCandidate) -> None:
        work = functools.partial(
            _build_files, pending.candidate, self._options, self._linking, pending.path
        )
        process = self._fork(functools.partial(answer, work=work))
        deadline = process.started + self._options.build_timeout_s
        self._building.append(_Build(process, deadline, pending))

    def _fork(self, job: Callable[[Connection], None]) -> Child:
        return self._assets.children.fork(
            job,
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
