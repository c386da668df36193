"""Steps of schedules that the spaces share: vectors, threads, what follows a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.ir.tir import extents_of
from tunekit.spaces.inlining import TooMuchInlinedError, inline

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import SBlockRV


@dataclass(frozen=True)
class Epilogue:
    """What follows a convolution in its kernel.

    Attributes:
        tile: elementwise on the convolution's output, computed tile by tile.
        tail: on something larger that the output is broadcast to (squeeze-and-excite).
    """

    tile: SBlockRV | None
    tail: SBlockRV | None


def unroll_and_vectorize(schedule: Schedule, block: SBlockRV, unrolled: int = 3) -> None:
    """Unrolls the `unrolled` loops of a tile around `block` and vectorizes its lanes."""
    loops = schedule.get_loops(block)
    for loop in loops[-1 - unrolled : -1]:
        schedule.unroll(loop)
    schedule.vectorize(loops[-1])


def parallelize(schedule: Schedule, block: SBlockRV) -> None:
    """Divides a block of its own among the threads, and vectorizes its lanes where it has any."""
    loops = schedule.get_loops(block)
    schedule.parallel(schedule.fuse(*(loops[:-2] or loops[:1])))
    if len(loops) == 5:
        schedule.vectorize(loops[-1])


def fold_epilogue(schedule: Schedule, block: SBlockRV, output: Sequence[int]) -> Epilogue:
    """Inlines what follows `block` until one block of its extents is left, and one tail; also what
    these read beside it, such as a normalized identity that is added."""
    _inline_beside(schedule, block)
    same: list[SBlockRV] = []
    wider: list[SBlockRV] = []
    for follower in downstream(schedule, block):
        (same if extents_of(schedule.get(follower)) == tuple(output) else wider).append(follower)
    for followers in (same, wider):
        for follower in followers[:-1]:
            inline(schedule, follower)
    return Epilogue(same[-1] if same else None, wider[-1] if wider else None)


def _inline_beside(schedule: Schedule, block: SBlockRV) -> None:
    """Inlines what neither `block` depends on nor depends on it."""
    after = downstream(schedule, block)
    known = {_name(schedule, other) for other in (*upstream(schedule, block), block, *after)}
    for follower in after:
        for beside in upstream(schedule, follower):
            name = _name(schedule, beside)
            if name in known:
                continue
            known.add(name)
            try:
                inline(schedule, beside)
            except TooMuchInlinedError:
                parallelize(schedule, beside)


def downstream(schedule: Schedule, block: SBlockRV) -> list[SBlockRV]:
    """All blocks that depend on one, in program order."""
    return _reached(schedule, block, schedule.get_consumers)


def upstream(schedule: Schedule, block: SBlockRV) -> list[SBlockRV]:
    """All blocks that one depends on, in program order."""
    return _reached(schedule, block, schedule.get_producers)[::-1]


def _reached(
    schedule: Schedule, block: SBlockRV, neighbours: Callable[[SBlockRV], Iterable[SBlockRV]]
) -> list[SBlockRV]:
    """All blocks that are reached from one, each after all those that it is reached from."""
    names: list[str] = []
    queue = [block]
    while queue:
        for neighbour in neighbours(queue.pop(0)):
            name = _name(schedule, neighbour)
            if name in names:
                names.remove(name)
            names.append(name)
            queue.append(neighbour)
    return [schedule.get_sblock(name) for name in names]


def _name(schedule: Schedule, block: SBlockRV) -> str:
    return str(schedule.get(block).name_hint)


def parallelize_elements(
    schedule: Schedule, block: SBlockRV, lanes: int, *, parallel: bool
) -> None:
    """Divides the outer loops of a block of its own among the threads; `lanes` of the innermost
    are one vector."""
    *outer, last = schedule.get_loops(block)
    if lanes > 1:
        last, lane = schedule.split(last, [None, lanes])
        schedule.vectorize(lane)
    if parallel:
        schedule.parallel(schedule.fuse(*(outer[:-1] or outer or [last])))
