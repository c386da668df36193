"""Convolutions on blocked activations: kernels of tunekit's own, their weights packed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunekit.graph.algorithms import alternatives
from tunekit.graph.implementation import Choice, ConvProblem, Implementation
from tunekit.graph.kernels import winograd
from tunekit.graph.kernels.blocked import BlockedKernel, blocked_kernel
from tunekit.graph.kernels.convolution import ConvolutionShape
from tunekit.graph.kernels.transposed import phase_weights, phases, shuffle_phases
from tunekit.graph.layouts.gates import scaled_weights, scales_weights_instead
from tunekit.graph.layouts.operators import pair, quad
from tunekit.graph.layouts.values import LayoutValues, Value
from tunekit.ir.relax import constant_value

if TYPE_CHECKING:
    import numpy as np
    from tvm.relax import Call, Expr


@dataclass
class Convolutions:
    """The rule of convolutions.

    Attributes:
        choice: of their algorithms; direct where it says nothing.
        problems: those so far that have another algorithm than the direct one.
    """

    choice: Choice
    problems: set[ConvProblem] = field(default_factory=set)

    def rule(self, values: LayoutValues, call: Call, result: Value) -> bool:
        """Gives a convolution with constant weights its blocked form; see `operators`."""
        weights = constant_value(values.plain(values.value(call.args[1])))
        if weights is None or str(call.attrs.data_layout) != "NCHW" or result.shape is None:
            return False
        out_block = values.block(weights.shape[0])
        if out_block is None:
            return False
        shape = _shape(call)
        source, gate = _ungated(values, call.args[0], weights.shape, shape)
        assert source.shape is not None
        depthwise = shape.groups == source.shape[1] == weights.shape[0] and weights.shape[1] == 1
        if not depthwise and not _groups_fit(values, source.shape[1], weights, shape, out_block):
            return False
        data, in_block = _data(values, source)
        if data is None:
            return False
        kernel = blocked_kernel(
            weights,
            shape,
            in_block,
            out_block,
            str(call.ty.dtype),
            depthwise=depthwise,
            implementation=self._implementation(weights, shape, result.shape),
        )
        result.blocked = _emitted(values, kernel, data, gate, in_block)
        return True

    def transposed_rule(self, values: LayoutValues, call: Call, result: Value) -> bool:
        """Gives a transposed convolution with constant weights its blocked form, by phases."""
        weights = constant_value(values.plain(values.value(call.args[1])))
        attrs = call.attrs
        layouts = (str(attrs.data_layout), str(attrs.kernel_layout))
        if weights is None or layouts != ("NCHW", "IOHW") or result.shape is None:
            return False
        if int(attrs.groups) != 1 or pair(attrs.dilation) != (1, 1):
            return False
        source = values.value(call.args[0])
        out_block = values.block(weights.shape[1])
        if out_block is None or source.shape is None:
            return False
        top, left, _, _ = quad(attrs.padding)
        vertical, horizontal = (
            phases(*axis)
            for axis in zip(
                source.shape[2:],
                result.shape[2:],
                weights.shape[2:],
                pair(attrs.strides),
                (top, left),
                strict=True,
            )
        )
        if vertical is None or horizontal is None:
            return False
        data, in_block = _data(values, source)
        if data is None:
            return False
        padding = (vertical.before, horizontal.before, vertical.after, horizontal.after)
        kernel = blocked_kernel(
            phase_weights(weights, vertical, horizontal),
            ConvolutionShape((1, 1), padding, (1, 1), 1),
            in_block,
            out_block,
            str(call.ty.dtype),
            depthwise=False,
            implementation=None,
        )
        phased = _emitted(values, kernel, data, None, in_block)
        result.blocked = values.builder.emit(
            values.builder.call_te(
                shuffle_phases, phased, vertical.stride, horizontal.stride, *result.shape[2:]
            )
        )
        return True

    def _implementation(
        self, weights: np.ndarray, shape: ConvolutionShape, output: tuple[int, ...]
    ) -> Implementation | None:
        """How the convolution is computed by the choice, None where there is nothing to choose."""
        if not shape.plain or weights.shape[2:] != (winograd.KERNEL, winograd.KERNEL):
            return None
        problem = ConvProblem(output[0], weights.shape[1], *output[1:])
        if len(alternatives(problem)) == 1:
            return None
        self.problems.add(problem)
        return Implementation(problem, self.choice.get(problem, "direct"))


def _shape(call: Call) -> ConvolutionShape:
    attrs = call.attrs
    return ConvolutionShape(
        strides=pair(attrs.strides),
        padding=quad(attrs.padding),
        dilation=pair(attrs.dilation),
        groups=int(attrs.groups),
    )


def _ungated(
    values: LayoutValues, argument: Expr, weights: tuple[int, ...], shape: ConvolutionShape
) -> tuple[Value, Value | None]:
    """What a convolution reads, and the gate that its weights are to be scaled by."""
    value = values.get(argument)
    if value is None or value.gated is None or value.shape is None:
        return values.value(argument), None
    made = value.blocked is not None or value.plain is not None
    if made or not scales_weights_instead(value.shape, weights, shape):
        return values.value(argument), None
    return value.gated.activation, value.gated.gate


def _groups_fit(
    values: LayoutValues,
    in_channels: int,
    weights: np.ndarray,
    shape: ConvolutionShape,
    out_block: int,
) -> bool:
    """Whether no block crosses from one group into the next."""
    if shape.groups == 1:
        return True
    out_channels, in_per_group = weights.shape[:2]
    same = values.block(in_per_group) == values.block(in_channels)
    return same and out_channels // shape.groups % out_block == 0


def _data(values: LayoutValues, source: Value) -> tuple[Expr | None, int]:
    """What a convolution reads in blocks, and the channels of a block."""
    assert source.shape is not None
    block = values.block(source.shape[1])
    if block is None:
        # An image of three channels: one channel a block is only another shape.
        return values.reshape(values.plain(source), (*source.shape, 1)), 1
    return values.blocked(source), block


def _emitted(
    values: LayoutValues, kernel: BlockedKernel, data: Expr, gate: Value | None, in_block: int
) -> Expr:
    """What a kernel computes of blocked data, with the attributes that tell what it is."""
    return values.builder.emit(
        values.builder.call_te(
            kernel.compute,
            data,
            _packed(values, kernel, gate, in_block),
            primfunc_name_hint=kernel.name,
            primfunc_attrs=kernel.attributes,
        )
    )


def _packed(values: LayoutValues, kernel: BlockedKernel, gate: Value | None, in_block: int) -> Expr:
    """A kernel's weights as it reads them, scaled by the gate if there is one."""
    from tvm import relax

    packed: Expr = relax.const(kernel.weights, str(kernel.weights.dtype))
    if gate is None:
        return packed
    scales = values.operand(gate, in_block)
    return values.builder.emit(values.builder.call_te(scaled_weights, packed, scales))
