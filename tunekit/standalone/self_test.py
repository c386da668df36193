"""The self test of a library: inputs that C and Python make alike, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.standalone.emit import ExpectedValue

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

Range = tuple[float, float]
"""The smallest and the largest value of an input."""

# Of each output.
_CHECKS = 32


def range_of(arrays: Sequence[Array]) -> Range:
    """From the smallest to the largest value of an input's samples."""
    import numpy as np

    values = [array.astype("float64") for array in arrays if array.size]
    if not values:
        return 0.0, 0.0
    return (
        float(min(np.min(value) for value in values)),
        float(max(np.max(value) for value in values)),
    )


def make_input(number: int, shape: Sequence[int], dtype: str, values: Range) -> Array:
    """The values of input `number` in the self test, as numbers.c makes them."""
    import numpy as np

    low, high = values
    size = int(np.prod(shape, dtype="int64"))
    start = _mixed(np.array([number + 1], "uint32"))
    numbers = _mixed(np.arange(size, dtype="uint32") + start)
    if np.dtype(dtype).kind in "iub":
        share = numbers / 4294967296.0
        made = low + np.floor(share * (high - low + 1.0))
    else:
        made = (low + (high - low) * ((numbers >> np.uint32(8)) / 16777216.0)).astype(
            "float64" if dtype == "float64" else "float32"
        )
    made_array: Array = made.astype(dtype).reshape(shape)
    return made_array


def checks_of(
    outputs: Sequence[Array], relative_error: float, *, exact_integers: bool = True
) -> list[ExpectedValue]:
    """Some values of each output, which may be off by so much of its largest one.

    Args:
        outputs: what is expected.
        relative_error: max abs error / max abs value of an output.
        exact_integers: whether integers and truth values may not be off at all, as those of the
            same kernels are not.
    """
    import numpy as np

    checks = []
    for number, output in enumerate(outputs):
        values = np.asarray(output).astype("float64").reshape(-1)
        if not values.size:
            continue
        finite = np.abs(values[np.isfinite(values)])
        exact = exact_integers and np.asarray(output).dtype.kind in "iub"
        tolerance = 0.0 if exact else relative_error * float(np.max(finite, initial=0.0))
        chosen = np.unique(np.linspace(0, values.size - 1, _CHECKS).astype("int64"))
        checks += [
            ExpectedValue(number, int(element), float(values[element]), tolerance)
            for element in chosen
        ]
    return checks


def _mixed(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """MurmurHash3's finalizer, of each."""
    import numpy as np

    values = values ^ (values >> np.uint32(16))
    values = values * np.uint32(0x85EBCA6B)
    values = values ^ (values >> np.uint32(13))
    values = values * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))
