"""Calls of torch whose sizes, or whose result as a number, depend on values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

_Call = tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]

_NUMBERS = frozenset(
    {
        *(torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__bool__, torch.Tensor.__int__),
        *(torch.Tensor.__float__, torch.Tensor.__index__, torch.is_nonzero, torch.equal),
        *(torch.Tensor.is_nonzero, torch.Tensor.equal, torch.allclose, torch.Tensor.allclose),
    }
)
_OF_THESE_VALUES = frozenset(
    {
        *(torch.nonzero, torch.Tensor.nonzero, torch.argwhere, torch.Tensor.argwhere),
        *(torch.unique, torch.Tensor.unique, torch.bincount, torch.Tensor.bincount),
        *(torch.unique_consecutive, torch.Tensor.unique_consecutive),
    }
)
_INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
_SELECTING = (torch.masked_select, torch.Tensor.masked_select)
_REPEATING = (torch.repeat_interleave, torch.Tensor.repeat_interleave)


@dataclass(frozen=True)
class Question:
    """What a call asks of values.

    Attributes:
        deciding: the tensors whose values decide.
        answer: gives what a trace needs to know, as nested tensors or numbers.
        result: gives what the call gives, of an answer.
        is_number: the result is a number, or several, and no tensor.
    """

    deciding: Sequence[torch.Tensor]
    answer: Callable[[], Any]
    result: Callable[[Any], Any]
    is_number: bool = False


def question(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Question | None:
    """What a call of torch asks of values; None for one that asks nothing."""
    if func in _INDEXING:
        return _of_index(func, args)
    if func in _SELECTING:
        return _of_selection(*args, **kwargs)
    if func in _REPEATING:
        return _of_repetition(args, kwargs)
    of_values = func in _OF_THESE_VALUES or (func is torch.where and len(args) + len(kwargs) == 1)
    if not of_values and func not in _NUMBERS and not _counts_classes(func, args, kwargs):
        return None
    deciding = tensors_in((args, dict(kwargs)))
    answer = functools.partial(func, *args, **kwargs)
    return Question(deciding, answer, lambda value: value, func in _NUMBERS)


def tensors_in(values: Any) -> list[torch.Tensor]:
    """The tensors of nested containers, in order."""
    return [leaf for leaf in pytree.tree_leaves(values) if _is_tensor(leaf)]


def _counts_classes(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    """Whether a call makes as many columns as its largest value says."""
    if func is not torch.nn.functional.one_hot:
        return False
    classes = args[1] if len(args) > 1 else kwargs.get("num_classes", -1)
    return isinstance(classes, int) and classes < 0


def _of_index(func: Callable[..., Any], args: Sequence[Any]) -> Question | None:
    data, index, *value = args
    items = [_as_mask(item) for item in (index if isinstance(index, tuple) else (index,))]
    masks = [item for item in items if _is_mask(item)]
    if not masks:
        return None

    def result(places: Sequence[Sequence[torch.Tensor]]) -> Any:
        remaining = iter(places)
        chosen: list[Any] = []
        for item in items:
            chosen += next(remaining) if _is_mask(item) else [item]
        return func(data, tuple(chosen), *value)

    return Question(masks, lambda: [mask.nonzero(as_tuple=True) for mask in masks], result)


def _of_selection(input: torch.Tensor, mask: torch.Tensor) -> Question:  # noqa: A002 - torch's name
    shape = torch.broadcast_shapes(input.shape, mask.shape)  # type: ignore[no-untyped-call]
    data, mask = input.broadcast_to(shape), mask.broadcast_to(shape)
    return Question([mask], lambda: mask.nonzero(as_tuple=True), lambda places: data[places])


def _of_repetition(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Question | None:
    given = dict(zip(("input", "repeats", "dim"), args, strict=False)) | dict(kwargs)
    if "repeats" not in given:  # repeat_interleave(repeats) gives places
        return Question([given["input"]], lambda: torch.repeat_interleave(given["input"]), _itself)
    data, repeats, axis = given["input"], given["repeats"], given.get("dim")
    if not _is_tensor(repeats):
        return None
    if axis is None:
        data, axis = data.flatten(), 0

    def places() -> torch.Tensor:
        return torch.repeat_interleave(repeats.broadcast_to(data.shape[axis]))

    return Question([repeats], places, lambda value: data.index_select(axis, value))


def _itself(value: Any) -> Any:
    return value


def _as_mask(item: Any) -> Any:
    """Masks that are lists or arrays, as tensors."""
    is_mask = isinstance(item, list | np.ndarray) and np.asarray(item).dtype == np.bool_
    return torch.as_tensor(item) if is_mask else item


def _is_mask(item: Any) -> bool:
    return _is_tensor(item) and item.dtype in (torch.bool, torch.uint8)


def _is_tensor(item: Any) -> bool:
    return isinstance(item, torch.Tensor)
