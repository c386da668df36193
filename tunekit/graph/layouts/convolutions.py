"""Convolutions on blocked activations: kernels of tunekit's own, their weights packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tunekit.graph.algorithms import alternatives
from tunekit.graph.implementation import Choice, ConvProblem, Implementation
from tunekit.graph.kernels import winograd
from tunekit.graph.kernels.blocked import BlockedKernel, blocked_kernel
from tunekit.graph.kernels.convolution import ConvolutionShape, Phases
from tunekit.graph.kernels.transposed import (
    PhasedAxis,
    phase_weights,
    phases,
    shuffle_phases,
)
from tunekit.graph.layouts.blocks import Blocks, padded_channels
from tunekit.graph.layouts.gates import scaled_weights, scales_weights_instead
from tunekit.graph.layouts.groups import merge_groups, repeated_channels
from tunekit.graph.layouts.moved import has_zeros_around
from tunekit.graph.layouts.operators import pair, quad
from tunekit.graph.layouts.value import Value
from tunekit.graph.layouts.values import LayoutValues
from tunekit.ir.relax import constant_value

if TYPE_CHECKING:
    import numpy as np
    from tvm.relax import Call, Expr


# Winograd's sums have a hundred times the size of what they are of: shorter floats overflow, and
# round by percents.
_LEAST_FLOAT_BYTES = 4


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
        shape = _shape(call)
        padded = values.get(call.args[0])
        if padded is not None and has_zeros_around(padded):
            source, shape, gate = *_without_zeros(values, padded, shape), None
        else:
            source, gate = _ungated(values, call.args[0], weights.shape, shape)
        outputs = values.blocks(weights.shape[0])
        channels = (shape.groups, weights.shape[1], weights.shape[0] // shape.groups)
        grouped = _grouped(values, source, weights, shape, outputs)
        if grouped is None:
            return False
        source, kernels, shape = grouped
        depthwise = 1 < shape.groups == weights.shape[0] and kernels.shape[1] == 1
        data, inputs = data_of(values, source, blocked=depthwise)
        as_they_are = inputs.exact and outputs.exact and kernels.shape == weights.shape
        kernel = blocked_kernel(
            _padded(kernels, shape, outputs, inputs),
            shape,
            inputs.width,
            outputs.width,
            str(call.ty.dtype),
            depthwise=depthwise,
            implementation=self._implementation(kernels, shape, result.shape),
            channels=None if as_they_are else channels,
        )
        packed = values.made_constant(weights, (kernel.name, inputs, outputs), kernel.pack)
        result.blocked = emitted(values, kernel, data, _scaled(values, packed, gate, inputs))
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
        if source.shape is None:
            return False
        strides, (top, left, _, _) = pair(attrs.strides), quad(attrs.padding)
        outputs = values.blocks(weights.shape[1])
        # Of few channels the phases are lanes of one vector, all of which read the same.
        together = values.full_blocks(math.prod(strides) * outputs.channels)
        sizes = (source.shape[2:], result.shape[2:], weights.shape[2:], strides, (top, left))
        axes = [phases(*axis) for axis in zip(*sizes, strict=True)]
        alike = [phases(*axis, shifted=False) for axis in zip(*sizes, strict=True)]
        vectors = math.prod(strides) * outputs.count
        is_dense = together.count * _window(alike) < vectors * _window(axes)
        vertical, horizontal = alike if is_dense else axes
        if vertical is None or horizontal is None:
            return False
        data, inputs = data_of(values, source)
        own = outputs.channels if is_dense else outputs.padded
        padded = padded_channels(weights, inputs.padded, own)
        kernels = phase_weights(padded, vertical, horizontal)
        if is_dense:
            kernels = padded_channels(kernels, together.padded, inputs.padded)
        shifts = (vertical.shift, horizontal.shift)
        apart = Phases(*strides, *shifts) if any(shifts) else None
        kernel = blocked_kernel(
            kernels,
            ConvolutionShape(
                (1, 1),
                (vertical.before, horizontal.before, vertical.after, horizontal.after),
                (1, 1),
                1,
                phases=apart,
            ),
            inputs.width,
            together.width if is_dense else outputs.width,
            str(call.ty.dtype),
            depthwise=False,
            implementation=None,
            channels=(1, inputs.channels, together.channels) if apart or is_dense else None,
        )
        how = (kernel.name, inputs, outputs, vertical, horizontal)
        phased = emitted(values, kernel, data, values.made_constant(weights, how, kernel.pack))
        result.blocked = values.builder.emit(
            values.builder.call_te(
                shuffle_phases, phased, strides, result.shape, outputs.width, own
            )
        )
        return True

    def _implementation(
        self, weights: np.ndarray, shape: ConvolutionShape, output: tuple[int, ...]
    ) -> Implementation | None:
        """How the convolution is computed by the choice, None where there is nothing to choose."""
        if not shape.plain or weights.shape[2:] != (winograd.KERNEL, winograd.KERNEL):
            return None
        if weights.dtype.itemsize < _LEAST_FLOAT_BYTES:
            return None
        problem = ConvProblem(output[0], weights.shape[1], *output[1:])
        if len(alternatives(problem)) == 1:
            return None
        self.problems.add(problem)
        return Implementation(problem, self.choice.get(problem, "direct"))


def _window(axes: Sequence[PhasedAxis | None]) -> int:
    """Places of a window; 0 where there is none."""
    return math.prod(len(axis.taps[0]) if axis else 0 for axis in axes)


def _shape(call: Call) -> ConvolutionShape:
    attrs = call.attrs
    return ConvolutionShape(
        strides=pair(attrs.strides),
        padding=quad(attrs.padding),
        dilation=pair(attrs.dilation),
        groups=int(attrs.groups),
    )


def _without_zeros(
    values: LayoutValues, padded: Value, shape: ConvolutionShape
) -> tuple[Value, ConvolutionShape]:
    """An image of which a convolution reads more zeros around it, and that convolution."""
    assert padded.moved is not None
    assert padded.moved.zeros is not None
    top, left, bottom, right = map(sum, zip(padded.moved.zeros, shape.padding, strict=True))
    [source] = padded.moved.parents
    return values.settled(source), replace(shape, padding=(top, left, bottom, right))


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


def _grouped(
    values: LayoutValues,
    source: Value,
    weights: np.ndarray,
    shape: ConvolutionShape,
    outputs: Blocks,
) -> tuple[Value, np.ndarray, ConvolutionShape] | None:
    """What a convolution reads, its weights and itself, with groups of whole blocks or of one
    channel; None where that would not pay."""
    assert source.shape is not None
    if shape.groups == 1:
        return source, weights, shape
    times = weights.shape[0] // shape.groups
    if weights.shape[1] == 1:
        wide = repeated_channels(values, source, times) if times > 1 else source
        return wide, weights, replace(shape, groups=weights.shape[0])
    merged = merge_groups(weights, shape.groups, values.blocks(source.shape[1]), outputs)
    if merged is None:
        return None
    kernels, groups = merged
    return source, kernels, replace(shape, groups=groups)


def data_of(values: LayoutValues, source: Value, *, blocked: bool = False) -> tuple[Expr, Blocks]:
    """What a convolution reads, and its blocks; with `blocked` as wide as those of others."""
    assert source.shape is not None
    blocks = values.blocks(source.shape[1])
    if blocks.exact or blocked or source.blocked is not None:
        data = values.blocked(source)
        assert data is not None
        return data, blocks
    # An image of three channels: one channel a block is only another shape.
    alone = values.reshape(values.plain(source), (*source.shape, 1))
    return alone, Blocks(source.shape[1], 1)


def _padded(
    weights: np.ndarray, shape: ConvolutionShape, outputs: Blocks, inputs: Blocks
) -> np.ndarray:
    """OIHW weights with channels for the padding of blocks; groups have none but depthwise ones,
    whose outputs do."""
    own = weights.shape[1] if shape.groups > 1 else inputs.padded
    return padded_channels(weights, outputs.padded, own)


def emitted(values: LayoutValues, kernel: BlockedKernel, data: Expr, weights: Expr) -> Expr:
    """What a kernel computes of blocked data, with the attributes that tell what it is."""
    return values.builder.emit(
        values.builder.call_te(
            kernel.compute,
            data,
            weights,
            primfunc_name_hint=kernel.name,
            primfunc_attrs=kernel.attributes,
        )
    )


def _scaled(values: LayoutValues, packed: Expr, gate: Value | None, inputs: Blocks) -> Expr:
    """A kernel's weights, scaled by the gate if there is one."""
    if gate is None:
        return packed
    scales = values.operand(gate, inputs)
    return values.builder.emit(values.builder.call_te(scaled_weights, packed, scales))
