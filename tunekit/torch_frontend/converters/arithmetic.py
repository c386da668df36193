"""Arithmetic of two numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as PROMOTION
from tvm.relax import op

from tunekit.frontends.division import divided
from tunekit.frontends.element_kernels import float_floor_divide, float_mod, shifted
from tunekit.frontends.extremes import maximum, minimum
from tunekit.torch_frontend.converters.elementwise import computed, is_float, with_dtype
from tunekit.torch_frontend.graph import Graph
from tunekit.torch_frontend.table import CONVERTERS, converts

_FLOAT = PROMOTION.INT_TO_FLOAT


def _divided(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    return divided(x, y)


def _floor_divided(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    if not is_float(dtype):
        return op.floor_divide(x, y)
    return graph.emit_te(float_floor_divide, x, y, name="floor_divide")


def _truncated(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    if is_float(dtype):
        return op.trunc(op.divide(x, y))
    zero, one = graph.const(0, dtype), graph.const(1, dtype)
    quotient = graph.emit(op.floor_divide(x, y))
    rest = op.subtract(x, op.multiply(quotient, y))
    is_low = op.logical_and(op.less(quotient, zero), op.not_equal(rest, zero))
    return op.where(is_low, op.add(quotient, one), quotient)


def _remainder(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    """Of the divisor's sign."""
    if not is_float(dtype):
        return op.subtract(x, op.multiply(op.floor_divide(x, y), y))
    return graph.emit_te(float_mod, x, y, as_c=False, name="remainder")


def _fmod(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    """Of the dividend's sign."""
    if is_float(dtype):
        return graph.emit_te(float_mod, x, y, as_c=True, name="fmod")
    return op.subtract(x, op.multiply(_truncated(graph, dtype, x, y), y))


def _power(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    if is_float(dtype):
        return op.power(x, y)
    # By squaring; an integer's power is below 64 or overflows, but for 0, 1 and -1.
    zero, one = graph.const(0, dtype), graph.const(1, dtype)
    two = graph.const(2, dtype)
    result, base, rest = one, x, y
    for _ in range(6):
        half = graph.emit(op.floor_divide(rest, two))
        is_odd = op.not_equal(op.subtract(rest, op.multiply(half, two)), zero)
        result = graph.emit(op.where(is_odd, op.multiply(result, base), result))
        base, rest = graph.emit(op.multiply(base, base)), half
    return result


def _maximum(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    return _extreme(graph, dtype, x, y, maximum, op.logical_or)


def _minimum(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    return _extreme(graph, dtype, x, y, minimum, op.logical_and)


def _extreme(graph: Graph, dtype: str, x: Any, y: Any, operator: Any, of_booleans: Any) -> Any:
    return of_booleans(x, y) if dtype == "bool" else operator(x, y)


def _exclusive_or(graph: Graph, dtype: str, x: Any, y: Any) -> Any:
    return (op.logical_xor if dtype == "bool" else op.bitwise_xor)(x, y)


def _bits(operator: Any, of_booleans: Any) -> Callable[..., Any]:
    return lambda graph, dtype, x, y: (of_booleans if dtype == "bool" else operator)(x, y)


def _shifted(*, is_left: bool) -> Callable[..., Any]:
    return lambda graph, dtype, x, y: graph.emit_te(
        shifted, x, y, is_left=is_left, name="bit_shift"
    )


def _pair(name: str, compute: Callable[..., Any], kind: PROMOTION = PROMOTION.DEFAULT) -> None:
    converter = with_dtype(compute, kind)
    for overload in ("Tensor", "Scalar", "default", "Tensor_Tensor", "Tensor_Scalar"):
        CONVERTERS[f"{name}.{overload}"] = converter


_pair("atan2", lambda graph, dtype, x, y: op.atan2(x, y), _FLOAT)
_pair("bitwise_and", _bits(op.bitwise_and, op.logical_and))
_pair("bitwise_or", _bits(op.bitwise_or, op.logical_or))
_pair("bitwise_xor", _exclusive_or)
for _name in ("bitwise_left_shift", "__lshift__"):
    _pair(_name, _shifted(is_left=True))
for _name in ("bitwise_right_shift", "__rshift__"):
    _pair(_name, _shifted(is_left=False))
_pair("div", _divided, _FLOAT)
_pair("floor_divide", _floor_divided)
_pair("fmod", _fmod)
_pair("maximum", _maximum)
_pair("minimum", _minimum)
_pair("mul", _bits(op.multiply, op.logical_and))
_pair("pow", _power)
_pair("remainder", _remainder)
for _name, _compare in (
    ("eq", op.equal),
    ("ge", op.greater_equal),
    ("gt", op.greater),
    ("le", op.less_equal),
    ("lt", op.less),
    ("ne", op.not_equal),
):

    def _compared(graph: Graph, dtype: str, x: Any, y: Any, compare: Any = _compare) -> Any:
        if dtype == "bool":
            x, y = graph.cast(x, "int8"), graph.cast(y, "int8")
        return compare(x, y)

    _pair(_name, _compared)


@converts("add.Tensor", "add.Scalar")
def _add(graph: Graph, self: Any, other: Any, alpha: Any = 1) -> Any:
    dtype, [left, right] = computed(graph, {"self": self, "other": other})
    if dtype == "bool":
        return op.logical_or(left, right)
    return op.add(left, _times(graph, dtype, right, alpha))


@converts("sub.Tensor", "sub.Scalar")
def _sub(graph: Graph, self: Any, other: Any, alpha: Any = 1) -> Any:
    dtype, [left, right] = computed(graph, {"self": self, "other": other})
    return op.subtract(left, _times(graph, dtype, right, alpha))


@converts("rsub.Tensor", "rsub.Scalar")
def _rsub(graph: Graph, self: Any, other: Any, alpha: Any = 1) -> Any:
    dtype, [left, right] = computed(graph, {"self": self, "other": other})
    return op.subtract(right, _times(graph, dtype, left, alpha))


def _times(graph: Graph, dtype: str, value: Any, factor: Any) -> Any:
    return value if factor == 1 else op.multiply(value, graph.const(factor, dtype))


@converts("div.Tensor_mode", "div.Scalar_mode")
def _div_mode(graph: Graph, self: Any, other: Any, rounding_mode: str | None) -> Any:
    kind = _FLOAT if rounding_mode is None else PROMOTION.DEFAULT
    dtype, operands = computed(graph, {"self": self, "other": other}, kind)
    compute = {None: _divided, "floor": _floor_divided, "trunc": _truncated}[rounding_mode]
    return compute(graph, dtype, *operands)


@converts("pow.Tensor_Scalar")
def _power_of_number(graph: Graph, self: Any, exponent: Any) -> Any:
    """Small whole powers and roots as what they are."""
    dtype, [base, power] = computed(graph, {"self": self, "exponent": exponent})
    if exponent == 2:
        return op.multiply(base, base)
    if is_float(dtype) and exponent in (0.5, -0.5, 1, -1, 3):
        return {
            0.5: lambda: op.sqrt(base),
            -0.5: lambda: op.rsqrt(base),
            1: lambda: base,
            -1: lambda: op.divide(graph.const(1, dtype), base),
            3: lambda: op.multiply(op.multiply(base, base), base),
        }[exponent]()
    return _power(graph, dtype, base, power)


@converts("pow.Scalar")
def _power_by_tensor(graph: Graph, self: Any, exponent: Any) -> Any:
    dtype, operands = computed(graph, {"self": self, "exponent": exponent})
    return _power(graph, dtype, *operands)
