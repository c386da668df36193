"""Where the buffers of a program lie in one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Kernels are compiled for tensors that begin at multiples of it, in bytes.
ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """A buffer that has to be kept for a while.

    Attributes:
        size: in bytes.
        first: the step that writes it; -1 before all of them.
        last: the last step that reads it.
    """

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Packing:
    """Attributes:
    offsets: of each buffer, in bytes.
    size: of the memory that holds them all, in bytes.
    """

    offsets: tuple[int, ...]
    size: int


def pack(buffers: Sequence[Lifetime]) -> Packing:
    """Lays out buffers so that those that live at the same time do not overlap.

    The largest come first, each at the lowest place that is free for as long as it lives: see
    Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference (2020),
    https://arxiv.org/abs/2001.03288, where no other order that they tried took less memory.
    """
    offsets = [0] * len(buffers)
    placed: list[int] = []
    order = sorted(range(len(buffers)), key=lambda index: (-buffers[index].size, index))
    for index in order:
        buffer = buffers[index]
        neighbours = sorted(
            (offsets[other], offsets[other] + aligned(buffers[other].size))
            for other in placed
            if buffers[other].first <= buffer.last and buffer.first <= buffers[other].last
        )
        place = 0
        for start, end in neighbours:
            if place + aligned(buffer.size) <= start:
                break
            place = max(place, end)
        offsets[index] = place
        placed.append(index)
    ends = [offset + aligned(buffer.size) for offset, buffer in zip(offsets, buffers, strict=True)]
    return Packing(tuple(offsets), max(ends, default=0))


def aligned(size: int) -> int:
    """The next multiple of the alignment; nothing takes a piece of its own all the same."""
    return max(-(-size // ALIGNMENT), 1) * ALIGNMENT
