"""What a space offers: structural variants of a kernel, and values that a trace samples.

Everything is listed best expected first, so that the first of each is a decent default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ExprRV

_CODE_BASE = 1000
# The larger, the less the position in an order decides how often a value is drawn at first.
_POSITIONS_ALIKE = 4
# Bytes that a kernel moves: below the first, starting the threads takes longer than what they
# save; above the second it certainly does not.
_SMALL_BYTES = 1 << 20
_LARGE_BYTES = 2 << 20

_first_choices: ContextVar[bool] = ContextVar("first_choices", default=False)


@contextmanager
def first_choices() -> Iterator[None]:
    """Makes all samplers inside the `with` block decide for the first of their values, and
    `variants_of` for the first that a kernel admits."""
    token = _first_choices.set(True)
    try:
        yield
    finally:
        _first_choices.reset(token)


def sample(schedule: Schedule, values: Sequence[int], *, ordered: bool = False) -> ExprRV:
    """One of `values`; the first is the default decision.

    All are equally likely, or, where they are `ordered` best expected first, the first ones more:
    the position of a tile in that order told its measured rank with a correlation of 0.7 (3x3
    convolutions of ResNet-50).
    """
    decision = 0 if _first_choices.get() else None
    weights = [
        1 / (position + _POSITIONS_ALIKE) if ordered else 1.0 for position in range(len(values))
    ]
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


def thread_use(size_bytes: int) -> list[bool]:
    """Whether threads should share a kernel that moves so many bytes, best expected first."""
    if size_bytes > _LARGE_BYTES:
        return [True]
    return [True, False] if size_bytes > _SMALL_BYTES else [False, True]


def variants_of(
    schedule: Schedule, applications: Iterable[Callable[[Schedule], None]]
) -> list[Schedule]:
    """A schedule for each application that the kernel admits, in order; of `first_choices` only
    the first."""
    variants = []
    for apply in applications:
        variant = schedule.copy()
        try:
            apply(variant)
        # TVM's refusals, `ScheduleError` and failed checks of its own, are all of this class.
        except RuntimeError:
            continue
        variants.append(variant)
        if _first_choices.get():
            break
    return variants
