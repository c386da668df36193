"""What becomes of a candidate, here and on remote devices alike: its result, or which kind of
failure it was, by the stage that it was in and by how that ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from tunekit.catalogue.entries import Failure, FailureKind
from tunekit.measure.measurer import Candidate, MeasureResult
from tunekit.measure.timing import Measurement
from tunekit.processes.exit import Exit

BUILDING = "building"
_OUT_OF_MEMORY_WORDS = ("bad_alloc", "MemoryError", "Cannot allocate memory")
# Of a text, what is sent to the tuner.
_TEXT_LIMIT = 2000


def of_exit(ended: Exit | None, stage: str) -> Failure:
    """Of a candidate whose process broke its connection off: how that ended, None if it lives on.

    Args:
        ended: how the process ended.
        stage: what it was doing, as "building" or "running".
    """
    if ended is None:
        return Failure(FailureKind.CRASH, f"broke its connection off while {stage}")
    text = f"{ended} while {stage}"
    if ended.signal == signal.SIGKILL:
        # Nobody but the kernel's memory killer sends that to a child that is in time.
        return Failure(FailureKind.OUT_OF_MEMORY, text)
    if ended.signal == signal.SIGILL:
        text += ": the target has instructions that this CPU does not"
    return Failure(FailureKind.CRASH, text)


def of_text(text: str, stage: str) -> Failure:
    """Of a candidate whose process lived on to say what went wrong in a stage."""
    if any(words in text for words in _OUT_OF_MEMORY_WORDS):
        return Failure(FailureKind.OUT_OF_MEMORY, text)
    kind = FailureKind.BUILD_ERROR if stage == BUILDING else FailureKind.RUN_ERROR
    return Failure(kind, text)


def late_build(limit_s: float) -> Failure:
    """Of a candidate whose build took longer than it may."""
    return Failure(FailureKind.BUILD_TIMEOUT, f"not built within {limit_s:g} s")


def late_measurement(limit_s: float, where: str = "") -> Failure:
    """Of a candidate whose measurement took longer than it may; `where` is " on DEVICE"."""
    return Failure(FailureKind.RUN_TIMEOUT, f"not measured within {limit_s:g} s{where}")


@dataclass(eq=False)
class Pending:
    """A candidate without a result yet.

    Attributes:
        candidate: what it is.
        measured: its readings so far.
        build_s: wall seconds of its build.
        measure_s: wall seconds of its measurement so far.
        remark: why its outputs cannot be compared, "" if they can.
    """

    candidate: Candidate
    measured: Measurement
    build_s: float = 0.0
    measure_s: float = 0.0
    remark: str = ""

    def result(self, device: str | None = None) -> MeasureResult:
        """The result of a good candidate, by what has been measured.

        Args:
            device: name of the remote device that measured.
        """
        return MeasureResult(
            key=self.candidate.key,
            samples_s=self.measured.samples,
            failure=None,
            text=self.remark[:_TEXT_LIMIT],
            build_s=self.build_s,
            measure_s=self.measure_s,
            calibration_s=self.measured.calibration_s,
            slowdown=self.measured.slowdown,
            device=device,
        )

    def failed(self, failure: Failure, device: str | None = None) -> MeasureResult:
        """The result of a candidate that failed."""
        return MeasureResult(
            key=self.candidate.key,
            samples_s=None,
            failure=failure.kind,
            text=failure.text[:_TEXT_LIMIT],
            build_s=self.build_s,
            measure_s=self.measure_s,
            device=device,
        )
