"""Operators on blocked activations: a rule for each says how it stays blocked.

A rule gives a call's result its blocked form (or its plain one, where that is what it makes), and
says whether it did: where it cannot, the operator is computed plain. A new operator is a rule in
`RULES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tunekit.graph.layouts.gates import gates
from tunekit.graph.layouts.movers import MOVERS, concatenation, parts_of, reshape
from tunekit.graph.layouts.normalization import group_norm
from tunekit.graph.layouts.value import GatedProduct, Value
from tunekit.graph.layouts.values import LayoutValues
from tunekit.ir.relax import constant_value, operator_name, static_shape

if TYPE_CHECKING:
    from tvm.relax import Call, Expr

Rule = Callable[[LayoutValues, "Call", Value], bool]
"""Of all values of the graph, a call, and the value that it gives."""


def _unary(values: LayoutValues, call: Call, result: Value) -> bool:
    from tvm import relax

    source = values.value(call.args[0])
    if source.blocked is None or source.shape is None:
        return False
    if not values.blocks(source.shape[1]).exact and operator_name(call) in _UNBOUNDED:
        return False
    arguments = [source.blocked, *call.args[1:]]
    result.blocked = values.builder.emit(relax.Call(call.op, arguments, call.attrs))
    return True


def _multiply(values: LayoutValues, call: Call, result: Value) -> bool:
    """As `elementwise`, but that the product with a gate is put off: what reads it may scale its
    weights instead."""
    if result.shape is not None:
        for activation, gate in itertools.permutations(map(values.value, call.args)):
            known = constant_value(gate.plain) if gate.plain is not None else None
            if known is None and activation.shape == result.shape:
                blocked = activation.blocked is not None and values.blocks(result.shape[1]).exact
                if blocked and gates(gate.shape, result.shape):
                    result.gated = GatedProduct(activation, gate, call)
                    return True
    return elementwise(values, call, result)


def elementwise(values: LayoutValues, call: Call, result: Value) -> bool:
    """An operator whose operands broadcast to its result."""
    from tvm import relax

    operands = [values.value(argument) for argument in call.args]
    if all(operand.blocked is None for operand in operands) or result.shape is None:
        return False
    if len(result.shape) != 4:
        return False
    blocks = values.blocks(result.shape[1])
    if any(not _broadcasts(operand.shape, result.shape) for operand in operands):
        return False
    if not blocks.exact and not _is_tame(call, operands):
        return False
    arguments: list[Expr] = []
    for operand in operands:
        form = values.operand(operand, blocks)
        if form is None:
            return False
        arguments.append(form)
    result.blocked = values.builder.emit(relax.Call(call.op, arguments, call.attrs))
    return True


def _is_tame(call: Call, operands: list[Value]) -> bool:
    """Whether an operator leaves padding finite: it has no infinite value of finite numbers."""
    name = operator_name(call)
    if name == "divide":
        divisor = operands[1].plain
        known = None if divisor is None else constant_value(divisor)
        return known is not None and bool(known.all())
    return name in _TAME


def _window(values: LayoutValues, call: Call, result: Value) -> bool:
    from tvm import relax

    data, layout = _blocked_image(values, call)
    if data is None:
        return False
    attrs = call.attrs
    operators = {"nn.max_pool2d": relax.op.nn.max_pool2d, "nn.avg_pool2d": relax.op.nn.avg_pool2d}
    pooled = operators[operator_name(call)](
        data,
        pool_size=pair(attrs.pool_size),
        strides=pair(attrs.strides),
        padding=quad(attrs.padding),
        dilation=pair(attrs.dilation),
        ceil_mode=bool(attrs.ceil_mode),
        count_include_pad=bool(attrs.count_include_pad),
        layout=layout,
    )
    result.blocked = values.builder.emit(pooled)
    return True


def _adaptive_pool(values: LayoutValues, call: Call, result: Value) -> bool:
    from tvm import relax

    data, layout = _blocked_image(values, call)
    if data is None:
        return False
    size = None if call.attrs.output_size is None else pair(call.attrs.output_size)
    pooled = relax.op.nn.adaptive_avg_pool2d(data, size, layout=layout)
    result.blocked = values.builder.emit(pooled)
    return True


def _resize(values: LayoutValues, call: Call, result: Value) -> bool:
    from tvm import relax

    data, layout = _blocked_image(values, call)
    if data is None:
        return False
    attrs = call.attrs
    result.blocked = values.builder.emit(
        relax.op.image.resize2d(
            data,
            call.args[1],
            roi=[float(value) for value in attrs.roi],
            layout=layout,
            method=str(attrs.method),
            coordinate_transformation_mode=str(attrs.coordinate_transformation_mode),
            rounding_method=str(attrs.rounding_method),
            cubic_alpha=float(attrs.cubic_alpha),
            cubic_exclude=int(attrs.cubic_exclude),
            extrapolation_value=float(attrs.extrapolation_value),
        )
    )
    return True


def _blocked_image(values: LayoutValues, call: Call) -> tuple[Expr | None, str]:
    """What an operator on NCHW images reads, and its layout in blocks; None where the
    operator stays plain."""
    data = values.value(call.args[0]).blocked
    if data is None or str(call.attrs.layout) != "NCHW":
        return None, "NCHW"
    return data, f"NCHW{(static_shape(data) or ())[-1]}c"


def _mean(values: LayoutValues, call: Call, result: Value) -> bool:
    from tvm import relax

    source = values.value(call.args[0])
    if source.blocked is None or call.attrs.axis is None or source.shape is None:
        return False
    if sorted(int(axis) % 4 for axis in call.attrs.axis) != [2, 3]:
        return False
    mean = values.builder.emit(relax.op.mean(source.blocked, [2, 3], keepdims=True))
    if bool(call.attrs.keepdims):
        result.blocked = mean
    else:
        result.plain = _flattened(values, Value((*source.shape[:2], 1, 1), blocked=mean), result)
    return True


def _flatten(values: LayoutValues, call: Call, result: Value) -> bool:
    """Reshapes of one pixel a channel keep the order of bytes in both forms."""
    source = values.source(call.args[0])
    if source.blocked is None or source.shape is None or source.shape[2:] != (1, 1):
        return reshape(values, call, result)
    result.plain = _flattened(values, source, result)
    return True


def _flattened(values: LayoutValues, source: Value, result: Value) -> Expr:
    """One pixel a channel, in another shape."""
    assert source.shape is not None
    assert source.blocked is not None
    assert result.shape is not None
    exact = values.blocks(source.shape[1]).exact
    return values.reshape(source.blocked if exact else values.plain(source), result.shape)


def _concatenation(values: LayoutValues, call: Call, result: Value) -> bool:
    """Of whole blocks of one width it is one too."""
    from tvm import relax

    parts = parts_of(values, call)
    forms = [part.blocked for part in parts]
    if not parts or result.shape is None or any(form is None for form in forms):
        return concatenation(values, call, result)
    cuts = [values.blocks(part.shape[1]) for part in parts if part.shape is not None]
    width = values.blocks(result.shape[1]).width
    whole = all(cut.width == width for cut in cuts) and all(cut.exact for cut in cuts[:-1])
    if not whole or call.attrs.axis is None or int(call.attrs.axis) % 4 != 1:
        return concatenation(values, call, result)
    result.blocked = values.builder.emit(relax.op.concat(forms, axis=1))
    return True


def _take(values: LayoutValues, call: Call, result: Value) -> bool:
    """Images, rows or columns by their numbers."""
    from tvm import relax

    source = values.value(call.args[0])
    axis = call.attrs.axis
    if source.blocked is None or axis is None or int(axis) % 4 == 1:
        return False
    if result.shape is None or len(result.shape) != 4:
        return False
    numbers = values.plain(values.value(call.args[1]))
    result.blocked = values.builder.emit(
        relax.op.take(source.blocked, numbers, axis=int(axis) % 4, mode=str(call.attrs.mode))
    )
    return True


def _broadcasts(shape: tuple[int, ...] | None, into: tuple[int, ...]) -> bool:
    if shape is None or len(shape) > 4:
        return False
    padded = (1,) * (4 - len(shape)) + shape
    return all(extent in (1, whole) for extent, whole in zip(padded, into, strict=True))


def pair(values: Any) -> tuple[int, int]:
    """(height, width) of an attribute that may say both by one number."""
    numbers = [int(value) for value in values]
    return (numbers[0], numbers[-1])


def quad(values: Any) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a padding that may be said by fewer numbers."""
    numbers = [int(value) for value in values]
    if len(numbers) == 1:
        return (numbers[0],) * 4
    if len(numbers) == 2:
        return (numbers[0], numbers[1], numbers[0], numbers[1])
    return (numbers[0], numbers[1], numbers[2], numbers[3])


# Of one tensor, of any shape.
UNARY = (
    *("nn.relu", "nn.gelu", "nn.silu", "nn.leakyrelu", "clip", "sigmoid", "tanh", "exp"),
    *("abs", "negative", "sqrt", "rsqrt", "erf", "floor", "ceil", "round", "square", "log"),
    *("nn.gelu_tanh", "nn.relu6", "nn.softplus", "nn.selu", "hardswish", "hardsigmoid"),
    *("isnan", "isinf", "isfinite", "sign", "logical_not"),
)
# Of these a finite number may have an infinite value, or none.
_UNBOUNDED = ("exp", "sqrt", "rsqrt", "square", "log", "nn.softplus")
_TAME = ("add", "subtract", "multiply", "maximum", "minimum")
BROADCASTING = (
    *("add", "subtract", "divide", "maximum", "minimum", "power", "where"),
    *("less", "greater", "less_equal", "greater_equal", "equal", "not_equal"),
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BROADCASTING, elementwise),
    "multiply": _multiply,
    "nn.max_pool2d": _window,
    "nn.avg_pool2d": _window,
    "nn.adaptive_avg_pool2d": _adaptive_pool,
    "image.resize2d": _resize,
    "mean": _mean,
    "nn.group_norm": group_norm,
    **MOVERS,
    **dict.fromkeys(("reshape", "flatten", "squeeze"), _flatten),
    "concat": _concatenation,
    "take": _take,
}
"""By the name of the Relax operator."""
