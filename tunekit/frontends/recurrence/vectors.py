"""Arithmetic on vectors while a kernel is being built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tvm import tirx
from tvm.script.ir_builder import tirx as T

Number: TypeAlias = "Vector | float"


class Vector:
    """Numbers that a kernel computes, given by what one of them is.

    A vector that is used more than once should be `kept`: an expression is a tree, and one of
    nested functions that repeats its parts would not fit into memory (nor does a bound variable
    help: TVM's simplification puts its value in its place).

    Attributes:
        at: the expression of the number at a place.
        count: of the places.
        dtype: of the numbers.
    """

    def __init__(self, at: Callable[[Any], Any], count: int, dtype: str) -> None:
        self.at, self.count, self.dtype = at, count, dtype

    def store(self, buffer: Any, indices: Sequence[Any], first: Any) -> None:
        """Writes it to a buffer, from `[*indices, first]` on."""
        with T.vectorized(0, self.count) as place:
            T.buffer_store(buffer, self.at(place), [*indices, first + place])

    def kept(self) -> Vector:
        """In a local buffer, which LLVM holds in registers."""
        buffer = T.alloc_buffer((self.count,), self.dtype, scope="local")
        self.store(buffer, [], 0)
        return Vector(lambda place: buffer[place], self.count, self.dtype)

    def map(self, function: Callable[..., Any], *others: Number) -> Vector:
        """A function of the numbers of this and other vectors at each place."""

        def number(other: Number, place: Any) -> Any:
            if isinstance(other, Vector):
                return other.at(place)
            return tirx.const(other, self.dtype)

        return Vector(
            lambda place: function(self.at(place), *(number(other, place) for other in others)),
            self.count,
            self.dtype,
        )

    def __add__(self, other: Number) -> Vector:
        return self.map(lambda a, b: a + b, other)

    def __sub__(self, other: Number) -> Vector:
        return self.map(lambda a, b: a - b, other)

    def __rsub__(self, other: float) -> Vector:
        return self.map(lambda a, b: b - a, other)

    def __mul__(self, other: Number) -> Vector:
        return self.map(lambda a, b: a * b, other)

    def __truediv__(self, other: Number) -> Vector:
        return self.map(lambda a, b: a / b, other)

    def above(self, bound: float, yes: Number, no: Number) -> Vector:
        """Where it is above a bound one number, else (also where it is none) another."""

        def chosen(x: Any, bound: Any, yes: Any, no: Any) -> Any:
            return tirx.Select(x > bound, yes, no)

        return self.map(chosen, bound, yes, no)

    def below(self, bound: float, yes: Number, no: Number) -> Vector:
        """Where it is below a bound one number, else (also where it is none) another."""

        def chosen(x: Any, bound: Any, yes: Any, no: Any) -> Any:
            return tirx.Select(x < bound, yes, no)

        return self.map(chosen, bound, yes, no)

    def where(self, condition: Any, other: Number) -> Vector:
        """Another where a condition of the whole vector does not hold; itself without one."""
        if condition is None:
            return self
        return self.map(lambda a, b: tirx.Select(condition, a, b), other)

    def clipped(self, low: float, high: float) -> Vector:
        """Within two bounds; what is not a number stays so."""
        kept = self.kept()
        upper = kept.above(high, high, kept).kept()
        return upper.below(low, low, upper)
