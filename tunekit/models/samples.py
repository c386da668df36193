"""Sample inputs: what a model is checked, verified and timed with.

Arrays follow from the recipe where it gives a range, else from what the model does with an input
(the size of the table that it indexes, the logarithm that it goes into) and from its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.models.spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

_LARGEST_INTEGER = 7
_MASKED_SHARE = 4
_FLOAT_MASKS = ("attention_mask", "input_mask")
"""Masks of floats that hold ones and zeros: those of other names may be added to scores."""
_TYPES = ("token_type", "segment")


@dataclass(frozen=True)
class Between:
    """Values between two bounds, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Mask:
    """Ones, with zeros at the end of the last axis: some is masked and never all, whatever a one
    means to the model."""


Values = Between | Mask


@dataclass(frozen=True)
class Use:
    """What a model does with an input.

    Attributes:
        table_size: of the smallest table that its integers index.
        needs_positive: whether a logarithm or a root is taken of it, or of what has its sign.
    """

    table_size: int | None = None
    needs_positive: bool = False


def likely_values(specs: Sequence[TensorSpec], uses: Mapping[str, Use]) -> dict[str, Values]:
    """What each input holds: as the recipe says, else as its use and its name suggest.

    An input that is not in the result holds anything.
    """
    likely: dict[str, Values] = {}
    for spec in specs:
        if spec.values is not None:
            likely[spec.name] = Between(spec.values.min, spec.values.max)
        elif (guess := _guess(spec, uses.get(spec.name, Use()))) is not None:
            likely[spec.name] = guess
    return likely


def remark(values: Values) -> str:
    """For the recipe of a model: what an input holds by default, as a recipe says it."""
    if isinstance(values, Mask):
        return "values: {min: 1, max: 1} for ones only: by default the last are zeros"
    low, high = (
        int(bound) if float(bound).is_integer() else bound for bound in (values.low, values.high)
    )
    return f"values: {{min: {low}, max: {high}}}"


def draw(spec: TensorSpec, values: Values | None, seed: int, index: int) -> Array:
    """An array for an input: evenly from an interval, a mask, or anything.

    Anything is standard normal floats, integers from 0 to 7, booleans. The same seed and index (of
    the input among all) give the same array in any process.
    """
    import numpy as np

    random = np.random.default_rng([seed, index])
    dtype = np.dtype(spec.dtype)
    if isinstance(values, Mask):
        # Without an order, rows that repeat would become columns.
        return np.broadcast_to(_mask_row(spec.shape), spec.shape).astype(dtype, order="C")
    if np.issubdtype(dtype, np.floating):
        if values is None:
            return random.standard_normal(spec.shape).astype(dtype)
        return random.uniform(values.low, values.high, spec.shape).astype(dtype)
    if values is None:
        values = Between(0, 1 if dtype == np.bool_ else _LARGEST_INTEGER)
    low, high = int(values.low), int(values.high)
    return random.integers(low, high, spec.shape, endpoint=True).astype(dtype)


def _guess(spec: TensorSpec, use: Use) -> Values | None:
    name = spec.name.lower()
    if spec.dtype.startswith("float"):
        if use.needs_positive:
            return Between(0.01, 1)
        return Mask() if name in _FLOAT_MASKS else None
    if "mask" in name:
        return Mask()
    if spec.dtype == "bool":
        return None
    highest = None if use.table_size is None else max(use.table_size - 1, 0)
    if any(word in name for word in _TYPES):
        highest = 1 if highest is None else min(highest, 1)
    return None if highest is None else Between(0, highest)


def _mask_row(shape: Sequence[int]) -> Array:
    import numpy as np

    size = shape[-1] if shape else 1
    kept = size - max(size // _MASKED_SHARE, 1) if size > 1 else size
    return np.arange(size) < kept if shape else np.array(True)
