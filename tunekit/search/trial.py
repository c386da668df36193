"""What goes into a trial and what comes out of it.

These cross the process boundary between the tuner and the measuring server as pickles, so they
hold text and numbers only: neither side needs the other's TVM objects.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunekit.catalogue.entries import FailureKind


@dataclass(frozen=True)
class TensorArgument:
    """One tensor that a candidate's function takes, outputs included."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Candidate:
    """A scheduled function to be built and measured.

    Attributes:
        key: identifies it within its batch.
        module_json: the scheduled TIR module by `tvm.ir.save_json`.
        arguments: what its `main` takes, in order.
        slow_s: a candidate whose first timed run takes longer than this is not timed again.
    """

    key: int
    module_json: str
    arguments: tuple[TensorArgument, ...]
    slow_s: float


@dataclass(frozen=True)
class MeasureOptions:
    """How candidates are built and measured.

    Attributes:
        target: the target as canonical JSON.
        device: TVM device that runs the code, "cpu" or "cuda".
        repeat: samples of a candidate.
        min_repeat_ms: shortest sample; short functions run several times in one, in milliseconds.
        build_timeout_s: limit of one build.
        run_timeout_s: limit of one candidate's whole measurement.
        jobs: builds at a time.
        threads: threads of the measured code.
        cache_flush: evict the caches before each run.
        memory_bytes: limit of one candidate's data segment.
    """

    target: str
    device: str
    repeat: int
    min_repeat_ms: int
    build_timeout_s: float
    run_timeout_s: float
    jobs: int
    threads: int
    cache_flush: bool
    memory_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate: seconds of each run, or a failure with its text."""

    key: int
    run_seconds: tuple[float, ...] | None
    failure: FailureKind | None
    text: str
    build_s: float
    run_s: float
