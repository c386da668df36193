"""The table of converters, which the files of the families fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Converter = Callable[..., Any]
Registered = TypeVar("Registered", bound=Converter)

CONVERTERS: dict[str, Converter] = {}
"""By an operator's name without `aten.`: takes a `Graph`, then the operator's arguments by the
names of its schema, tensors as Relax expressions; gives an expression or, for several results, a
list."""

COMPLEX_CONVERTERS: dict[str, Converter] = {}
"""The same for operators that take or give complex numbers, which are `Pair`s."""

MOVING: set[str] = set()
"""Operators that put elements elsewhere and compute nothing: short floats stay as they are, and
each part of a complex number goes by itself."""


DECOMPOSITIONS: dict[str, Callable[..., Any]] = {}
"""By an operator's name: the same in plain torch, of operators that have converters."""

CHECKS = ("_assert_", "sym_constrain_")
"""How operators begin that only check what was true when the model was traced."""


def converter_key(target: Any) -> str:
    """`add.Tensor`, `torchvision.roi_align.default`, `getitem`: the key of a converter."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target).removeprefix("aten.")
    return str(getattr(target, "__name__", target))


def converts(*names: str, moves: bool = False) -> Callable[[Registered], Registered]:
    """Registers a function as the converter of these operators."""

    def register(converter: Registered) -> Registered:
        CONVERTERS.update(dict.fromkeys(names, converter))
        if moves:
            MOVING.update(names)
        return converter

    return register


def converts_complex(*names: str) -> Callable[[Registered], Registered]:
    """Registers a function as the converter of these operators on complex numbers."""

    def register(converter: Registered) -> Registered:
        COMPLEX_CONVERTERS.update(dict.fromkeys(names, converter))
        return converter

    return register


def decomposes(*names: str) -> Callable[[Registered], Registered]:
    """Registers a function as the decomposition of these operators."""

    def register(function: Registered) -> Registered:
        DECOMPOSITIONS.update(dict.fromkeys(names, function))
        return function

    return register
