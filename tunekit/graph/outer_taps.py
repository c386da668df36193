"""Taps of a convolution's window that never leave the padding, taken from the window.

Windows are spread far in segmentation (a dilation of 24 on 16 pixels), and stand on single pixels
in detection: all but the middle of them multiplies zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.ir.relax import constant_value, is_finite, operator_name, static_shape
from tunekit.ir.rewrite import replace_calls

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import Expr

    from tunekit.ir.rewrite import Replace

_LAYOUTS = {"nn.conv1d": "NCW", "nn.conv2d": "NCHW", "nn.conv3d": "NCDHW"}


@dataclass(frozen=True)
class _Window:
    """What is left of a convolution's window.

    Attributes:
        taps: (first, behind the last) along each axis.
        padding: before all axes and behind them.
    """

    taps: tuple[tuple[int, int], ...]
    padding: tuple[int, ...]


def without_outer_taps(module: IRModule) -> IRModule:
    """The module with smaller windows where their outer taps only ever read padding.

    Args:
        module: Relax module, weights bound as constants.
    """

    def replacement(value: Expr) -> Replace | None:
        window = _smaller(value)
        if window is None:
            return None
        return lambda builder, call: builder.emit(_convolution(call, window))

    return replace_calls(module, replacement)


def _convolution(call: Any, window: _Window) -> Expr:
    from tvm import relax

    weights, attrs = constant_value(call.args[1]), call.attrs
    assert weights is not None
    kept = weights[(slice(None), slice(None), *(slice(*taps) for taps in window.taps))]
    convolution = getattr(relax.op.nn, operator_name(call).removeprefix("nn."))
    result: Expr = convolution(
        call.args[0],
        relax.const(kept.copy(), str(weights.dtype)),
        strides=[int(stride) for stride in attrs.strides],
        padding=list(window.padding),
        dilation=[int(step) for step in attrs.dilation],
        groups=int(attrs.groups),
        out_dtype=attrs.out_dtype,
    )
    return result


def _smaller(value: Expr) -> _Window | None:
    """The window that a convolution should have; None for what is no such convolution."""
    layout = _LAYOUTS.get(operator_name(value))
    if layout is None or str(value.attrs.data_layout) != layout:
        return None
    shape, result = static_shape(value.args[0]), static_shape(value)
    weights = constant_value(value.args[1])
    if shape is None or result is None or weights is None:
        return None
    attrs, axes = value.attrs, len(shape) - 2
    paddings = [int(width) for width in attrs.padding]
    taps, befores, behinds = [], [], []
    for axis, count in enumerate(weights.shape[2:]):
        dilation, before, behind = int(attrs.dilation[axis]), paddings[axis], paddings[axis + axes]
        places = [tap * dilation - before for tap in range(count)]
        reached = int(attrs.strides[axis]) * (result[2 + axis] - 1)
        reading = [tap for tap, place in enumerate(places) if -reached <= place < shape[2 + axis]]
        if not reading:
            return None
        first, end = reading[0], reading[-1] + 1
        taps.append((first, end))
        befores.append(before - first * dilation)
        behinds.append(behind - (count - end) * dilation)
    window = _Window(tuple(taps), (*befores, *behinds))
    all_of_it = all(
        end - first == count
        for (first, end), count in zip(window.taps, weights.shape[2:], strict=True)
    )
    # A window that would have to begin behind the first pixel stays as it is.
    if all_of_it or min(window.padding) < 0 or not is_finite(weights):
        return None
    return window
