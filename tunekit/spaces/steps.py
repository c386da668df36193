"""Steps that the spaces share: tiles of registers, what follows an anchor, sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.ir.tir import extents_of

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ExprRV, SBlockRV

    from tunekit.machine.target import ResolvedTarget

_CODE_BASE = 1000
# The larger, the less the place in an order decides how often a value is drawn at first.
_PLACES_ALIKE = 4


@dataclass(frozen=True)
class Epilogue:
    """What follows a convolution in its kernel.

    Attributes:
        tile: elementwise on the convolution's output, computed tile by tile.
        tail: on something larger that the output is broadcast to (squeeze-and-excite).
    """

    tile: SBlockRV | None
    tail: SBlockRV | None


def register_count(target: ResolvedTarget) -> int:
    """Vector registers: 32 with AVX-512 and NEON, 16 with AVX2 and before."""
    return 32 if target.vector_bits >= 512 or "neon" in target.spec else 16


_first_choices: ContextVar[bool] = ContextVar("first_choices", default=False)


@contextmanager
def first_choices() -> Iterator[None]:
    """Makes every sampler of the block decide for the first of its values."""
    token = _first_choices.set(True)
    try:
        yield
    finally:
        _first_choices.reset(token)


def sample(schedule: Schedule, values: Sequence[int], *, ordered: bool = False) -> ExprRV:
    """One of `values`; the first is the default decision.

    All are equally likely, or, where they are `ordered` best expected first, the first ones more:
    a tile's place in that order told its measured rank with a correlation of 0.7 (3x3 convolutions
    of ResNet-50).
    """
    decision = 0 if _first_choices.get() else None
    weights = [1 / (place + _PLACES_ALIKE) if ordered else 1.0 for place in range(len(values))]
    shares = [weight / sum(weights) for weight in weights]
    return schedule.sample_categorical(list(values), shares, decision)


def encode(tile: tuple[int, int, int]) -> int:
    """Three extents as one number: a decision of the trace is one integer."""
    first, second, third = tile
    return (first * _CODE_BASE + second) * _CODE_BASE + third


def decode(code: Any) -> tuple[Any, Any, Any]:
    """The three extents of a sampled code, as expressions."""
    return code // (_CODE_BASE * _CODE_BASE), code // _CODE_BASE % _CODE_BASE, code % _CODE_BASE


def divisors(number: int, limit: int) -> list[int]:
    """The divisors of a number up to a limit, in ascending order."""
    return [d for d in range(1, min(number, limit) + 1) if number % d == 0]


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
    """Inlines what follows `block` until one block of its extents is left, and one tail."""
    same: list[SBlockRV] = []
    wider: list[SBlockRV] = []
    for follower in downstream(schedule, block):
        (same if extents_of(schedule.get(follower)) == tuple(output) else wider).append(follower)
    for followers in (same, wider):
        for follower in followers[:-1]:
            schedule.compute_inline(follower)
    return Epilogue(same[-1] if same else None, wider[-1] if wider else None)


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
            name = str(schedule.get(neighbour).name_hint)
            if name in names:
                names.remove(name)
            names.append(name)
            queue.append(neighbour)
    return [schedule.get_sblock(name) for name in names]


# Bytes that a kernel moves: below the first, starting the threads takes longer than what they
# save; above the second it certainly does not.
_SMALL_BYTES = 1 << 20
_LARGE_BYTES = 2 << 20


def thread_use(size_bytes: int) -> list[bool]:
    """Whether threads should share a kernel that moves so many bytes, best expected first."""
    if size_bytes > _LARGE_BYTES:
        return [True]
    return [True, False] if size_bytes > _SMALL_BYTES else [False, True]


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


def variants_of(
    schedule: Schedule, applications: Iterable[Callable[[Schedule], None]]
) -> list[Schedule]:
    """A schedule for each application that the kernel admits, in order."""
    found = []
    for apply in applications:
        variant = schedule.copy()
        try:
            apply(variant)
        # TVM's refusals, `ScheduleError` and failed checks of its own, are all of this class.
        except RuntimeError:
            continue
        found.append(variant)
    return found
