"""Where queries, keys and values lie before anything moves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.graph.layouts.moved import unreshaped
from tunekit.ir.relax import constant_value, operator_name, static_shape

if TYPE_CHECKING:
    from tvm.relax import Expr

Indices = Sequence[Any]

RESHAPES = ("reshape", "squeeze", "expand_dims", "flatten")


@dataclass(frozen=True)
class Source:
    """A tensor, and where in it an element of another one lies."""

    expr: Expr
    place: Callable[[Indices], Indices]
    factor: float = 1.0


def traced(
    values: Mapping[Any, Expr], aligned: Source, *, contiguous: tuple[int, ...] = ()
) -> Source:
    """Where the elements of an operand lie in the end; with extents of the operand only where
    those with neighbouring last indices are neighbours, and as they are."""
    source: Source | None = aligned
    best = aligned
    while source is not None:
        if not contiguous or (source.factor == 1 and _is_contiguous(source, contiguous)):
            best = source
        source = _further(values, source)
    return best


def _further(values: Mapping[Any, Expr], source: Source) -> Source | None:
    call, shape = values.get(source.expr), static_shape(source.expr)
    if call is None or shape is None or 0 in shape:
        return None
    name, place = operator_name(call), source.place
    if name in ("multiply", "divide"):
        number = constant_value(call.args[1])
        if number is None or number.size != 1 or static_shape(call.args[0]) != shape:
            return None
        factor = float(number.reshape(()))
        factor = factor if name == "multiply" else 1 / factor
        return Source(call.args[0], place, source.factor * factor)
    before = static_shape(call.args[0]) if name else None
    if before is None:
        return None
    moved = _moved(name, call, shape, before)
    if moved is None:
        return None
    return Source(call.args[0], lambda i: moved(place(i)), source.factor)


def aligned_source(argument: Expr, axes: int) -> Source:
    """An operand of a product, at indices of the batch of the result, which has so many axes, and
    its own last two."""
    shape = static_shape(argument) or ()

    def place(indices: Indices) -> Indices:
        batch = broadcast_indices(indices[axes - len(shape) : -2], shape[:-2])
        return [*batch, *indices[-2:]]

    return Source(argument, place)


def broadcast_indices(indices: Indices, shape: Sequence[int]) -> list[Any]:
    """Of a result, those of an operand that is broadcast to it."""
    own = list(indices)[len(indices) - len(shape) :]
    return [0 if extent == 1 else index for index, extent in zip(own, shape, strict=True)]


def _moved(
    name: str, call: Any, shape: tuple[int, ...], before: tuple[int, ...]
) -> Callable[[Indices], Indices] | None:
    """Where the elements of what an operator gives lie in what it reads, None where it does more
    than move them."""
    if name in RESHAPES:
        return lambda indices: unreshaped(indices, shape, before)
    if name == "permute_dims":
        axes = call.attrs.axes
        rank = len(shape)
        order = [int(a) % rank for a in axes] if axes is not None else [*range(rank)][::-1]
        return lambda indices: [indices[order.index(axis)] for axis in range(rank)]
    if name == "broadcast_to":
        return lambda indices: broadcast_indices(indices, before)
    if name == "strided_slice":
        begins = _begins(call, before)
        if begins is not None:
            return lambda indices: [x + first for x, first in zip(indices, begins, strict=True)]
    return None


def _begins(call: Any, shape: tuple[int, ...]) -> list[int] | None:
    """Where a slice with steps of one begins along each axis."""
    from tvm import relax

    lists = [
        [int(number.value) for number in given.fields]
        if isinstance(given, relax.Tuple) and all(hasattr(n, "value") for n in given.fields)
        else None
        for given in call.args[1:]
    ]
    if len(lists) < 2 or lists[0] is None or lists[1] is None:
        return None
    if len(lists) > 3 and lists[3] != [1] * len(lists[0]):
        return None
    begins = [0] * len(shape)
    for axis, begin in zip(lists[0], lists[1], strict=True):
        extent = shape[axis]
        begins[axis] = min(extent, max(0, begin + extent if begin < 0 else begin))
    return begins


def _is_contiguous(source: Source, extents: Sequence[int]) -> bool:
    """Whether elements whose last indices are neighbours, of so many, lie beside each other."""
    from tvm import tirx
    from tvm.ir import Range
    from tvm.sym import Analyzer

    shape = static_shape(source.expr) or ()
    analyzer = Analyzer()
    indices = [tirx.Var(f"i{axis}", "int64") for axis in range(len(extents))]
    for index, extent in zip(indices, (*extents[:-1], extents[-1] - 1), strict=True):
        analyzer.bind(index, Range(0, extent))

    def address(indices: Indices) -> Any:
        flat: Any = 0
        for place, extent in zip(source.place(indices), shape, strict=True):
            flat = flat * extent + place
        return flat

    following = [*indices[:-1], indices[-1] + 1]
    return bool(analyzer.can_prove_equal(address(following) - address(indices), 1))
