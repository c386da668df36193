"""Inputs as people have them: pixels with their channels last, bytes, not normalized.

What turns them into the numbers that a model takes becomes part of the model, in its framework and
in Relax alike: the library's first kernel does it, and so does every runtime in a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.recipe import Normalize

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tunekit.recipe.schema import ModelSpec

CHANNELS_FIRST = (0, 3, 1, 2)
"""Axes of an image whose channels come last, in the order that models take them."""
CHANNELS_LAST = (0, 2, 3, 1)
"""The other way."""
_PIXEL_SCALE = 1 / 255
"""Of bytes, where a recipe gives none: black is 0 and white 1, as image libraries have it."""


@dataclass(frozen=True)
class Preprocessing:
    """How an array becomes what a model takes: channels moved first, then `x * factor + offset`.

    Attributes:
        moves_channels: whether they come last.
        factor: of each channel, or one for all.
        offset: likewise.
        dtype: of what the model takes.
        rank: likewise.
    """

    moves_channels: bool
    factor: tuple[float, ...]
    offset: tuple[float, ...]
    dtype: str
    rank: int

    def constants(self) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
        """Factor and offset as arrays that broadcast over what the model takes."""
        import numpy as np

        shape = [-1, *[1] * (self.rank - 2)] if len(self.factor) > 1 else []
        factor, offset = (
            np.array(values, self.dtype).reshape(shape) for values in (self.factor, self.offset)
        )
        return factor, offset

    @property
    def normalizes(self) -> bool:
        """Whether values change beyond their dtype."""
        return {*self.factor, 1.0} != {1.0} or any(self.offset)


def preprocessing_of(spec: ModelSpec) -> dict[str, Preprocessing]:
    """By input, of those that are not what the model itself takes."""
    found = {}
    for item in spec.inputs:
        if not item.has_preprocessing:
            continue
        how = item.normalize or Normalize()
        pixels = item.dtype == "uint8" and item.normalize is not None
        scale = (_PIXEL_SCALE if pixels else 1.0) if how.scale is None else how.scale
        channels = max(len(how.mean), len(how.std))
        means, deviations = (values * (channels // len(values)) for values in (how.mean, how.std))
        found[item.name] = Preprocessing(
            item.layout == "NHWC",
            tuple(scale / deviation for deviation in deviations),
            tuple(-mean / deviation for mean, deviation in zip(means, deviations, strict=True)),
            item.dtype if item.dtype.startswith("float") else "float32",
            len(item.shape),
        )
    return found


def without_preprocessing(spec: ModelSpec) -> ModelSpec:
    """The model that takes its inputs as it was made for."""
    found = preprocessing_of(spec)
    inputs = []
    for item in spec.inputs:
        if item.name in found:
            shape = item.shape
            if found[item.name].moves_channels:
                shape = tuple(shape[axis] for axis in CHANNELS_FIRST)
            plain = {"layout": None, "normalize": None, "values": None}
            item = item.model_copy(
                update={"shape": shape, "dtype": found[item.name].dtype, **plain}
            )
        inputs.append(item)
    return spec.model_copy(update={"inputs": tuple(inputs)})
