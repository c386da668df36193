"""Sample inputs: what a model is checked, verified and timed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.models.spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

_LARGEST_INTEGER = 7


def draw(spec: TensorSpec, seed: int, index: int) -> Array:
    """Values for an input: evenly from its range, both bounds included, where it has one.

    Else standard normal floats, integers from 0 to 7, booleans. The same seed and index (of the
    input among all) give the same values in any process.
    """
    import numpy as np

    random = np.random.default_rng([seed, index])
    dtype = np.dtype(spec.dtype)
    values = spec.values
    if np.issubdtype(dtype, np.floating):
        if values is None:
            return random.standard_normal(spec.shape).astype(dtype)
        return random.uniform(values.min, values.max, spec.shape).astype(dtype)
    if values is None:
        highest = 1 if dtype == np.bool_ else _LARGEST_INTEGER
        return random.integers(0, highest + 1, spec.shape).astype(dtype)
    return random.integers(int(values.min), int(values.max), spec.shape, endpoint=True).astype(
        dtype
    )
