"""What goes into a model and what comes out of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import add, floordiv, mul, sub
from typing import TYPE_CHECKING, cast

from tunekit.cache import package_digest

if TYPE_CHECKING:
    from tunekit.recipe.inputs import ValueRange


_HYPHENATED = re.compile(r"[^\W\d]\w*(-[^\W\d]\w*)+")
_COMPUTES: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
    ast.FloorDiv: floordiv,
}


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor of fixed shape.

    Attributes:
        name: the model's or the recipe's own.
        shape: () of a single number.
        dtype: in numpy's names (`float32`).
        values: what sample inputs are drawn from, where the recipe says it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: ValueRange | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.name}: {'x'.join(map(str, self.shape)) or 'scalar'} {self.dtype}"


@dataclass(frozen=True)
class DeclaredInput:
    """An input as a model file declares it, where some sizes may be open.

    Attributes:
        name: the file's own.
        dims: a size, the name of an open one or what it is computed from ("2*s0"), or None where
            the file has no name for it.
        dtype: in numpy's names.
    """

    name: str
    dims: tuple[int | str | None, ...]
    dtype: str

    @property
    def open(self) -> tuple[str, ...]:
        """The names of its open sizes, each once, also of those that others are computed from."""
        names = [name for dim in self.dims if isinstance(dim, str) for name in _names_in(dim)]
        return tuple(dict.fromkeys(names))

    @property
    def is_named(self) -> bool:
        """Whether names for all its open sizes are there."""
        return None not in self.dims

    def resolved(self, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
        """Its shape where the open sizes are these, None where one is not among them."""
        shape = tuple(_size(dim, sizes) for dim in self.dims)
        return None if None in shape else cast("tuple[int, ...]", shape)

    def example(self, sizes: Mapping[str, int], other: int) -> tuple[int, ...]:
        """A shape it could have: with these sizes, and with `other` for those without a name."""
        return tuple(_size(dim, sizes) or other for dim in self.dims)

    def spec(self) -> TensorSpec:
        """With 0 for a size that is open."""
        shape = tuple(dim if isinstance(dim, int) else 0 for dim in self.dims)
        return TensorSpec(self.name, shape, self.dtype)

    def __str__(self) -> str:
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.dims)
        return f"{self.name}: [{dims}] {self.dtype}"


def _size(dim: int | str | None, sizes: Mapping[str, int]) -> int | None:
    if dim is None or isinstance(dim, int):
        return dim
    if dim in sizes:
        return sizes[dim]
    formula = _formula(dim)
    return None if formula is None else _value(formula, sizes)


def _names_in(dim: str) -> list[str]:
    """What a size is computed from, as "2*s0" is; all other texts are names themselves."""
    formula = _formula(dim)
    if formula is None:
        return [dim]
    names = [node.id for node in ast.walk(formula) if isinstance(node, ast.Name)]
    return names or [dim]


def _formula(text: str) -> ast.expr | None:
    """A text that computes with sizes, where it is one: a file may call a size anything."""
    if _HYPHENATED.fullmatch(text):
        return None
    try:
        formula = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    known: tuple[type[ast.AST], ...] = (
        ast.BinOp,
        *_COMPUTES,
        ast.UnaryOp,
        ast.USub,
        ast.Name,
        ast.Load,
        ast.Constant,
    )
    return formula if all(isinstance(node, known) for node in ast.walk(formula)) else None


def _value(formula: ast.expr, sizes: Mapping[str, int]) -> int | None:
    """What it comes to; None where a size in it is open, or it is no formula of sizes."""
    match formula:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            return sizes.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _value(operand, sizes)
            return None if value is None else -value
        case ast.BinOp(left=left, op=op, right=right):
            one, other = _value(left, sizes), _value(right, sizes)
            compute = _COMPUTES[type(op)]
            if one is None or other is None:
                return None
            return compute(one, other) if other or compute is not floordiv else None
    return None


def code_digest() -> str:
    """Identifies the code that imports models: what other code made is not read back."""
    return package_digest(
        *("models", "onnx_frontend", "torch_frontend", "frontends", "ir"),
        *("extern_kernels", "detectors"),
    )
