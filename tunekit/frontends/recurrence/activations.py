"""Activation functions without calls and branches, wherever that is possible."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from tunekit.frontends.recurrence.vectors import Number, Vector


@dataclass(frozen=True)
class Activation:
    """A function with its parameters.

    Attributes:
        name: a key of `ACTIVATIONS`.
        alpha: its first parameter, where it has one.
        beta: its second one.
    """

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __call__(self, x: Vector) -> Vector:
        """The function of a vector, kept."""
        function, *defaults = ACTIVATIONS[self.name]
        given = (self.alpha, self.beta)
        parameters = [
            default if value is None else value
            for value, default in zip(given, defaults, strict=False)
        ]
        return function(x.kept(), *parameters).kept()


def _tanh(x: Vector) -> Vector:
    """A quotient of two polynomials (Eigen's), within 3e-7; TVM's own where it is no float32."""
    if x.dtype != "float32":
        return x.map(tirx.tanh)
    x = x.clipped(-_LARGEST, _LARGEST).kept()
    square = (x * x).kept()
    return (x * _polynomial(square, _ABOVE) / _polynomial(square, _BELOW)).clipped(-1.0, 1.0)


# From here on it is 1 in float32.
_LARGEST = 7.90531110763549805
# Coefficients of the highest power first.
_ABOVE = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_BELOW = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def _polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    first, second, *rest = coefficients
    result = x * first + second
    for coefficient in rest:
        result = result * x + coefficient
    return result


def _sigmoid(x: Vector) -> Vector:
    return (_exp((x * -1).kept()) + 1).map(lambda below, one: one / below, 1)


def _exp(x: Vector) -> Vector:
    """A power of two times a polynomial (Cephes's), within an ulp or two; TVM's own where it is
    no float32."""
    if x.dtype != "float32":
        return x.map(tirx.exp)
    x = x.clipped(-87.0, 88.0).kept()
    power = (x * math.log2(math.e) + 0.5).map(tirx.floor).kept()
    # ln(2) in two parts, the first of which has few bits.
    rest = (x - power * 0.693359375 - power * -2.12194440e-4).kept()
    fraction = _polynomial(rest, _EXPONENTIAL) * rest * rest + rest + 1
    return fraction * power.map(_power_of_two)


def _power_of_two(exponent: Any) -> Any:
    bits = (tirx.Cast("int32", exponent) + 127) << 23
    return tirx.reinterpret("float32", bits)


_EXPONENTIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)


def _relu(x: Vector) -> Vector:
    return x.below(0, 0, x)


def _leaky_relu(x: Vector, alpha: float) -> Vector:
    return x.below(0, x * alpha, x)


def _thresholded_relu(x: Vector, alpha: float) -> Vector:
    return x.above(alpha, x, 0)


def _affine(x: Vector, alpha: float, beta: float) -> Vector:
    return x * alpha + beta


def _scaled_tanh(x: Vector, alpha: float, beta: float) -> Vector:
    return _tanh((x * beta).kept()) * alpha


def _hard_sigmoid(x: Vector, alpha: float, beta: float) -> Vector:
    return (x * alpha + beta).clipped(0.0, 1.0)


def _elu(x: Vector, alpha: float) -> Vector:
    return x.below(0, (_exp(x) - 1) * alpha, x)


def _softsign(x: Vector) -> Vector:
    return x / (_size(x) + 1)


def _softplus(x: Vector) -> Vector:
    return _relu(x) + (_exp((_size(x) * -1).kept()) + 1).map(tirx.log)


def _size(x: Vector) -> Vector:
    negative: Number = x * -1
    return x.below(0, negative, x)


ACTIVATIONS: dict[str, tuple[Callable[..., Vector], *tuple[float, ...]]] = {
    "Affine": (_affine, 1.0, 0.0),
    "Elu": (_elu, 1.0),
    "HardSigmoid": (_hard_sigmoid, 0.2, 0.5),
    "LeakyRelu": (_leaky_relu, 0.01),
    "Relu": (_relu,),
    "ScaledTanh": (_scaled_tanh, 1.0, 1.0),
    "Sigmoid": (_sigmoid,),
    "Softplus": (_softplus,),
    "Softsign": (_softsign,),
    "Tanh": (_tanh,),
    "ThresholdedRelu": (_thresholded_relu, 1.0),
}
"""By ONNX's names: the function, and what its parameters are by default."""
