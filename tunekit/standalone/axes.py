"""Axes of which a library has several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SizedAxis:
    """An axis of the inputs that a library has several sizes of.

    Attributes:
        name: for people.
        sizes: smallest first.
        is_padded: whether those between them run too, with zeros behind the values.
    """

    name: str
    sizes: Sequence[int]
    is_padded: bool
