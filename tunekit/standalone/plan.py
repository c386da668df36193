"""What a model does, as a list: which kernel is called with which tensors, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.errors import CompileError
from tunekit.standalone.elements import Element

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]


class NotStandalone(CompileError):  # noqa: N818 - reads as what it says
    """A model needs TVM's virtual machine."""


def refusal(reason: str) -> NotStandalone:
    """The error that says why a model needs TVM's virtual machine."""
    return NotStandalone(
        f"the model cannot be a standalone library: {reason}",
        hint="`tunekit export --vm` writes a bundle with TVM's runtime, which runs every model",
    )


@dataclass(frozen=True)
class Arena:
    """A place in the memory of activations: `offset` in bytes."""

    offset: int


@dataclass(frozen=True)
class Weight:
    """A constant: its number among the plan's."""

    number: int


@dataclass(frozen=True)
class Input:
    """The bytes of an input: its number."""

    number: int


@dataclass(frozen=True)
class Output:
    """The bytes of an output, which kernels write where it is bound: its number."""

    number: int


Place = Arena | Weight | Input | Output


@dataclass(frozen=True)
class PlacedTensor:
    """What a kernel gets: a place, seen with a shape and an element type."""

    place: Place
    shape: tuple[int, ...]
    element: Element


@dataclass(frozen=True)
class KernelCall:
    """The call of a kernel with tensors, by their numbers; those that it writes come last."""

    kernel: str
    tensors: tuple[int, ...]


@dataclass(frozen=True)
class InputPlan:
    """An input of the model.

    Attributes:
        shape: its sizes.
        element: its type.
        copy: where in the arena it is copied to when kernels cannot read it where it is.
    """

    shape: tuple[int, ...]
    element: Element
    copy: int


@dataclass(frozen=True)
class OutputPlan:
    """An output of the model.

    Attributes:
        shape: its sizes.
        element: its type.
        tensor: number of the tensor that holds it after the last step.
        direct: whether kernels write it where it is bound; else it is copied there.
        own: its place in the arena while it is not bound, in bytes.
    """

    shape: tuple[int, ...]
    element: Element
    tensor: int
    direct: bool
    own: int


@dataclass(frozen=True)
class Plan:
    """A model as a list of calls.

    Attributes:
        tensors: all that kernels get.
        steps: the calls, in order.
        inputs: of the model.
        outputs: of the model, nested tuples flattened.
        weights: the bytes of the constants, each different one once.
        arena: bytes of activations, packed.
    """

    tensors: Sequence[PlacedTensor]
    steps: Sequence[KernelCall]
    inputs: Sequence[InputPlan]
    outputs: Sequence[OutputPlan]
    weights: Sequence[Array]
    arena: int

    @property
    def kernels(self) -> list[str]:
        """Names of the kernels that are called, each once, in order."""
        return list(dict.fromkeys(step.kernel for step in self.steps))
