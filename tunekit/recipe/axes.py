"""Axes of a model's inputs that have several sizes: how a recipe names them, and what they mean."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from tunekit.recipe.part import RecipePart
from tunekit.recipe.values import bad
from tunekit.wording import did_you_mean, shown

MOST_SIZES = 64
"""Sizes of a model, all its axes together: each is tuned, compiled and verified."""

UNNAMED = "size"
"""What an axis is called whose sizes stand in an input's shape."""

_LARGEST = 2**31 - 1
_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"

Size = Mapping[str, int]
"""Of each axis one size."""


def _extent(value: Any) -> Any:
    """A size, or the name of an axis; one message for both members of the union."""
    if isinstance(value, str) and value.isidentifier():
        return value
    return _whole(value, least=0)


def _whole(value: Any, *, least: int) -> int:
    if type(value) is not int:
        quoted = isinstance(value, str) and value.strip().lstrip("+-").isdigit()
        quotes = "; remove the quotes" if quoted else ""
        raise bad(f"must be a whole number, not {shown(value)}{quotes}")
    if value < least:
        raise bad(f"must be at least {least}, not {value}")
    if value > _LARGEST:
        raise bad(f"must be at most {_LARGEST}, not {value}")
    return value


def _positive(value: Any) -> int:
    return _whole(value, least=1)


Extent = Annotated[
    int | str,
    BeforeValidator(_extent),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": _LARGEST},
                {"type": "string", "pattern": _NAME},
                {"type": "array", "items": {"type": "integer", "minimum": 1}},
            ]
        }
    ),
]
AxisName = Annotated[str, Field(pattern=_NAME, max_length=32)]
_Positive = Annotated[int, Field(ge=1, le=_LARGEST), BeforeValidator(_positive)]


def axes_may_be_lists(schema: dict[str, Any]) -> None:
    """Lets editors accept an axis's sizes alone in a model's `axes`."""
    by_name = schema["properties"]["axes"]["patternProperties"]
    sizes = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    for pattern, axis in by_name.items():
        by_name[pattern] = {"anyOf": [sizes, axis]}


class AxisSpec(RecipePart):
    """An axis of the inputs that has several sizes: a list of them, or with what goes with it."""

    sizes: Annotated[tuple[_Positive, ...], Field(strict=False, min_length=1)]
    """The sizes that the library is made for, smallest first."""

    padding: Literal["none", "zeros"] = "none"
    """What happens to sizes between these: they are refused (none), or the next larger one runs
    with zeros behind the values, and what comes of these is cut off (zeros). Where that changes
    the other outputs, the model is refused."""

    shares: Annotated[tuple[_Positive, ...], Field(strict=False)] = ()
    """How often each size is run, compared with the others: what the search gives its trials by.
    By default they are equal."""

    @model_validator(mode="before")
    @classmethod
    def _sizes_alone(cls, data: Any) -> Any:
        if not isinstance(data, dict | AxisSpec | list | tuple):
            raise bad(f"must be a list of sizes such as [1, 2, 4], not {shown(data)}")
        return {"sizes": data} if isinstance(data, list | tuple) else data

    @model_validator(mode="after")
    def _in_order(self) -> AxisSpec:
        if list(self.sizes) != sorted(set(self.sizes)):
            right = ", ".join(map(str, sorted(set(self.sizes))))
            raise bad(f"the sizes must go up, each once: [{right}]")
        if self.shares and len(self.shares) != len(self.sizes):
            raise bad(f"{len(self.shares)} shares are given for {len(self.sizes)} sizes")
        return self

    @property
    def is_padded(self) -> bool:
        """Whether sizes between these run too."""
        return self.padding == "zeros"

    def share(self, size: int) -> int:
        """How often one of the sizes is run, compared with the others."""
        return self.shares[self.sizes.index(size)] if self.shares else 1


def with_named_axes(data: Any) -> Any:
    """A model's keys, in which a list of sizes in an input's shape has become an axis."""
    inputs = data.get("inputs") if isinstance(data, dict) else None
    if not isinstance(inputs, list):
        return data
    places = [
        (number, position)
        for number, item in enumerate(inputs)
        if isinstance(item, dict) and isinstance(item.get("shape"), list)
        for position, extent in enumerate(item["shape"])
        if isinstance(extent, list | tuple)
    ]
    if not places:
        return data
    (number, position), *others = places
    if others or data.get("axes"):
        raise bad(
            "two axes have several sizes: name them, so that it is clear which go together, for "
            "example axes: {batch: [1, 2], sequence: [32, 64]} and shape: [batch, sequence]",
            ("inputs", *(others[0] if others else places[0])[:1], "shape"),
        )
    shape = list(inputs[number]["shape"])
    sizes, shape[position] = shape[position], UNNAMED
    named = [*inputs]
    named[number] = {**inputs[number], "shape": shape}
    return {**data, "axes": {UNNAMED: sizes}, "inputs": named}


def require_axes(axes: Mapping[str, AxisSpec], shapes: Sequence[Sequence[int | str]]) -> None:
    """Refuses names in shapes that are no axes, axes that no shape has, and too many sizes."""
    for number, shape in enumerate(shapes):
        for position, extent in enumerate(shape):
            if isinstance(extent, int) or extent in axes:
                continue
            near = did_you_mean(extent, axes)
            known = f"; the axes are {', '.join(axes)}" if axes and not near else near
            raise bad(
                f"must be a whole number, not {extent!r}{known}"
                if axes
                else f"must be a whole number, not {extent!r}; the name of an axis needs its sizes "
                f"in the model's axes, for example axes: {{{extent}: [1, 2, 4]}}",
                ("inputs", number, "shape", position),
            )
    used = {extent for shape in shapes for extent in shape}
    for name in axes:
        if name not in used:
            raise bad(
                f"no input has this axis; shape: [{name}, ...] gives it to one", ("axes", name)
            )
    count = math.prod(len(axis.sizes) for axis in axes.values())
    if count > MOST_SIZES:
        raise bad(
            f"the axes have {count} sizes together, and a model may have {MOST_SIZES}", ("axes",)
        )


def require_size(axes: Mapping[str, AxisSpec], size: Size) -> None:
    """Refuses a size that is not one of the axes'."""
    if not size:
        return
    for name, number in size.items():
        if name not in axes:
            near = did_you_mean(name, axes) or f"; the axes are {', '.join(axes) or 'none'}"
            raise bad(f"there is no axis {name!r}{near}", ("size", name))
        if number not in axes[name].sizes:
            known = ", ".join(map(str, axes[name].sizes))
            raise bad(f"must be one of {known}, not {number}", ("size", name))
    for name in axes:
        if name not in size:
            raise bad(f"the size of axis {name!r} is missing", ("size",))


def each_size(axes: Mapping[str, AxisSpec]) -> Iterator[dict[str, int]]:
    """Every size: the first axis's go up slowest. Of no axes none."""
    for sizes in itertools.product(*(axis.sizes for axis in axes.values())) if axes else ():
        yield dict(zip(axes, sizes, strict=True))


def in_words(size: Size) -> str:
    """`batch 4, sequence 64`."""
    return ", ".join(f"{name} {number}" for name, number in size.items())


def as_suffix(size: Size) -> str:
    """`batch4-sequence64`, for the names of folders."""
    return "-".join(f"{name}{number}" for name, number in size.items())
