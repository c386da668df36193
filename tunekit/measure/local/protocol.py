"""What the tuner asks of the measuring server; text and numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunekit.measure.measurer import Candidate, MeasureOptions


@dataclass(frozen=True)
class LocalRequest:
    """A batch, or none: to get ready for one. Answered with a `MeasureResult` for each candidate.

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
