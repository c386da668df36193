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
class Comparison:
    """Errors of outputs against a reference.

    Attributes:
        mse: over all elements of all outputs.
        max_abs_error: the largest of any output.
        max_abs_reference: the largest of any output.
        relative_error: the largest, over the outputs, of (max abs error / max abs reference) of
            one output, so that a small output cannot hide behind a large one.
        reason: why outputs cannot be compared (another count, shape or dtype, NaN or infinity on
            either side); their errors are infinite.
    """

    mse: float
    max_abs_error: float
    max_abs_reference: float
    relative_error: float
    reason: str | None = None

    def within(self, max_relative_error: float) -> bool:
        """Whether the relative error is finite and at most this."""
        return math.isfinite(self.relative_error) and self.relative_error <= max_relative_error


def compare(reference: Sequence[Array], actual: Sequence[Array]) -> Comparison:
    """Compare outputs, in order, with those of the reference; computed in float64."""
    import numpy as np

    if len(reference) != len(actual):
        return _incomparable(f"{len(actual)} outputs in place of {len(reference)}")
    squares, elements = 0.0, 0
    largest_error = largest_reference = largest_relative = 0.0
    for index, (expected, given) in enumerate(zip(reference, actual, strict=True)):
        if expected.shape != given.shape:
            return _incomparable(
                f"output {index} has shape {list(given.shape)} in place of {list(expected.shape)}"
            )
        if expected.dtype != given.dtype:
            return _incomparable(
                f"output {index} has dtype {given.dtype} in place of {expected.dtype}"
            )
        if expected.size == 0:
            continue
        expected_values, given_values = expected.astype(np.float64), given.astype(np.float64)
        for values, whose in ((expected_values, "of the reference "), (given_values, "")):
            wrong = int(values.size - np.count_nonzero(np.isfinite(values)))
            if wrong:
                return _incomparable(
                    f"output {index} {whose}holds NaN or infinity in {wrong} of {values.size} "
                    "elements"
                )
        difference = np.abs(given_values - expected_values)
        error, scale = float(difference.max()), float(np.abs(expected_values).max())
        squares += float(np.square(difference).sum())
        elements += expected.size
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
    )


def _incomparable(reason: str) -> Comparison:
    return Comparison(math.inf, math.inf, math.nan, math.inf, reason)
