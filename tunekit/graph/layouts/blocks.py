"""How channels are cut into blocks as wide as a vector register, or a half or a quarter of one.

Where no such block divides the channels, the lanes behind the last channel are padding. What they
hold is finite and of no meaning: convolutions multiply it by zero, and nobody else reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_NARROWEST = 4


@dataclass(frozen=True)
class Blocks:
    """Channels in blocks.

    Attributes:
        channels: that there are.
        width: channels of a block.
    """

    channels: int
    width: int

    @classmethod
    def of(cls, channels: int, lanes: int) -> Blocks:
        """The widest blocks of up to `lanes` that divide the channels; where none do, as few as
        hold them, and the narrowest of these."""
        width = lanes
        while width >= _NARROWEST:
            if channels % width == 0:
                return cls(channels, width)
            width //= 2
        width = lanes
        while width > _NARROWEST and width // 2 >= channels:
            width //= 2
        return cls(channels, width)

    @property
    def count(self) -> int:
        """Of blocks."""
        return -(-self.channels // self.width)

    @property
    def padded(self) -> int:
        """Channels, those of padding included."""
        return self.count * self.width

    @property
    def exact(self) -> bool:
        """Whether no lane is padding."""
        return self.padded == self.channels


def padded_channels(weights: np.ndarray, outputs: int, inputs: int) -> np.ndarray:
    """OIHW weights with so many channels, those added being zero."""
    import numpy as np

    missing = (outputs - weights.shape[0], inputs - weights.shape[1])
    if missing == (0, 0):
        return weights
    return np.pad(weights, [(0, missing[0]), (0, missing[1]), (0, 0), (0, 0)])
