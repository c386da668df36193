"""What a kernel implements: a convolution of certain sizes, by one of several algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from tunekit.ir.tir import Kernel

if TYPE_CHECKING:
    from tvm.ir import IRModule

Algorithm = Literal["direct", "winograd2", "winograd4"]

#: Annotation of the block that computes a convolution for which there are alternatives.
ANNOTATION = "tunekit.convolution"
#: Annotation of a block that computes a convolution of other channels than its axes say: groups,
#: inputs of a group, outputs of a group.
CHANNELS = "tunekit.channels"
#: Annotation of the last block of an attention: its sizes, in words.
ATTENTION = "tunekit.attention"


@dataclass(frozen=True, order=True)
class ConvProblem:
    """The convolutions of a model that have these sizes.

    Attributes:
        batch: images.
        in_channels: channels of the input.
        out_channels: channels of the output.
        height: of the output.
        width: of the output.
    """

    batch: int
    in_channels: int
    out_channels: int
    height: int
    width: int

    def __str__(self) -> str:
        size = f"{self.height}x{self.width}"
        images = "" if self.batch == 1 else f" x{self.batch}"
        return f"3x3 {self.in_channels} to {self.out_channels}, {size}{images}"


Choice = Mapping[ConvProblem, Algorithm]


@dataclass(frozen=True)
class Implementation:
    """Where a kernel belongs: the problem that it computes, and by which algorithm."""

    problem: ConvProblem
    algorithm: Algorithm

    def __str__(self) -> str:
        problem = self.problem
        numbers = (
            problem.batch,
            problem.in_channels,
            problem.out_channels,
            problem.height,
            problem.width,
        )
        return " ".join([self.algorithm, *map(str, numbers)])


def tile_of(algorithm: Algorithm) -> int | None:
    """m of F(m x m, 3 x 3), None for the direct algorithm."""
    return None if algorithm == "direct" else int(algorithm.removeprefix("winograd"))


def is_direct(implementation: Implementation | None) -> bool:
    """Whether a kernel computes directly; so does one for which there is no choice (None)."""
    return implementation is None or implementation.algorithm == "direct"


def annotate(implementation: Implementation) -> dict[str, str]:
    """The annotation of a block that computes `implementation`."""
    return {ANNOTATION: str(implementation)}


def implementation_of(module: IRModule) -> Implementation | None:
    """Which convolution a workload computes, and how; None where there is no choice."""
    for block in Kernel.of(module).blocks:
        text = block.annotations.get(ANNOTATION)
        if text is not None:
            algorithm, *numbers = str(text).split()
            return Implementation(ConvProblem(*map(int, numbers)), cast("Algorithm", algorithm))
    return None
