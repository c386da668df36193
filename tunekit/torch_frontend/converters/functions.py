"""Functions of one number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as PROMOTION
from tvm.relax import op

from tunekit.frontends.element_kernels import complementary_error
from tunekit.torch_frontend.converters.elementwise import is_float, with_dtype
from tunekit.torch_frontend.graph import Graph, dtype_of
from tunekit.torch_frontend.table import CONVERTERS, converts

_FLOAT = PROMOTION.INT_TO_FLOAT
# From here on sqrt(x * x + 1) is x in double precision, too, and x * x is not infinite yet in
# single.
_ROOT_IS_ITSELF = 1e9


def _unless_integer(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Rounding, which leaves integers as they are."""

    def convert(graph: Graph, self: Any, **rest: Any) -> Any:
        return compute(self) if is_float(dtype_of(self)) else self

    return convert


def _reciprocal(graph: Graph, dtype: str, x: Any) -> Any:
    return op.divide(graph.const(1, dtype), x)


def _log_in_base(base: float) -> Callable[..., Any]:
    return lambda graph, dtype, x: op.multiply(op.log(x), graph.const(1 / math.log(base), dtype))


def _log1p(graph: Graph, dtype: str, x: Any) -> Any:
    """log(1 + x), right for small x too (Kahan)."""
    one = graph.const(1, dtype)
    sum_ = graph.emit(op.add(one, x))
    # A constant of its own: TVM would take what adds and takes away the same for nothing.
    rest = op.add(sum_, graph.const(-1, dtype))
    scaled = op.multiply(op.log(sum_), op.divide(x, rest))
    infinite = op.equal(sum_, x)
    return op.where(
        op.logical_or(op.equal(sum_, one), infinite), op.where(infinite, op.log(sum_), x), scaled
    )


def expm1(graph: Graph, dtype: str, x: Any) -> Any:
    """exp(x) - 1, right for small x too: by its series up to 0.1."""
    small: Any = graph.const(1 / math.factorial(9), dtype)
    for term in range(8, 0, -1):
        small = op.add(op.multiply(small, x), graph.const(1 / math.factorial(term), dtype))
    large = op.subtract(op.exp(x), graph.const(1, dtype))
    is_small = op.less(op.abs(x), graph.const(0.1, dtype))
    return op.where(is_small, op.multiply(small, x), large)


def _sinh(graph: Graph, dtype: str, x: Any) -> Any:
    half = graph.emit(expm1(graph, dtype, op.abs(x)))
    one = graph.const(1, dtype)
    size = op.multiply(graph.const(0.5, dtype), op.add(half, op.divide(half, op.add(half, one))))
    # Of large x the quotient is infinity over infinity.
    size = op.where(op.isinf(half), half, size)
    return op.where(op.less(x, graph.const(0, dtype)), op.negative(size), size)


def _cosh(graph: Graph, dtype: str, x: Any) -> Any:
    grown = graph.emit(op.exp(op.abs(x)))
    half = graph.const(0.5, dtype)
    return op.multiply(half, op.add(grown, op.divide(graph.const(1, dtype), grown)))


def _asinh(graph: Graph, dtype: str, x: Any) -> Any:
    one = graph.const(1, dtype)
    size = graph.emit(op.abs(x))
    root = op.sqrt(op.add(op.multiply(size, size), one))
    grown = graph.emit(op.add(size, op.divide(op.multiply(size, size), op.add(one, root))))
    grown = graph.emit(_log1p(graph, dtype, grown))
    # Of large numbers the square is infinite, and the root the number itself.
    is_large = op.greater(size, graph.const(_ROOT_IS_ITSELF, dtype))
    log_of_twice = op.add(op.log(size), graph.const(math.log(2), dtype))
    size = graph.emit(op.where(is_large, log_of_twice, grown))
    return op.where(op.less(x, graph.const(0, dtype)), op.negative(size), size)


def _acosh(graph: Graph, dtype: str, x: Any) -> Any:
    one = graph.const(1, dtype)
    root = op.multiply(op.sqrt(op.subtract(x, one)), op.sqrt(op.add(x, one)))
    return op.log(op.add(x, root))


def _atanh(graph: Graph, dtype: str, x: Any) -> Any:
    one = graph.const(1, dtype)
    grown = graph.emit(op.divide(op.multiply(graph.const(2, dtype), x), op.subtract(one, x)))
    return op.multiply(graph.const(0.5, dtype), _log1p(graph, dtype, grown))


def _asin(graph: Graph, dtype: str, x: Any) -> Any:
    one = graph.const(1, dtype)
    root = op.sqrt(op.multiply(op.subtract(one, x), op.add(one, x)))
    return op.atan2(x, root)


def _acos(graph: Graph, dtype: str, x: Any) -> Any:
    one = graph.const(1, dtype)
    root = op.sqrt(op.multiply(op.subtract(one, x), op.add(one, x)))
    return op.atan2(root, x)


# Giles, "Approximating the erfinv function" (GPU Computing Gems, 2011): below and above w = 5.
_ERFINV_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_ERFINV_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def _erfinv(graph: Graph, dtype: str, x: Any) -> Any:
    def polynomial(coefficients: tuple[float, ...], variable: Any) -> Any:
        result: Any = graph.const(coefficients[0], dtype)
        for coefficient in coefficients[1:]:
            result = op.add(op.multiply(result, variable), graph.const(coefficient, dtype))
        return result

    one = graph.const(1, dtype)
    outside = op.multiply(op.subtract(one, x), op.add(one, x))
    w = graph.emit(op.negative(op.log(outside)))
    central = polynomial(_ERFINV_CENTRAL, op.subtract(w, graph.const(2.5, dtype)))
    tail = polynomial(_ERFINV_TAIL, op.subtract(op.sqrt(w), graph.const(3, dtype)))
    result = graph.emit(op.multiply(op.where(op.less(w, graph.const(5, dtype)), central, tail), x))
    ends = op.multiply(x, graph.const(math.inf, dtype))
    return op.where(op.equal(op.abs(x), one), ends, result)


def _sign(graph: Graph, dtype: str, x: Any) -> Any:
    if dtype.startswith("uint"):
        return op.minimum(x, graph.const(1, dtype))
    return x if dtype == "bool" else op.sign(x)


def _absolute(graph: Graph, dtype: str, x: Any) -> Any:
    return x if dtype == "bool" or dtype.startswith("uint") else op.abs(x)


def _relu(graph: Graph, dtype: str, x: Any) -> Any:
    if is_float(dtype):
        return op.nn.relu(x)
    return op.maximum(x, graph.const(0, dtype))


def _silu(graph: Graph, dtype: str, x: Any) -> Any:
    return op.nn.silu(x)


_UNARY_FLOAT: dict[str, Callable[..., Any]] = {
    "acos": _acos,
    "acosh": _acosh,
    "asin": _asin,
    "asinh": _asinh,
    "atan": lambda graph, dtype, x: op.atan(x),
    "atanh": _atanh,
    "cos": lambda graph, dtype, x: op.cos(x),
    "cosh": _cosh,
    "erf": lambda graph, dtype, x: op.erf(x),
    "erfc": lambda graph, dtype, x: graph.emit_te(complementary_error, x, name="erfc"),
    "erfinv": _erfinv,
    "exp": lambda graph, dtype, x: op.exp(x),
    "exp2": lambda graph, dtype, x: op.exp(op.multiply(x, graph.const(math.log(2), dtype))),
    "expm1": expm1,
    "log": lambda graph, dtype, x: op.log(x),
    "log10": _log_in_base(10),
    "log1p": _log1p,
    "log2": _log_in_base(2),
    "reciprocal": _reciprocal,
    "rsqrt": lambda graph, dtype, x: op.rsqrt(x),
    "sigmoid": lambda graph, dtype, x: op.sigmoid(x),
    "silu": _silu,
    "sin": lambda graph, dtype, x: op.sin(x),
    "sinh": _sinh,
    "sqrt": lambda graph, dtype, x: op.sqrt(x),
    "tan": lambda graph, dtype, x: op.divide(op.sin(x), op.cos(x)),
    "tanh": lambda graph, dtype, x: op.tanh(x),
}
_UNARY: dict[str, Callable[..., Any]] = {
    "abs": _absolute,
    "neg": lambda graph, dtype, x: op.negative(x),
    "relu": _relu,
    "sign": _sign,
    "square": lambda graph, dtype, x: op.multiply(x, x),
}
for _name, _compute in _UNARY_FLOAT.items():
    CONVERTERS[f"{_name}.default"] = with_dtype(_compute, _FLOAT)
for _name, _compute in _UNARY.items():
    CONVERTERS[f"{_name}.default"] = with_dtype(_compute)
for _name, _rounding in (("ceil", op.ceil), ("floor", op.floor), ("trunc", op.trunc)):
    CONVERTERS[f"{_name}.default"] = _unless_integer(_rounding)


@converts("round.default", "round.decimals")
def _round(graph: Graph, self: Any, decimals: int = 0) -> Any:
    """To the nearest, halves to the even one, as torch does."""
    dtype = dtype_of(self)
    if not is_float(dtype):
        return self
    scale = graph.const(10.0 ** abs(decimals), dtype)
    scaled = self
    if decimals:
        scaled = graph.emit((op.multiply if decimals > 0 else op.divide)(self, scale))
    down = graph.emit(op.floor(scaled))
    rest = graph.emit(op.subtract(scaled, down))
    half, one, two = (graph.const(value, dtype) for value in (0.5, 1, 2))
    is_odd = op.not_equal(
        op.subtract(down, op.multiply(two, op.floor(op.divide(down, two)))),
        graph.const(0, dtype),
    )
    up = op.logical_or(op.greater(rest, half), op.logical_and(op.equal(rest, half), is_odd))
    rounded = graph.emit(op.where(up, op.add(down, one), down))
    if not decimals:
        return rounded
    return (op.divide if decimals > 0 else op.multiply)(rounded, scale)
