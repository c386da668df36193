"""What a kernel computes, in terms that do not depend on layout, names or runtime.

A convolution or matrix product is told by its loops: which of them its two operands and its
result share. The same sizes come out of the shapes that other runtimes report for their nodes, so
a kernel finds its counterpart there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.graph.algorithms import implementation_of
from tunekit.graph.kernels.winograd import KERNEL

if TYPE_CHECKING:
    from tvm.ir import IRModule

_SPATIAL, _REDUCED = 0, 2


@dataclass(frozen=True)
class Operation:
    """A convolution or a matrix product.

    Attributes:
        groups: independent ones side by side: convolution groups, matrices of a batch.
        places: extents of the output besides groups and channels; without those of 1.
        outputs: output channels of a group; columns of the product.
        inputs: input channels of a group; what the product sums over.
        window: extents of the convolution's kernel; empty for a matrix product.
    """

    groups: int
    places: tuple[int, ...]
    outputs: int
    inputs: int
    window: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Equal for operations that do the same work, however they are written.

        A convolution with a window of one is a matrix product, and which operand of a product is
        called the weight is a matter of taste.
        """
        rows = math.prod(self.places)
        if math.prod(self.window) > 1:
            window = "x".join(map(str, self.window))
            return f"{window} window, {self.groups * self.outputs}x{rows}, sums {self.inputs}"
        small, large = sorted((rows, self.outputs))
        return f"{self.groups} of {small}x{large}, sums {self.inputs}"

    @property
    def multiply_adds(self) -> int:
        """Of the direct computation."""
        return (
            self.groups
            * math.prod(self.places)
            * self.outputs
            * self.inputs
            * math.prod(self.window)
        )

    def __str__(self) -> str:
        size = "x".join(map(str, self.places)) or "1"
        if not self.window:
            batch = f"{self.groups} of " if self.groups > 1 else ""
            return f"{batch}{math.prod(self.places)}x{self.outputs}x{self.inputs}"
        window = "x".join(map(str, self.window))
        if self.inputs == 1 and self.groups > 1:
            return f"{window} depthwise {self.groups * self.outputs}, {size}"
        grouped = f" in {self.groups} groups" if self.groups > 1 else ""
        return (
            f"{window} {self.groups * self.inputs} to {self.groups * self.outputs}{grouped}, {size}"
        )


def convolution_of(
    weight: Sequence[int], output: Sequence[int], channels: int | None = None
) -> Operation:
    """The convolution with a weight (O, I per group, *window) and an output (N, O, *places).

    Args:
        weight: shape of the weight.
        output: shape of the output.
        channels: of the input, all groups together; one group where it is not given.
    """
    groups = max(channels // weight[1], 1) if channels else 1
    return Operation(
        groups=groups,
        places=_larger_than_one((output[0], *output[2:])),
        outputs=weight[0] // groups,
        inputs=weight[1],
        window=tuple(weight[2:]),
    )


def product_of(left: Sequence[int], output: Sequence[int], *, batched: bool) -> Operation:
    """The product with a left operand (..., M, K) and an output (..., M, N).

    Args:
        left: shape of the left operand.
        output: shape of the output.
        batched: the right operand has a matrix for each of the leading extents; otherwise it is
            one matrix, and these are more rows of one product.
    """
    rows = output[-2:-1] if batched else output[:-1]
    return Operation(
        groups=math.prod(output[:-2]) if batched else 1,
        places=_larger_than_one(rows),
        outputs=output[-1],
        inputs=left[-1],
    )


def operation_of(module: IRModule) -> Operation | None:
    """The largest convolution or matrix product in a workload's `main`; None without any.

    A convolution by Winograd's algorithm is the convolution that it takes the place of.
    """
    from tvm.s_tir import Schedule

    implementation = implementation_of(module)
    if implementation is not None:
        problem = implementation.problem
        places = _larger_than_one((problem.batch, problem.height, problem.width))
        return Operation(1, places, problem.out_channels, problem.in_channels, (KERNEL, KERNEL))
    schedule = Schedule(module)
    found = [
        _contraction(schedule.get(block))
        for block in schedule.get_child_blocks(schedule.get_sblock("root"))
    ]
    return max(
        (one for one in found if one is not None),
        key=lambda one: one.multiply_adds,
        default=None,
    )


def _contraction(block: Any) -> Operation | None:
    """What a block computes, if that is a sum of products of two operands."""
    from tvm.tirx import IntImm

    extents: dict[str, int] = {}
    reduced = set()
    for axis in block.iter_vars:
        if not isinstance(axis.dom.extent, IntImm):
            return None
        extents[axis.var.name] = int(axis.dom.extent)
        if int(axis.iter_type) == _REDUCED:
            reduced.add(axis.var.name)
    if not reduced or len(extents) != len(block.iter_vars):
        return None
    written = {str(write.source) for write in block.writes}
    operands = {
        str(read.source): [_names_in(extent.min) & set(extents) for extent in read.region]
        for read in block.reads
        if str(read.source) not in written
    }
    if len(operands) != 2:
        return None
    data, weight = operands.values()
    if _window(weight, data, extents, reduced) and not _window(data, weight, extents, reduced):
        data, weight = weight, data
    window = _window(data, weight, extents, reduced)
    in_data, in_weight = (set().union(*operand) for operand in (data, weight))
    if not reduced <= in_data or not reduced <= in_weight:
        return None
    spatial = [name for name in extents if name not in reduced]

    def sizes(names: list[str]) -> tuple[int, ...]:
        return tuple(extents[name] for name in names)

    return Operation(
        groups=math.prod(sizes([n for n in spatial if n in in_data and n in in_weight])),
        places=_larger_than_one(sizes([n for n in spatial if n in in_data and n not in in_weight])),
        outputs=math.prod(sizes([n for n in spatial if n not in in_data and n in in_weight])),
        inputs=math.prod(sizes([n for n in reduced if n not in window])),
        window=sizes(window),
    )


def _window(
    data: list[set[str]], weight: list[set[str]], extents: dict[str, int], reduced: set[str]
) -> list[str]:
    """The reduced axes that move along with an axis of the output over the data, in order."""
    in_weight = set().union(*weight)
    found = []
    for names in data:
        moving = [name for name in names if name not in reduced and name not in in_weight]
        if moving:
            found += [name for name in extents if name in names and name in reduced]
    return found


def _names_in(expression: Any) -> set[str]:
    from tvm.tirx.analysis import undefined_vars

    return {str(variable.name) for variable in undefined_vars(expression)}


def _larger_than_one(extents: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for extent in extents if extent > 1)
