"""A value of the graph: the forms that it exists in, or what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.relax import Call, Expr

Indices = Sequence[Any]
Reader = Callable[[Indices], Any]
"""Of the indices of an element, its value, as expressions."""


@dataclass(frozen=True)
class Moved:
    """Where the elements of a value come from.

    Attributes:
        name: of what moves them.
        parents: the values that they are of.
        read: an element, of readers of the parents and of its indices.
        aspect: height and width of the image that the value was made of, to tell images from
            other tensors of four axes.
        zeros: (top, left, bottom, right) where all that is done is to add so many zeros.
    """

    name: str
    parents: tuple[Value, ...]
    read: Callable[[Sequence[Reader], Indices], Any]
    aspect: tuple[int, int]
    zeros: tuple[int, int, int, int] | None = None


@dataclass
class Value:
    """One value of the graph in the forms that exist so far; or one of which there may never be
    more than what it is made of: a product with a gate, or elements that are moved."""

    shape: tuple[int, ...] | None
    plain: Expr | None = None
    blocked: Expr | None = None
    fields: list[Value] = field(default_factory=list)
    gated: GatedProduct | None = None
    moved: Moved | None = None


@dataclass(frozen=True)
class GatedProduct:
    """An activation times one number for each of its channels, as it was called for."""

    activation: Value
    gate: Value
    call: Call
