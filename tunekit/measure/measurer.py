"""What goes into a trial and what comes out of it.

These cross the process boundary between the tuner and the measuring server as pickles, so they
hold text and numbers only: neither side needs the other's TVM objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from tunekit.catalogue.conditions import CpuCache
from tunekit.catalogue.entries import FailureKind, corrected_mean


@dataclass(frozen=True)
class TensorArgument:
    """One tensor that a candidate's function takes, outputs included."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Its size."""
        import numpy as np

        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Candidate:
    """A scheduled function to be built and measured.

    Attributes:
        key: identifies it within its batch.
        module_json: the scheduled TIR module by `tvm.ir.save_json`.
        arguments: what its `main` takes, in order.
        slow_s: a candidate whose first timed runs take longer than this is not timed again.
        best_s: seconds of the task's best so far, None before there is one. What comes near it is
            timed more often.
        workload_json: the unscheduled module, saved likewise. With it, outputs are compared with
            those that it computes: of each candidate that is faster than `best_s` and all before it
            in its batch, and of all where there are several rounds.
        workload_arguments: what the unscheduled `main` takes, None if the same: schedules may
            change the layout of weights.
        constants: positions of the arguments that are constants of the model, such as weights.
    """

    key: int
    module_json: str
    arguments: tuple[TensorArgument, ...]
    slow_s: float
    best_s: float | None = None
    workload_json: str | None = None
    workload_arguments: tuple[TensorArgument, ...] | None = None
    constants: tuple[int, ...] = ()

    @property
    def unscheduled_arguments(self) -> tuple[TensorArgument, ...]:
        """What the unscheduled `main` takes, in order."""
        return self.workload_arguments or self.arguments

    @property
    def packs_weights(self) -> bool:
        """Whether it takes its weights in another layout than its workload has them."""
        return "layout_rewrite" in self.module_json


@dataclass(frozen=True)
class MeasureOptions:
    """How candidates are built and measured.

    Attributes:
        target: the target as canonical JSON.
        device: TVM device that runs the code, "cpu" or "cuda".
        repeat: samples of a candidate; what takes longer than `min_repeat_ms` gets fewer, but not
            less than three, so that all of them get the same time.
        min_repeat_ms: shortest sample; short functions run several times in one, in milliseconds.
        build_timeout_s: limit of one build.
        run_timeout_s: limit of one candidate's whole measurement.
        jobs: builds at a time.
        threads: threads of the measured code.
        cpu_cache: what each timed run finds in the caches.
        memory_bytes: limit of one candidate's data segment.
        noise_guard: see `tunekit.measure.noise_guard`; without it the mean of the samples counts.
        overlap: measure while other candidates of the batch are still being built. Where there are
            several rounds never: their candidates take turns.
        huge_pages: arguments lie in huge pages, as in a library that asks for them. Here only.
    """

    target: str
    device: str
    repeat: int
    min_repeat_ms: int
    build_timeout_s: float
    run_timeout_s: float
    jobs: int
    threads: int
    cpu_cache: CpuCache
    memory_bytes: int
    noise_guard: bool = True
    overlap: bool = False
    huge_pages: bool = False

    def recorded(self) -> dict[str, Any]:
        """What a result depends on, as the catalogue keeps it; who measured and how many builds ran
        at a time is not part."""
        return {
            "repeat": self.repeat,
            "min_repeat_ms": self.min_repeat_ms,
            "threads": self.threads,
            "cache": self.cpu_cache,
            "overlap": self.overlap,
            "huge_pages": self.huge_pages,
        }


@dataclass(frozen=True)
class MeasureResult:
    """What became of a candidate: seconds of each run, or a failure with its text.

    Attributes:
        key: the candidate's.
        samples_s: raw seconds of each sample, None for a failure.
        failure: why there are no seconds.
        text: of the failure; of a good result "", or why its outputs could not be compared.
        build_s: wall seconds of the build.
        measure_s: wall seconds of the measurement, its repeats and warm-up included.
        calibration_s: seconds of the calibration kernel timed beside the samples, None where none
            was.
        slowdown: how many times slower than its usual self the host was meanwhile (1.0 = not at
            all), None where that is not known: the mean of the samples by what the candidate takes
            on the undisturbed host.
        device: name of the remote device that measured, None for this machine.
    """

    key: int
    samples_s: tuple[float, ...] | None
    failure: FailureKind | None
    text: str
    build_s: float
    measure_s: float
    calibration_s: float | None = None
    slowdown: float | None = None
    device: str | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds of one run on the undisturbed host, as well as they are known; what ranks."""
        if not self.samples_s:
            return None
        return corrected_mean(self.samples_s, self.slowdown)


class Measurer(Protocol):
    """Whatever builds and measures candidates, on this machine or on others.

    A context manager; what it started ends with the block, or with `close`.
    """

    @property
    def options(self) -> MeasureOptions:
        """How it measures."""

    def start(self) -> None:
        """Begins to get ready and does not wait for it: the tuner searches meanwhile."""

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        """Exactly one result for each candidate, as soon as it is known, in no promised order.

        With several `rounds` the candidates are measured in turns, and a result has the seconds
        of all its rounds. What goes wrong with a candidate is its result, and so is a measurer
        that dies under it (`FailureKind.LOST_DEVICE`).

        Raises:
            TunekitError: nothing can be measured at all.
        """

    def close(self) -> None:
        """Ends it and whatever it is measuring."""

    def __enter__(self) -> Measurer: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
