"""C text that operators have in common: numbers, memory, structures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tunekit.extern_kernels import ExternCode, KernelTensor, Phase
from tunekit.extern_kernels.resources import Scratch

Attributes = Mapping[str, object]

LANES = 8

# Up to how many boxes torchvision moves labels apart.
FEW = 1000
# What the four outputs of detections are called in C.
FOUND = "const tkx_found found = {out0, out1, out2, out3};"
# All that can be in blocks, which lists of levels may begin with.
ALL = frozenset(range(64))


@dataclass(frozen=True)
class DetectorOperator:
    """An operator of detectors.

    Attributes:
        name: as in `torch.ops.tunekit`.
        write: gives its C, as `code` of the contract.
        blocked_inputs: the numbers of the inputs that it takes in blocks, too.
        blocked_outputs: the numbers of the outputs that it can give in blocks.
    """

    name: str
    write: Callable[[Sequence[KernelTensor], Sequence[KernelTensor], Attributes], ExternCode]
    blocked_inputs: frozenset[int] = frozenset()
    blocked_outputs: frozenset[int] = frozenset()

    def code(
        self,
        inputs: Sequence[KernelTensor],
        outputs: Sequence[KernelTensor],
        attributes: Attributes,
    ) -> ExternCode:
        """The kernel for tensors of these sizes."""
        return self.write(inputs, outputs, attributes)


def number(value: object) -> str:
    """A float32 in C, exactly."""
    rounded = float(np.float32(cast(float, value)))
    if math.isinf(rounded):
        return "__builtin_inff()" if rounded > 0 else "-__builtin_inff()"
    return f"{rounded.hex()}f"


def threshold(value: object) -> str:
    """The float32 that is exceeded by the float32 numbers that exceed a float64 number."""
    exact = cast(float, value)
    rounded = np.float32(exact)
    if float(rounded) > exact:
        rounded = np.nextafter(rounded, np.float32(-math.inf))
    return number(rounded)


def structure(kind: str, name: str, **fields: object) -> str:
    """A constant structure in C."""
    values = ", ".join(f".{field} = {value}" for field, value in fields.items())
    return f"const {kind} {name} = {{{values}}};"


def levels(name: str, tensors: Sequence[KernelTensor], first: int, values: int) -> str:
    """Levels' tensors, from an input on, that hold so many values of each anchor."""
    entries = []
    for index, tensor in enumerate(tensors):
        _, channels, height, width = tensor.shape
        sizes = f"{channels // values}, {values}, {height}, {width}, {tensor.block}"
        entries.append(f"{{in{first + index}, {sizes}}}")
    return f"const tkx_level {name}[] = {{{', '.join(entries)}}};"


def pointers(name: str, first: int, count: int) -> str:
    """Inputs, from one on, as an array."""
    return f"const float *const {name}[] = {{{_inputs(first, count)}}};"


def coder(attributes: Attributes) -> str:
    """How boxes are made of anchors, by an operator's attributes."""
    weights = cast(Sequence[float], attributes.get("weights", (1.0,) * 4))
    height, width = cast(Sequence[int], attributes["image_size"])
    # Not every coder clips.
    clip = attributes.get("bbox_xform_clip", math.inf)
    listed = ", ".join(map(number, weights))
    return f"{{{{{listed}}}, {number(clip)}, {number(height)}, {number(width)}}}"


def candidates(
    scratch: Scratch,
    *,
    parts: int,
    room: int,
    labels: int,
    most: object,
    overlap: object,
    first: int = 2**31 - 1,
    together: bool = False,
) -> str:
    """Boxes that may be kept, with their memory.

    Args:
        scratch: gives the memory.
        parts: who fills them, one after another.
        room: for how many boxes each part has room.
        labels: labels are less.
        most: how many are kept.
        overlap: the threshold above which a box is suppressed.
        first: how many boxes of a label are looked at, the best.
        together: whether boxes of different labels are compared.
    """
    places = parts * room
    return structure(
        "tkx_candidates",
        "all",
        parts=parts,
        room=room,
        labels=labels,
        together=int(together),
        first=first,
        most=most,
        threshold=threshold(overlap),
        counts=scratch.array("int32_t", parts),
        boxes=scratch.array("float", 4 * places),
        scores=scratch.array("float", places),
        keys=scratch.array("uint32_t", places),
        label=scratch.array("int32_t", places),
        order=scratch.array("uint32_t", places),
        spare=scratch.array("uint32_t", places),
        starts=scratch.array("int32_t", labels + 1),
        distance=scratch.array("float", 1),
        left=scratch.array("uint32_t", 2 * places),
        kept=scratch.array("float", 5 * (places + LANES * labels)),
    )


def whole(value: object) -> int:
    """An attribute that is a whole number."""
    return cast(int, value)


def lines(*statements: str) -> str:
    """Statements of C, one below the other."""
    return "\n".join(statements)


def kept(
    boxes: str, labels: int, group: str = f"tkx_group(&all, {FEW});", found: str = FOUND
) -> tuple[Phase, ...]:
    """What follows when boxes have been found: which of them are kept, and where they go.

    Args:
        boxes: the candidates.
        labels: how many of them are compared among themselves, from 0 on.
        group: sorts them by label.
        found: the outputs.
    """
    return (
        Phase(lines(boxes, group)),
        Phase(lines(boxes, "tkx_suppress(&all, task);"), labels),
        Phase(lines(boxes, found, "tkx_collect(&all, &found);")),
    )


def _inputs(first: int, count: int) -> str:
    return ", ".join(f"in{index}" for index in range(first, first + count))
