"""Transcendental functions that vectorize.

LLVM has no vector form of `exp`, `tanh` or `erf` without a vector math library, so each lane
becomes a call into libm: a swish on EfficientNet-b4's activations then costs more than its
convolutions. These legalizations use TVM's polynomial and bit-trick forms (`topi.fast_*`,
relative error near 1e-7 for exp), which are plain multiply-adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm import te
    from tvm.relax import BlockBuilder, Call, Expr

_Legalize = Callable[["BlockBuilder", "Call"], "Expr"]


def legalizations() -> dict[str, _Legalize]:
    """Legalizations by Relax operator, for `relax.transform.LegalizeOps`; float32 only, other
    dtypes keep TVM's own."""
    return {
        "relax.exp": _elementwise("relax.exp", _exp),
        "relax.sigmoid": _elementwise("relax.sigmoid", _sigmoid),
        "relax.nn.silu": _elementwise("relax.nn.silu", _silu),
        "relax.tanh": _elementwise("relax.tanh", _tanh),
        "relax.erf": _elementwise("relax.erf", _erf),
        "relax.nn.gelu": _elementwise("relax.nn.gelu", _gelu),
        "relax.nn.softmax": _softmax,
    }


def _elementwise(operator: str, compute: Callable[[te.Tensor], te.Tensor]) -> _Legalize:
    def legalize(builder: BlockBuilder, call: Call) -> Expr:
        if str(call.ty.dtype) != "float32":
            return _stock(operator)(builder, call)
        name = compute.__name__.lstrip("_")
        return builder.call_te(compute, call.args[0], primfunc_name_hint=name)

    return legalize


def _softmax(builder: BlockBuilder, call: Call) -> Expr:
    from tvm import topi

    if str(call.ty.dtype) != "float32":
        return _stock("relax.nn.softmax")(builder, call)
    axis = int(call.attrs.axis)
    return builder.call_te(
        lambda x: topi.nn.fast_softmax(x, axis), call.args[0], primfunc_name_hint="softmax"
    )


def _stock(operator: str) -> _Legalize:
    from tvm.ir import Op

    legalize: _Legalize = Op.get(operator).get_attr("FLegalize")
    return legalize


def _exp(x: te.Tensor) -> te.Tensor:
    from tvm import te, topi

    # `fast_exp` overflows from 88.38 on, and exp from 88.72: the square of exp(x/2) reaches there.
    half = te.compute(x.shape, lambda *i: x(*i) * 0.5, name="half")
    root = topi.fast_exp(half)
    return te.compute(x.shape, lambda *i: root(*i) * root(*i), name="exp")


def _tanh(x: te.Tensor) -> te.Tensor:
    from tvm import topi

    return _within_one(topi.fast_tanh(x), "tanh")


def _erf(x: te.Tensor) -> te.Tensor:
    from tvm import te, tirx, topi

    approximate = _within_one(topi.fast_erf(x), "bounded")

    def kept(*i: te.Var) -> te.Expr:
        value = x(*i)
        # Its clip, to 4 and -4, turns "not a number" into 1. TVM cannot vectorize `isnan`.
        beyond = tirx.Select(value > 4.0, tirx.const(1.0, x.dtype), value)
        return tirx.Select(value <= 4.0, approximate(*i), beyond)

    return te.compute(x.shape, kept, name="erf")


def _within_one(x: te.Tensor, name: str) -> te.Tensor:
    """The polynomials leave [-1, 1] by 2e-7, where sqrt(1 - y * y) is not a number."""
    from tvm import te, tirx

    def bounded(*i: te.Var) -> te.Expr:
        value = x(*i)
        upper = tirx.Select(value > 1.0, tirx.const(1.0, x.dtype), value)
        return tirx.Select(value < -1.0, tirx.const(-1.0, x.dtype), upper)

    return te.compute(x.shape, bounded, name=name)


def _sigmoid(x: te.Tensor) -> te.Tensor:
    from tvm import te, topi

    exponential = topi.fast_exp(topi.negative(x))
    return te.compute(x.shape, lambda *i: 1.0 / (1.0 + exponential(*i)), name="sigmoid")


def _gelu(x: te.Tensor) -> te.Tensor:
    from tvm import te

    scaled = te.compute(x.shape, lambda *i: x(*i) * math.sqrt(0.5), name="scaled")
    error = _erf(scaled)
    return te.compute(x.shape, lambda *i: 0.5 * x(*i) * (1.0 + error(*i)), name="gelu")


def _silu(x: te.Tensor) -> te.Tensor:
    from tvm import te

    gate = _sigmoid(x)
    return te.compute(x.shape, lambda *i: x(*i) * gate(*i), name="silu")
