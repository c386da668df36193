"""What each kind of detector has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.detectors.matching import MatchingRule

if TYPE_CHECKING:
    import torch

    from tunekit.recipe.detector import DetectorSpec

Canvas = tuple[int, int]
"""Height and width of the picture that a detector is compiled for."""


@dataclass(frozen=True)
class Refusal:
    """Why a detector cannot be compiled: what it has, and what would work."""

    what: str
    instead: str


class Detector(ABC):
    """A module that finds objects, in a picture of fixed size.

    Attributes:
        module: as it was given, in evaluation mode.
        canvas: of the picture.
        spec: what the recipe says of it.
    """

    kind: ClassVar[str]
    """As people call the family, with an article."""

    takes_nms: ClassVar[bool] = False
    """Whether the choice among its boxes is the recipe's."""

    takes_confidence: ClassVar[bool] = False
    """Whether the least score of a detection is the recipe's."""

    def __init__(self, module: Any, canvas: Canvas, spec: DetectorSpec) -> None:
        self.module = module
        self.canvas = canvas
        self.spec = spec

    @staticmethod
    @abstractmethod
    def is_kind_of(module: torch.nn.Module) -> bool:
        """Whether a module is of this family, or of a class made from it."""

    @abstractmethod
    def refusal(self) -> Refusal | None:
        """Why it cannot be compiled, None where it can; looked up, nothing is run."""

    @property
    @abstractmethod
    def rule(self) -> MatchingRule:
        """What decides about its boxes."""

    @abstractmethod
    def static(self) -> torch.nn.Module:
        """The detector with fixed shapes: a picture to a dictionary of outputs, all padded with
        zeros to the limit, and `count`."""

    @abstractmethod
    def original(self) -> torch.nn.Module:
        """The module itself, with the outputs of `static`."""

    def traceable(self) -> torch.nn.Module:
        """What others get, whose formats are traced: `original` in operations that can be."""
        return self.original()

    @abstractmethod
    def see(self, pictures: torch.Tensor) -> None:
        """Runs every layer on a batch of pictures, whatever is found in them."""

    def steadied(self) -> torch.nn.Module:
        """The part whose layers are to get outputs of order one; before, random weights are changed
        where else rounding would decide."""
        module: torch.nn.Module = self.module
        return module

    @abstractmethod
    def settle(self, pictures: Sequence[torch.Tensor]) -> None:
        """Gives the last layers weights with which something is found in each picture."""


def odd_parts(parts: Iterable[tuple[str, Any, type]]) -> Iterator[str]:
    """Parts that are not of the class whose doings are known, in words.

    Args:
        parts: name, part, and the class that it has to be.
    """
    for name, part, known in parts:
        if type(part) is not known:
            article = "an" if name[0] in "aeio" else "a"
            yield f"{article} {name} of its own, {type(part).__name__} in place of {known.__name__}"


def odd_size(canvas: Canvas, divisor: int, does: str = "pads pictures to") -> Refusal | None:
    """Why a canvas does not fit a detector that pads pictures to multiples of `divisor`, or takes
    no others, which `does` says."""
    height, width = (-(-size // divisor) * divisor for size in canvas)
    if (height, width) == canvas:
        return None
    return Refusal(
        f"{does} multiples of {divisor}, which {canvas[0]}x{canvas[1]} is not",
        f"the next size is [1, 3, {height}, {width}]",
    )
