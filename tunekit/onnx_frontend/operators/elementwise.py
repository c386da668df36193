"""Operators that compute each number by itself: arithmetic, comparisons, casts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.division import divided
from tunekit.frontends.element_kernels import float_mod, shifted
from tunekit.frontends.extremes import maximum, minimum
from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, dtype_of, is_float, shape_of

_UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": relax.op.abs,
    "Acos": relax.op.acos,
    "Acosh": relax.op.acosh,
    "Asin": relax.op.asin,
    "Asinh": relax.op.asinh,
    "Atan": relax.op.atan,
    "Atanh": relax.op.atanh,
    "BitwiseNot": relax.op.bitwise_not,
    "Ceil": relax.op.ceil,
    "Cos": relax.op.cos,
    "Erf": relax.op.erf,
    "Exp": relax.op.exp,
    "Floor": relax.op.floor,
    "IsNaN": relax.op.isnan,
    "Log": relax.op.log,
    "Neg": relax.op.negative,
    "Not": relax.op.logical_not,
    "Sigmoid": relax.op.sigmoid,
    "Sin": relax.op.sin,
    "Sqrt": relax.op.sqrt,
    "Tan": relax.op.tan,
    "Tanh": relax.op.tanh,
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": relax.op.add,
    "And": relax.op.logical_and,
    "BitwiseAnd": relax.op.bitwise_and,
    "BitwiseOr": relax.op.bitwise_or,
    "BitwiseXor": relax.op.bitwise_xor,
    "Div": divided,
    "Equal": relax.op.equal,
    "Greater": relax.op.greater,
    "GreaterOrEqual": relax.op.greater_equal,
    "Less": relax.op.less,
    "LessOrEqual": relax.op.less_equal,
    "Mul": relax.op.multiply,
    "Or": relax.op.logical_or,
    "Sub": relax.op.subtract,
    "Xor": relax.op.logical_xor,
}
_VARIADIC: dict[str, Callable[[Any, Any], Any]] = {
    "Max": maximum,
    "Min": minimum,
    "Sum": relax.op.add,
}


@converts(*_UNARY)
def _unary(node: OnnxNode) -> Value:
    return _UNARY[node.operator](node.tensor())


@converts("Sign")
def _sign(node: OnnxNode) -> Value:
    x = node.tensor()
    if node.dtype().startswith("uint"):
        return relax.op.minimum(x, node.scalar(1, node.dtype()))
    sign = relax.op.sign(x)
    return relax.op.where(relax.op.isnan(x), x, sign) if is_float(node.inputs[0]) else sign


@converts("Round")
def _round(node: OnnxNode) -> Value:
    """Halves to the even neighbour, which TVM's operator rounds away from zero."""
    from tvm import te, tirx

    def rounded(data: Any) -> Any:
        return te.compute(data.shape, lambda *axes: tirx.nearbyint(data(*axes)), name="round")

    return node.emit_te(rounded, node.tensor(), name="round")


@converts("Identity")
def _identity(node: OnnxNode) -> Value:
    return node.value(0)


@converts("Reciprocal")
def _reciprocal(node: OnnxNode) -> Value:
    return relax.op.divide(node.scalar(1, node.dtype()), node.tensor())


@converts("IsInf")
def _is_inf(node: OnnxNode) -> Value:
    x, dtype = node.tensor(), node.dtype()
    negative, positive = node.attribute("detect_negative", 1), node.attribute("detect_positive", 1)
    if negative and positive:
        return relax.op.isinf(x)
    if not negative and not positive:
        return np.zeros(node.shape(), bool)
    limit = np.inf if positive else -np.inf
    return relax.op.equal(x, node.scalar(limit, dtype))


@converts(*_BINARY)
def _binary(node: OnnxNode) -> Value:
    left, right = node.inputs
    if node.attribute("broadcast"):
        right = _aligned(node, right)
    return _BINARY[node.operator](node.expr(left), node.expr(right))


def _aligned(node: OnnxNode, right: Value) -> Value:
    """The right operand as opsets before 7 broadcast it: along `axis` and those after it."""
    rank, shape = len(node.shape(0)), shape_of(right)
    axis = node.attribute("axis")
    first = rank - len(shape) if axis is None else int(axis) % rank
    return node.call("Reshape", right, np.array([*shape, *[1] * (rank - first - len(shape))]))


@converts(*_VARIADIC)
def _variadic(node: OnnxNode) -> Value:
    function = _VARIADIC[node.operator]
    return functools.reduce(
        lambda left, right: node.emit(function(left, right)), map(node.expr, node.inputs)
    )


@converts("Mean")
def _mean(node: OnnxNode) -> Value:
    total = node.call("Sum", *node.inputs)
    return node.call("Div", total, np.array(len(node.inputs), dtype_of(total)))


@converts("Mod")
def _mod(node: OnnxNode) -> Value:
    left, right = node.tensor(0), node.tensor(1)
    as_c = bool(node.attribute("fmod"))
    if is_float(node.inputs[0]):
        return node.emit_te(float_mod, left, right, as_c=as_c, name="fmod")
    return relax.op.mod(left, right) if as_c else relax.op.floor_mod(left, right)


@converts("Sinh", "Cosh")
def _hyperbolic(node: OnnxNode) -> Value:
    """By the exponential function: LLVM has neither."""
    return node.emit_te(
        _hyperbolic_function, node.tensor(), is_sine=node.operator == "Sinh", name="hyperbolic"
    )


def _hyperbolic_function(data: Any, is_sine: bool) -> Any:
    from tvm import te, tirx

    dtype = str(data.dtype)

    def element(*axes: Any) -> Any:
        x = data(*axes)
        half = tirx.const(0.5, dtype)
        if not is_sine:
            return half * tirx.exp(x) + half * tirx.exp(-x)
        # Near zero the two exponentials cancel; there five terms of the series are exact.
        square, series = x * x, tirx.const(1, dtype)
        for divisor in (72, 42, 20, 6):
            series = tirx.const(1, dtype) + series * square / tirx.const(divisor, dtype)
        far = half * tirx.exp(x) - half * tirx.exp(-x)
        return tirx.Select(tirx.abs(x) < tirx.const(1, dtype), x * series, far)

    return te.compute(data.shape, element, name="hyperbolic", tag="elemwise")


@converts("Pow")
def _pow(node: OnnxNode) -> Value:
    base, exponent = node.inputs
    dtype = dtype_of(base)
    if is_float(base):
        if isinstance(exponent, np.ndarray) and exponent.size == 1:
            simple = _simple_power(node, float(exponent.reshape(-1)[0]))
            if simple is not None and exponent.ndim <= len(shape_of(base)):
                return simple
        return relax.op.power(node.expr(base), node.expr(cast(node, exponent, dtype)))
    # As C computes it, and ONNX Runtime.
    wide = [node.expr(cast(node, value, "float64")) for value in (base, exponent)]
    return relax.op.astype(node.emit(relax.op.power(*wide)), dtype)


def _simple_power(node: OnnxNode, exponent: float) -> Value | None:
    x = node.tensor()
    if exponent == 1:
        return node.value(0)
    if exponent == 2:
        return relax.op.multiply(x, x)
    if exponent == 3:
        return relax.op.multiply(node.emit(relax.op.multiply(x, x)), x)
    if exponent == 0.5:
        return relax.op.sqrt(x)
    return None


@converts("BitShift")
def _bit_shift(node: OnnxNode) -> Value:
    left = node.attribute("direction") == "LEFT"
    return node.emit_te(shifted, node.tensor(0), node.tensor(1), is_left=left, name="bit_shift")


@converts("Where")
def _where(node: OnnxNode) -> Value:
    return relax.op.where(*map(node.expr, node.inputs))


@converts("Clip")
def _clip(node: OnnxNode) -> Value:
    """Bounds are attributes before opset 11."""
    dtype = node.dtype()
    low, high = (
        np.array(node.attributes[name], dtype) if name in node.attributes else node.value(index)
        for index, name in ((1, "min"), (2, "max"))
    )
    if is_float(node.inputs[0]):
        # As ONNX Runtime: infinity becomes the largest number where no bound is given.
        limits = np.finfo(dtype) if dtype != "bfloat16" else np.finfo("float32")
        low = np.array(limits.min, dtype) if low is None else low
        high = np.array(limits.max, dtype) if high is None else high
    if isinstance(low, np.ndarray) and isinstance(high, np.ndarray) and low <= high:
        if is_float(node.inputs[0]):
            return relax.op.clip(node.tensor(), float(low), float(high))
        return relax.op.clip(node.tensor(), int(low), int(high))
    result = node.tensor()
    if low is not None:
        result = node.emit(maximum(result, node.expr(low)))
    if high is not None:
        result = node.emit(minimum(result, node.expr(high)))
    return result


@converts("Cast")
def _to_dtype(node: OnnxNode) -> Value:
    return cast(node, node.value(0), node.dtype_attribute("to", ""))


@converts("CastLike")
def _to_dtype_of(node: OnnxNode) -> Value:
    return cast(node, node.value(0), node.dtype(1))


@converts("BitCast")
def _bit_cast(node: OnnxNode) -> Value:
    """The same bits as numbers of another type of that width."""
    dtype = node.dtype_attribute("to", "")
    source = node.value(0)
    if "bool" in (dtype, dtype_of(source)):
        return cast(node, source, dtype)
    return node.emit_te(_reinterpreted, node.expr(source), dtype=dtype, name="bit_cast")


def _reinterpreted(data: Any, dtype: str) -> Any:
    from tvm import te, tirx

    return te.compute(
        data.shape, lambda *axes: tirx.reinterpret(dtype, data(*axes)), name="bit_cast"
    )


_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_COMPUTED = frozenset(("bool", "float16", "float32", "float64", "bfloat16", *_INTEGERS))


def cast(node: OnnxNode, value: Value, dtype: str) -> Value:
    """A tensor's values as another dtype; constants may be of any, like float8 and int4."""
    source = dtype_of(value)
    if source == dtype:
        return value
    if dtype not in _COMPUTED:
        raise Unsupported(f"nothing computes with {dtype}")
    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    if source not in _COMPUTED:
        raise Unsupported(f"nothing computes with {source}")
    return node.emit(relax.op.astype(value, dtype))
