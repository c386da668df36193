"""The values of a graph in two forms: plain (N, C, H, W) and blocked (N, C/b, H, W, b).

A value may exist in one form or in both; the other is made when somebody asks for it, and where
that moves bytes it is counted. Channels that are no multiple of a vector have padding in their last
block (see `blocks`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from tunekit.graph.kernels.convolution import from_blocked, to_blocked
from tunekit.graph.layouts.blocks import Blocks
from tunekit.graph.layouts.moved import gathered, is_image, leaves
from tunekit.graph.layouts.value import Value
from tunekit.ir.relax import constant_value, static_shape

if TYPE_CHECKING:
    import numpy as np
    from tvm.relax import BlockBuilder, Call, Expr, Var


class LayoutValues:
    """All values of one graph, by their variables, and what makes the form that is missing.

    Attributes:
        builder: emits what is made; the graph's that is being written.
        transforms: layout transforms of activations so far.
    """

    builder: BlockBuilder

    def __init__(self, vector_lanes: int, multiply: Callable[[Call, Value], bool]) -> None:
        """`multiply` emits the product with a gate that was put off, into the value it is given."""
        self.transforms = 0
        self._lanes = vector_lanes
        self._multiply = multiply
        self._values: dict[Any, Value] = {}
        self._constants: dict[Hashable, Expr] = {}

    def __getitem__(self, var: Var) -> Value:
        return self._values[var]

    def __setitem__(self, var: Var, value: Value) -> None:
        self._values[var] = value

    def get(self, expr: Expr) -> Value | None:
        """The value as it is: a product with a gate may not have been made."""
        return self._values.get(expr)

    def value(self, expr: Expr) -> Value:
        """What an argument stands for, in one form at least; moved elements only where they are
        no image."""
        return self.settled(self.source(expr))

    def settled(self, value: Value) -> Value:
        """A value whose elements are moved, if it is an image."""
        if value.plain is None and value.blocked is None and is_image(value):
            self.blocked(value)
        return value

    def source(self, expr: Expr) -> Value:
        """What an argument stands for, of which elements are to be moved."""
        from tvm import relax

        if isinstance(expr, relax.Var):
            return self._multiplied(self._values[expr])
        return Value(static_shape(expr), plain=expr)

    def _multiplied(self, value: Value) -> Value:
        """The value, its product with a gate made if it is one that has not been made."""
        if value.gated is not None and value.blocked is None and value.plain is None:
            made = self._multiply(value.gated.call, value)
            assert made
        return value

    def plain_of(self, var: Var) -> Expr:
        """The plain form of a variable's value."""
        return self.plain(self._values[var])

    def plain(self, value: Value) -> Expr:
        """The plain form, made if it has to be."""
        from tvm import relax

        value = self._multiplied(value)
        if value.plain is None and value.fields:
            value.plain = self.builder.emit(
                relax.Tuple([self.plain(item) for item in value.fields])
            )
        if value.plain is None and value.blocked is None:
            value.plain = self._gathered(value, None)
        if value.plain is None:
            assert value.blocked is not None
            assert value.shape is not None
            value.plain = self._unblocked(value.blocked, value.shape)
        return value.plain

    def _gathered(self, value: Value, block: int | None) -> Expr:
        """Moved elements in the places where they belong."""
        sources = leaves(value, blocked=block is not None)
        self.transforms += any(leaf.blocked != (block is not None) for leaf in sources)
        return self.builder.emit(
            self.builder.call_te(
                lambda *tensors: gathered(value, block, sources, tensors),
                *(leaf.expr for leaf in sources),
                primfunc_name_hint=value.moved.name if value.moved else "moved",
            )
        )

    def _unblocked(self, blocked: Expr, shape: tuple[int, ...]) -> Expr:
        """The plain form of what is blocked; `shape` is (N, C, H, W)."""
        _, _, height, width, block = static_shape(blocked) or ()
        if block == 1 or (height * width == 1 and self.blocks(shape[1]).exact):
            # One channel a block, or one pixel: the bytes already lie as they should.
            return self.reshape(blocked, shape)
        self.transforms += height * width > 1
        return self.builder.emit(self.builder.call_te(from_blocked, blocked, shape[1]))

    def blocked(self, value: Value) -> Expr | None:
        """The blocked form, made if it has to be; None of what is no image."""
        if value.blocked is None and value.shape is not None and len(value.shape) == 4:
            blocks = self.blocks(value.shape[1])
            if value.plain is None and value.moved is not None:
                value.blocked = self._gathered(value, blocks.width)
                return value.blocked
            plain = self.plain(value)
            batch, _, height, width = value.shape
            if height * width == 1 and blocks.exact:
                five = (batch, blocks.count, 1, 1, blocks.width)
                value.blocked = self.reshape(plain, five)
            else:
                self.transforms += height * width > 1
                value.blocked = self.builder.emit(
                    self.builder.call_te(to_blocked, plain, blocks.width)
                )
        return value.blocked

    def blocks(self, channels: int) -> Blocks:
        """How so many channels are cut."""
        return Blocks.of(channels, self._lanes)

    def full_blocks(self, channels: int) -> Blocks:
        """As few blocks as hold so many channels, whatever that leaves over; not wider than one
        needs."""
        return (
            Blocks(channels, self._lanes) if channels > self._lanes // 2 else self.blocks(channels)
        )

    def reshape(self, expr: Expr, shape: tuple[int, ...]) -> Expr:
        """The same bytes in another shape."""
        from tvm import relax

        return self.builder.emit(relax.op.reshape(expr, relax.ShapeExpr(list(shape))))

    def made_constant(
        self, source: np.ndarray, how: Hashable, make: Callable[[], np.ndarray]
    ) -> Expr:
        """A constant made of another one, the same for equal sources and ways to make it: a head
        may be called on piece after piece."""
        from tvm import relax

        key = (hashlib.sha256(source.tobytes()).digest(), source.shape, how)
        if key not in self._constants:
            array = make()
            self._constants[key] = relax.const(array, str(array.dtype))
        return self._constants[key]

    def operand(self, operand: Value, blocks: Blocks) -> Expr | None:
        """An operand of an elementwise operator, in the form that broadcasts with blocks; None
        where padding might become infinite."""
        from tvm import relax

        assert operand.shape is not None
        shape = (1,) * (4 - len(operand.shape)) + operand.shape
        array = constant_value(operand.plain) if operand.plain is not None else None
        if array is not None and not operand.shape:
            return operand.plain
        batch, channels, height, width = shape
        if channels == 1 and array is not None:
            return relax.const(array.reshape((batch, 1, height, width, 1)), str(array.dtype))
        if channels == 1 and (blocks.channels > 1 or operand.blocked is None):
            # What a run gives may be infinite, and its product with padding no number.
            if not blocks.exact:
                return None
            return self.reshape(self.plain(operand), (batch, 1, height, width, 1))
        if array is not None:
            return relax.const(_packed(array.reshape(shape), blocks), str(array.dtype))
        return self.blocked(operand) if len(operand.shape) == 4 else None


def _packed(array: np.ndarray, blocks: Blocks) -> np.ndarray:
    """A constant (N, C, H, W) in blocks, with ones for padding: no quotient becomes infinite."""
    import numpy as np

    batch, channels, height, width = array.shape
    missing = blocks.padded - channels
    padded = np.pad(array, [(0, 0), (0, missing), (0, 0), (0, 0)], constant_values=1)
    split = padded.reshape(batch, blocks.count, blocks.width, height, width)
    return split.transpose(0, 1, 3, 4, 2).copy(order="C")
