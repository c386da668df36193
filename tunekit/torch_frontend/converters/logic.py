"""Logic, tests and choices, and what leaves values as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as PROMOTION
from tvm import relax
from tvm.relax import op

from tunekit.frontends.extremes import maximum, minimum
from tunekit.torch_frontend.converters.elementwise import is_float
from tunekit.torch_frontend.graph import Graph, dtype_of
from tunekit.torch_frontend.table import CONVERTERS, converts

_FLOAT = PROMOTION.INT_TO_FLOAT


def _logical(operator: Any) -> Callable[..., Any]:
    def convert(graph: Graph, self: Any, other: Any) -> Any:
        return operator(graph.cast(self, "bool"), graph.cast(other, "bool"))

    return convert


CONVERTERS["logical_and.default"] = _logical(op.logical_and)
CONVERTERS["logical_or.default"] = _logical(op.logical_or)
CONVERTERS["logical_xor.default"] = _logical(op.logical_xor)


@converts("logical_not.default")
def _logical_not(graph: Graph, self: Any) -> Any:
    return op.logical_not(graph.cast(self, "bool"))


@converts("bitwise_not.default")
def _bitwise_not(graph: Graph, self: Any) -> Any:
    return (op.logical_not if dtype_of(self) == "bool" else op.bitwise_not)(self)


@converts("isnan.default")
def _isnan(graph: Graph, self: Any) -> Any:
    return op.not_equal(self, self)


@converts("isinf.default")
def _isinf(graph: Graph, self: Any) -> Any:
    if not is_float(dtype_of(self)):
        return graph.broadcast(graph.const(False, "bool"), graph.result_shape)
    return op.equal(op.abs(self), graph.const(math.inf, dtype_of(self)))


@converts("where.self")
def _where(graph: Graph, condition: Any, self: Any, other: Any) -> Any:
    dtype = graph.result_dtype
    return op.where(
        graph.cast(condition, "bool"), graph.cast(self, dtype), graph.cast(other, dtype)
    )


@converts("clamp.default", "clamp.Tensor")
def _clamp(graph: Graph, self: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002
    """NaN stays NaN."""
    dtype = graph.result_dtype
    value = graph.cast(self, dtype)
    if (
        min is not None
        and max is not None
        and not any(isinstance(bound, relax.Expr) for bound in (min, max))
        and is_float(dtype)
        and min <= max  # else all are the upper one, which Relax's operator takes for the lower
    ):
        return op.clip(value, float(min), float(max))
    if min is not None:
        value = graph.emit(maximum(value, graph.cast(min, dtype)))
    if max is not None:
        value = minimum(value, graph.cast(max, dtype))
    return value


@converts(
    "lift_fresh_copy.default",
    "clone.default",
    "alias.default",
    "detach.default",
    "contiguous.default",
    "_conj.default",
    "resolve_conj.default",
    moves=True,
)
def _itself(graph: Graph, self: Any, **_: Any) -> Any:
    return self


@converts("_to_copy.default", "to.dtype", moves=True)
def _cast(graph: Graph, self: Any = None, **_: Any) -> Any:
    """In another dtype; the caller casts to what the node gives."""
    return self
