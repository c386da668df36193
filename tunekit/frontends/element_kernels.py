"""Kernels of two numbers or one, element by element, for which Relax has no operator that is right
for every number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def broadcast(left: Any, right: Any, element: Callable[..., Any], name: str) -> Any:
    """A function of the elements of two tensors that broadcast."""
    from tvm import te, topi

    shape = np.broadcast_shapes(*(tuple(map(int, item.shape)) for item in (left, right)))
    pair = [topi.broadcast_to(item, shape) for item in (left, right)]
    return te.compute(
        shape, lambda *axes: element(*(item(*axes) for item in pair)), name=name, tag="broadcast"
    )


def float_mod(left: Any, right: Any, as_c: bool) -> Any:
    """The remainder has the sign of the dividend as in C, else of the divisor as in Python."""
    from tvm import tirx

    dtype = str(left.dtype)
    wide = _wide(dtype)

    def element(x: Any, y: Any) -> Any:
        x, y = x.astype(wide), y.astype(wide)
        rest = _rest(x, y, wide)
        if not as_c:
            zero = tirx.const(0, wide)
            signed = tirx.if_then_else(y < zero, -zero, zero)
            rest = tirx.if_then_else(
                rest == zero,
                signed,
                tirx.if_then_else(_has_other_sign(rest, y, zero), rest + y, rest),
            )
        return rest.astype(dtype)

    return broadcast(left, right, element, "fmod")


def float_floor_divide(left: Any, right: Any) -> Any:
    """The largest whole number of times that the divisor fits, as Python and torch have it.

    It is not the quotient rounded down: 0.1 in single precision is more than a tenth and fits nine
    times into 1, though the quotient rounds to 10.
    """
    from tvm import tirx

    dtype = str(left.dtype)
    wide = _wide(dtype)

    def element(x: Any, y: Any) -> Any:
        x, y = x.astype(wide), y.astype(wide)
        zero, one, half = (tirx.const(value, wide) for value in (0, 1, 0.5))
        rest = _rest(x, y, wide)
        whole = (x - rest) / y
        whole = tirx.if_then_else(_has_other_sign(rest, y, zero), whole - one, whole)
        # What is left of a whole number is rounding.
        floor = tirx.floor(whole)
        floor = tirx.if_then_else(whole - floor > half, floor + one, floor)
        return tirx.if_then_else(y == zero, x / y, floor).astype(dtype)

    return broadcast(left, right, element, "floor_divide")


def _wide(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def _rest(x: Any, y: Any, dtype: str) -> Any:
    """Not from x - trunc(x / y) * y, which loses the digits of large quotients."""
    from tvm import tirx

    return tirx.call_pure_extern(dtype, "fmod" if dtype == "float64" else "fmodf", x, y)


def _has_other_sign(rest: Any, divisor: Any, zero: Any) -> Any:
    from tvm import tirx

    return tirx.any(tirx.all(rest < zero, divisor > zero), tirx.all(rest > zero, divisor < zero))


def shifted(numbers: Any, places: Any, is_left: bool) -> Any:
    """Shifts by the width and more, and negative ones, leave nothing but the sign."""
    from tvm import tirx

    dtype = str(numbers.dtype)
    width = int("".join(filter(str.isdigit, dtype)))
    last = tirx.const(width - 1, dtype)

    def element(number: Any, count: Any) -> Any:
        beyond = tirx.any(count < 0, count > last) if dtype[0] == "i" else count > last
        inside = tirx.if_then_else(beyond, last, count)
        if is_left:
            return tirx.if_then_else(beyond, tirx.const(0, dtype), number << inside)
        if dtype[0] == "u":
            return tirx.if_then_else(beyond, tirx.const(0, dtype), number >> inside)
        return number >> inside

    return broadcast(numbers, places, element, "bit_shift")


def complementary_error(numbers: Any) -> Any:
    """erfc: 1 - erf has no digits left where erf is near 1."""
    from tvm import te, tirx

    dtype = str(numbers.dtype)
    wide = _wide(dtype)
    name = "erfc" if wide == "float64" else "erfcf"
    return te.compute(
        numbers.shape,
        lambda *axes: tirx.call_pure_extern(wide, name, numbers(*axes).astype(wide)).astype(dtype),
        name="erfc",
    )
