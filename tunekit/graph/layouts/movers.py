"""Operators that only move elements: a rule for each says where they come from (see `moved`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.graph.layouts.moved import (
    aspect_of,
    is_image,
    reshaped,
    stays_blocked,
)
from tunekit.graph.layouts.value import Indices, Moved, Reader, Value
from tunekit.graph.layouts.values import LayoutValues
from tunekit.ir.relax import has_fixed_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from tvm.relax import Call

    Rule = Callable[[LayoutValues, Call, Value], bool]


def reshape(values: LayoutValues, call: Call, result: Value) -> bool:
    """Another shape, with axes of one or without."""
    parent = _blocked_parent(values, call)
    if parent is None or result.shape is None or 0 in result.shape:
        return False
    before = parent.moved.parents if parent.moved and parent.moved.name == "reshape" else ()
    if parent.plain is None and before and before[0].shape == result.shape:
        # Back to what it was.
        result.plain, result.blocked, result.moved = (
            before[0].plain,
            before[0].blocked,
            before[0].moved,
        )
    else:
        result.moved = reshaped(parent, result.shape)
    return True


def transpose(values: LayoutValues, call: Call, result: Value) -> bool:
    """The axes in another order."""
    parent = _blocked_parent(values, call)
    if parent is None or result.shape is None:
        return False
    axes = call.attrs.axes
    rank = len(result.shape)
    order = [int(axis) % rank for axis in axes] if axes is not None else [*range(rank)][::-1]
    places = [order.index(axis) for axis in range(rank)]
    result.moved = Moved(
        "transpose",
        (parent,),
        lambda readers, indices: readers[0]([indices[place] for place in places]),
        aspect_of([parent]),
    )
    return True


def concatenation(values: LayoutValues, call: Call, result: Value) -> bool:
    """Several tensors along an axis."""
    parts = parts_of(values, call)
    if result.shape is None or not parts or not any(map(stays_blocked, parts)):
        return False
    axis = int(call.attrs.axis or 0) % len(result.shape)
    bounds: list[int] = []
    for part in parts:
        if part.shape is None:
            return False
        bounds.append((bounds[-1] if bounds else 0) + part.shape[axis])
    result.moved = Moved(
        "concatenate",
        tuple(parts),
        lambda readers, indices: _joined(readers, indices, axis, bounds),
        _image_aspect(parts, result),
    )
    return True


def _joined(readers: Sequence[Reader], indices: Indices, axis: int, bounds: Sequence[int]) -> Any:
    from tvm import tirx

    def of(part: int) -> Any:
        shifted = list(indices)
        shifted[axis] = shifted[axis] - (bounds[part - 1] if part else 0)
        return readers[part](shifted)

    result = of(len(readers) - 1)
    for part in reversed(range(len(readers) - 1)):
        result = tirx.if_then_else(indices[axis] < bounds[part], of(part), result)
    return result


def split(values: LayoutValues, call: Call, result: Value) -> bool:
    """Several pieces along an axis."""
    from tvm import relax

    parent = _blocked_parent(values, call)
    if parent is None or parent.shape is None or not isinstance(call.ty, relax.TupleType):
        return False
    axis = int(call.attrs.axis) % len(parent.shape)
    begin = 0
    if not has_fixed_size(call.ty):
        return False
    for type_ in call.ty.fields:
        shape = tuple(int(extent) for extent in type_.shape.values)
        piece = Value(shape)
        _slice(parent, piece, [(axis, begin, 1)])
        result.fields.append(piece)
        begin += shape[axis]
    return True


def strided_slice(values: LayoutValues, call: Call, result: Value) -> bool:
    """Every n-th element between bounds, along some of the axes."""
    from tvm import relax

    parent = _blocked_parent(values, call)
    if parent is None or parent.shape is None or result.shape is None:
        return False
    tuples = call.args[1:]
    if not all(isinstance(given, relax.Tuple) for given in tuples):
        return False
    lists = [[_number(field) for field in given.fields] for given in tuples]
    axes, begins = lists[0], lists[1]
    strides = lists[3] if len(lists) > 3 else [1] * len(axes)
    if any(number is None for number in (*axes, *begins, *strides)):
        return False
    steps = []
    for axis, begin, stride in zip(axes, begins, strides, strict=True):
        extent = parent.shape[axis % len(parent.shape)]
        start = begin + extent if begin < 0 else begin
        # As TVM clips them.
        start = max(0, min(start, extent if stride > 0 else extent - 1))
        steps.append((axis % len(parent.shape), start, stride))
    _slice(parent, result, steps)
    return True


def _number(field: Any) -> Any:
    value = getattr(field, "value", None)
    return value if isinstance(value, int) else None


def _slice(parent: Value, result: Value, steps: Sequence[tuple[int, int, int]]) -> None:
    """Gives a result elements of its parent; `steps` are (axis, first, stride)."""

    def read(readers: Sequence[Reader], indices: Indices) -> Any:
        shifted = list(indices)
        for axis, first, stride in steps:
            shifted[axis] = shifted[axis] * stride + first
        return readers[0](shifted)

    result.moved = Moved("slice", (parent,), read, _image_aspect([parent], result))


def pad(values: LayoutValues, call: Call, result: Value) -> bool:
    """More elements around: of one value, mirrored, repeated or from the other side; fewer where
    their number is negative."""
    parent = _blocked_parent(values, call)
    if parent is None or parent.shape is None or result.shape is None:
        return False
    widths = [int(width) for width in call.attrs.pad_width]
    befores, afters = widths[::2], widths[1::2]
    mode, number = str(call.attrs.pad_mode), float(call.attrs.pad_value)
    extents = parent.shape
    if mode not in ("constant", "reflect", "replicate", "circular"):
        return False
    dtype = str(call.ty.dtype)

    def read(readers: Sequence[Reader], indices: Indices) -> Any:
        from tvm import tirx

        inside: Any = None
        places = []
        for index, extent, before, after in zip(indices, extents, befores, afters, strict=True):
            place = index - before if before else index
            if mode == "constant":
                for is_outside, within in ((before > 0, place >= 0), (after > 0, place < extent)):
                    if is_outside:
                        inside = within if inside is None else tirx.all(inside, within)
            elif before > 0 or after > 0:
                place = _within(mode, place, extent)
            places.append(place)
        element = readers[0](places)
        if inside is None:
            return element
        return tirx.if_then_else(inside, element, tirx.const(number, dtype))

    zeros = None
    if mode == "constant" and number == 0 and len(widths) == 8 and min(widths) >= 0:
        zeros = (befores[2], befores[3], afters[2], afters[3]) if not any(widths[:4]) else None
    result.moved = Moved("pad", (parent,), read, _image_aspect([parent], result), zeros)
    return True


def _within(mode: str, place: Any, extent: int) -> Any:
    """The element that is taken for one outside of an axis."""
    from tvm import tirx

    if mode == "circular":
        return tirx.floormod(place, extent)
    if mode == "replicate":
        return tirx.max(0, tirx.min(place, extent - 1))
    mirrored = tirx.Select(place < 0, -place, place)
    return tirx.Select(mirrored >= extent, 2 * (extent - 1) - mirrored, mirrored)


def _blocked_parent(values: LayoutValues, call: Call) -> Value | None:
    """What an operator moves elements of, where that is not plain."""
    parent = values.source(call.args[0])
    return parent if stays_blocked(parent) and parent.shape is not None else None


def parts_of(values: LayoutValues, call: Call) -> list[Value]:
    """The values that an operator on a tuple reads."""
    from tvm import relax

    if isinstance(call.args[0], relax.Tuple):
        return [values.source(item) for item in call.args[0].fields]
    return values.source(call.args[0]).fields


def _image_aspect(parents: Sequence[Value], result: Value) -> tuple[int, int]:
    """Of an image that stays one, its own size."""
    for parent in parents:
        image = parent.blocked is not None or is_image(parent)
        if image and result.shape is not None and len(result.shape) == 4:
            return result.shape[2], result.shape[3]
    return aspect_of(parents)


MOVERS: Mapping[str, Rule] = {
    **dict.fromkeys(("reshape", "flatten", "expand_dims", "squeeze"), reshape),
    "permute_dims": transpose,
    "concat": concatenation,
    "split": split,
    "strided_slice": strided_slice,
    "nn.pad": pad,
}
"""By the name of the Relax operator."""
