"""Values whose elements are those of other values, in other places: joined, cut, shuffled, padded.

Nothing is moved before somebody reads it. Then one kernel takes each element from where it lies in
the end, blocked or plain, through all steps between: a shuffle of channels (reshape, transpose,
reshape) and the halves that it is cut into are no more than the indices of what reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.graph.layouts.value import Indices, Moved, Reader, Value

if TYPE_CHECKING:
    from tvm import te
    from tvm.relax import Expr


@dataclass(frozen=True)
class Leaf:
    """A tensor that elements lie in, and whether it is blocked."""

    expr: Expr
    blocked: bool


def stays_blocked(value: Value) -> bool:
    """Whether a value is blocked, or made of such and nowhere yet."""
    return value.blocked is not None or (value.moved is not None and value.plain is None)


def has_zeros_around(value: Value) -> bool:
    """Whether a value is an image with zeros around it that nobody has made yet."""
    made = value.plain is not None or value.blocked is not None
    return value.moved is not None and value.moved.zeros is not None and not made


def is_image(value: Value) -> bool:
    """Whether a moved value still looks like an image."""
    if value.moved is None or value.shape is None or len(value.shape) != 4:
        return False
    height, width = value.moved.aspect
    return value.shape[2] * width == value.shape[3] * height


def aspect_of(values: Sequence[Value]) -> tuple[int, int]:
    """Height and width of the first blocked image that values are made of."""
    for value in values:
        if value.blocked is not None and value.shape is not None:
            return value.shape[2], value.shape[3]
        if value.moved is not None:
            return value.moved.aspect
    raise ValueError("no value is blocked")


def reshaped(parent: Value, shape: tuple[int, ...]) -> Moved:
    """How the elements of a value lie in another shape."""
    source = parent.shape or ()
    return Moved(
        "reshape",
        (parent,),
        lambda readers, indices: readers[0](unreshaped(indices, shape, source)),
        aspect_of([parent]),
    )


def leaves(value: Value, *, blocked: bool) -> list[Leaf]:
    """What the elements of a value lie in; where both forms exist, `blocked` says which."""
    found: list[Leaf] = []

    def visit(value: Value) -> None:
        leaf = _leaf(value, blocked=blocked)
        if leaf is not None:
            if not any(leaf.expr.same_as(other.expr) for other in found):
                found.append(leaf)
            return
        assert value.moved is not None
        for parent in value.moved.parents:
            visit(parent)

    visit(value)
    return found


def _leaf(value: Value, *, blocked: bool) -> Leaf | None:
    forms = [(value.blocked, True), (value.plain, False)]
    for expr, is_blocked in forms if blocked else forms[::-1]:
        if expr is not None:
            return Leaf(expr, is_blocked)
    return None


def gathered(
    value: Value, block: int | None, sources: Sequence[Leaf], tensors: Sequence[te.Tensor]
) -> te.Tensor:
    """A moved value as a tensor expression.

    Args:
        value: what is computed.
        block: channels of a block of the result, None for a plain one.
        sources: its `leaves`.
        tensors: of each of them.
    """
    from tvm import te, tirx
    from tvm.ir import Range
    from tvm.sym import Analyzer

    assert value.shape is not None
    assert value.moved is not None
    analyzer = Analyzer()
    read = _reader(value, block is not None, sources, tensors, analyzer)
    shape = value.shape
    if block is not None:
        shape = (shape[0], -(-shape[1] // block), *shape[2:], block)

    def element(*indices: te.Var) -> te.Expr:
        for index, extent in zip(indices, shape, strict=True):
            analyzer.bind(index, Range(0, extent))
        if block is None:
            return analyzer.simplify(read(indices))
        n, c, h, w, b = indices
        channel, channels = c * block + b, value.shape[1] if value.shape else 0
        result = read([n, channel, h, w])
        if channels % block:
            result = tirx.if_then_else(channel < channels, result, tirx.const(0, tensors[0].dtype))
        return analyzer.simplify(result)

    return te.compute(shape, element, name=value.moved.name)


def _reader(
    value: Value,
    blocked: bool,
    sources: Sequence[Leaf],
    tensors: Sequence[te.Tensor],
    analyzer: Any,
) -> Reader:
    """What reads an element of a value from where it lies in the end."""
    leaf = _leaf(value, blocked=blocked)
    if leaf is None:
        moved = value.moved
        assert moved is not None
        readers = [_reader(parent, blocked, sources, tensors, analyzer) for parent in moved.parents]
        return lambda indices: moved.read(readers, [analyzer.simplify(i) for i in indices])
    [tensor] = [
        tensor
        for source, tensor in zip(sources, tensors, strict=True)
        if source.expr.same_as(leaf.expr)
    ]

    def load(indices: Indices) -> Any:
        if leaf.blocked:
            n, c, h, w = indices
            block = int(tensor.shape[4])
            indices = (n, c // block, h, w, c % block)
        return tensor[tuple(analyzer.simplify(index) for index in indices)]

    return load


def unreshaped(indices: Indices, shape: Sequence[int], source: Sequence[int]) -> list[Any]:
    """Where an element of a reshaped tensor lies in its source, of no extent zero."""
    result: list[Any] = []
    for taken, fused in _axis_groups(shape, source):
        flat: Any = 0
        for axis in taken:
            flat = flat * shape[axis] + indices[axis]
        for place, axis in enumerate(fused):
            stride = math.prod(source[other] for other in fused[place + 1 :])
            index = flat // stride
            result.append(index % source[axis] if place else index)
    return result + [0] * (len(source) - len(result))


def _axis_groups(
    shape: Sequence[int], source: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Neighbouring axes of two shapes that have as many elements; axes of one at the end are left
    out."""
    new = old = 0
    while new < len(shape) and old < len(source):
        taken, fused = [new], [old]
        elements, of_source = shape[new], source[old]
        while elements != of_source:
            if elements < of_source:
                new += 1
                taken.append(new)
                elements *= shape[new]
            else:
                old += 1
                fused.append(old)
                of_source *= source[old]
        yield taken, fused
        new, old = new + 1, old + 1
