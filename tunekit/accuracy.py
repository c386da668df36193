"""How far one set of outputs is from another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class MatchedDetections:
    """How a detector's outputs were compared: detection by detection.

    Attributes:
        count: what the reference found.
        matched: how many of those the other run found, too.
        excused: how many one run found and the other did not, where a threshold lay so near that
            rounding decided.
    """

    count: int
    matched: int
    excused: int

    def __str__(self) -> str:
        text = f"{self.matched} of {self.count} detections matched"
        return text + (f", {self.excused} at a threshold" if self.excused else "")


@dataclass(frozen=True)
class Comparison:
    """Errors of outputs against a reference.

    Attributes:
        mse: over all elements of all outputs.
        max_abs_error: the largest of any output.
        max_abs_reference: the largest of any output.
        relative_error: the largest, over the outputs, of (max abs error / max abs reference) of
            one output, so that a small output cannot hide behind a large one.
        reason: why outputs cannot be compared (another count, shape or dtype, NaN or infinity at
            other places); their errors are infinite.
        not_numbers: elements that are NaN in both, which say little.
        detections: of a detector's outputs, which are matched: errors are of those that have a
            partner.
    """

    mse: float
    max_abs_error: float
    max_abs_reference: float
    relative_error: float
    reason: str | None = None
    not_numbers: int = 0
    detections: MatchedDetections | None = None

    def within(self, max_relative_error: float) -> bool:
        """Whether the relative error is finite and at most this."""
        return math.isfinite(self.relative_error) and self.relative_error <= max_relative_error


def compare(reference: Sequence[Array], actual: Sequence[Array]) -> Comparison:
    """Compare outputs, in order, with those of the reference; computed in float64.

    NaN and infinity are right where the reference has the same; errors are of the other elements.
    """
    import numpy as np

    if len(reference) != len(actual):
        return _incomparable(f"{len(actual)} outputs in place of {len(reference)}")
    squares, elements, unchecked = 0.0, 0, 0
    largest_error = largest_reference = largest_relative = 0.0
    for index, (expected, given) in enumerate(zip(reference, actual, strict=True)):
        if reason := _difference_in_kind(expected, given):
            return _incomparable(f"output {index} {reason}")
        finite = np.isfinite(expected)
        expected_values = expected[finite].astype(np.float64)
        difference = np.abs(given[finite].astype(np.float64) - expected_values)
        error = float(difference.max(initial=0.0))
        scale = float(np.abs(expected_values).max(initial=0.0))
        squares += float(np.square(difference).sum())
        elements += difference.size
        unchecked += int(np.count_nonzero(np.isnan(expected)))
        largest_error = max(largest_error, error)
        largest_reference = max(largest_reference, scale)
        if error > 0:
            largest_relative = max(largest_relative, error / scale if scale > 0 else math.inf)
    return Comparison(
        mse=squares / elements if elements else 0.0,
        max_abs_error=largest_error,
        max_abs_reference=largest_reference,
        relative_error=largest_relative,
        reason="an output of the reference is all zeros, the other is not"
        if math.isinf(largest_relative)
        else None,
        not_numbers=unchecked,
    )


def _difference_in_kind(expected: Array, given: Array) -> str | None:
    """What makes an output incomparable: shape, dtype, NaN or infinity at other places."""
    import numpy as np

    if expected.shape != given.shape:
        return f"has shape {list(given.shape)} in place of {list(expected.shape)}"
    if expected.dtype != given.dtype:
        return f"has dtype {given.dtype} in place of {expected.dtype}"
    if np.isfinite(expected).all() and np.isfinite(given).all():
        return None
    same = np.where(np.isfinite(expected), np.isfinite(given), expected == given)
    same |= np.isnan(expected) & np.isnan(given)
    wrong = int(expected.size - np.count_nonzero(same))
    if not wrong:
        return None
    return (
        f"holds NaN or infinity in other places than the reference, in {wrong} of {expected.size} "
        "elements"
    )


def _incomparable(reason: str) -> Comparison:
    return Comparison(math.inf, math.inf, math.nan, math.inf, reason)
