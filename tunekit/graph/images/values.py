"""The values of a graph in two forms: their own, and as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.ir.relax import static_shape

if TYPE_CHECKING:
    from tvm.relax import BlockBuilder, Expr, Var


@dataclass
class ImageValue:
    """A value in its own form, as an image, or both.

    Attributes:
        shape: (N, C, W) or (N, C, D, H, W) of one that may be an image.
    """

    shape: tuple[int, ...]
    own: Expr | None = None
    image: Expr | None = None


class ImageValues:
    """All values of one graph, by their variables, and what makes the form that is missing.

    Attributes:
        builder: emits what is made.
    """

    builder: BlockBuilder

    def __init__(self) -> None:
        self._values: dict[Any, ImageValue] = {}

    def __setitem__(self, var: Var, value: ImageValue) -> None:
        self._values[var] = value

    def own_of(self, var: Var) -> Expr:
        """A variable's value in its own form."""
        return self.own(self._values[var])

    def value(self, expr: Expr) -> ImageValue:
        """What an argument stands for."""
        from tvm import relax

        if isinstance(expr, relax.Var):
            return self._values[expr]
        return ImageValue(static_shape(expr) or (), own=expr)

    def own(self, value: ImageValue) -> Expr:
        """The value in its own form."""
        from tvm import relax

        if value.own is None:
            assert value.image is not None
            if len(value.shape) == 5:
                batch, channels, *space = value.shape
                frames = self.reshape(value.image, (batch, space[0], channels, *space[1:]))
                value.own = self.builder.emit(relax.op.permute_dims(frames, [0, 2, 1, 3, 4]))
            else:
                value.own = self.reshape(value.image, value.shape)
        return value.own

    def image(self, value: ImageValue) -> Expr:
        """The value as an image."""
        from tvm import relax

        if value.image is None:
            own = self.own(value)
            if len(value.shape) == 5:
                own = self.builder.emit(relax.op.permute_dims(own, [0, 2, 1, 3, 4]))
            value.image = self.reshape(own, image_shape(value.shape))
        return value.image

    def reshape(self, expr: Expr, shape: Sequence[int]) -> Expr:
        """The same elements in another shape."""
        from tvm import relax

        return self.builder.emit(relax.op.reshape(expr, relax.ShapeExpr(list(shape))))


def image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(N, C, 1, W) of a signal, (N*D, C, H, W) of a volume."""
    if len(shape) == 3:
        return (shape[0], shape[1], 1, shape[2])
    return (shape[0] * shape[2], shape[1], *shape[3:])
