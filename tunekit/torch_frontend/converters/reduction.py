"""Reductions along axes, and running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from tvm.relax import op

from tunekit.frontends.division import divided
from tunekit.frontends.extremes import place_of_extreme
from tunekit.torch_frontend.graph import Graph, axes_of, dtype_of, shape_of
from tunekit.torch_frontend.table import converts


def reduced(graph: Graph, operator: Callable[..., Any], data: Any, dim: Any, keep: bool) -> Any:
    """A reduction along `dim` (all axes where None or empty); of a scalar, itself."""
    shape = shape_of(data)
    if not shape:
        data, dim = graph.reshape(data, (1,)), 0
    result = graph.emit(operator(data, axis=axes_of(dim, max(len(shape), 1)), keepdims=keep))
    return result if shape else graph.reshape(result, ())


@converts("sum.default", "sum.dim_IntList")
def _sum(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return reduced(graph, op.sum, graph.cast(self, graph.result_dtype), dim, keepdim)


@converts("prod.default", "prod.dim_int")
def _prod(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return reduced(graph, op.prod, graph.cast(self, graph.result_dtype), dim, keepdim)


@converts("mean.default", "mean.dim")
def _mean(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return reduced(graph, op.mean, graph.cast(self, graph.result_dtype), dim, keepdim)


def _extreme(graph: Graph, operator: Any, data: Any, dim: Any, keep: bool) -> Any:
    if dtype_of(data) == "bool":
        data = graph.cast(data, "int8")
    return reduced(graph, operator, data, dim, keep)


@converts("amax.default", "max.default")
def _amax(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, op.max, self, dim, keepdim)


@converts("amin.default", "min.default")
def _amin(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, op.min, self, dim, keepdim)


@converts("any.default", "any.dim", "any.dims")
def _any(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, op.max, graph.cast(self, "bool"), dim, keepdim)


@converts("all.default", "all.dim", "all.dims")
def _all(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return _extreme(graph, op.min, graph.cast(self, "bool"), dim, keepdim)


@converts("argmax.default")
def _argmax(graph: Graph, self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    return _place(graph, op.argmax, self, dim, keepdim)


@converts("argmin.default")
def _argmin(graph: Graph, self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    return _place(graph, op.argmin, self, dim, keepdim)


def _place(graph: Graph, operator: Any, data: Any, dim: int | None, keep: bool) -> Any:
    """Where the extreme stands, in a tensor laid out flat where `dim` is None."""
    if dtype_of(data) == "bool":
        data = graph.cast(data, "int8")
    shape = shape_of(data)
    if dim is None or not shape:
        flat = graph.reshape(data, (prod(shape),))
        place = graph.emit(place_of_extreme(operator, flat, 0, False))
        return graph.reshape(place, [1] * len(shape) if keep and dim is None else ())
    return graph.emit(place_of_extreme(operator, data, dim % len(shape), keep))


@converts("max.dim")
def _max_with_place(graph: Graph, self: Any, dim: int, keepdim: bool = False) -> Any:
    return [_amax(graph, self, dim, keepdim), _place(graph, op.argmax, self, dim, keepdim)]


@converts("min.dim")
def _min_with_place(graph: Graph, self: Any, dim: int, keepdim: bool = False) -> Any:
    return [_amin(graph, self, dim, keepdim), _place(graph, op.argmin, self, dim, keepdim)]


@converts("var.correction", "var.dim", "var.default")
def _var(graph: Graph, self: Any, dim: Any = None, **options: Any) -> Any:
    return _variance(graph, self, dim, **options)[0]


@converts("var_mean.correction")
def _var_mean(graph: Graph, self: Any, dim: Any = None, **options: Any) -> Any:
    return list(_variance(graph, self, dim, **options))


@converts("std.correction")
def _std(graph: Graph, self: Any, dim: Any = None, **options: Any) -> Any:
    return op.sqrt(_variance(graph, self, dim, **options)[0])


@converts("std_mean.correction")
def _std_mean(graph: Graph, self: Any, dim: Any = None, **options: Any) -> Any:
    variance, mean = _variance(graph, self, dim, **options)
    return [op.sqrt(variance), mean]


def _variance(
    graph: Graph,
    data: Any,
    dim: Any,
    correction: Any = None,
    keepdim: bool = False,
    unbiased: bool = True,
) -> tuple[Any, Any]:
    """Variance and mean; the sum of squares is divided by the count less the correction."""
    shape, dtype = shape_of(data), dtype_of(data)
    less = (1 if unbiased else 0) if correction is None else correction
    count = prod(shape[axis] for axis in axes_of(dim, len(shape)))
    mean = reduced(graph, op.mean, data, dim, True)
    centred = graph.emit(op.subtract(data, mean))
    total = reduced(graph, op.sum, graph.emit(op.multiply(centred, centred)), dim, keepdim)
    divisor = torch.tensor(max(count - less, 0), dtype=torch.float64)
    variance = graph.emit(divided(total, graph.const(divisor, dtype)))
    return variance, graph.reshape(mean, shape_of(variance))


@converts("cumsum.default")
def _cumsum(graph: Graph, self: Any, dim: int, **_: Any) -> Any:
    return _running(graph, op.cumsum, self, dim)


@converts("cumprod.default")
def _cumprod(graph: Graph, self: Any, dim: int, **_: Any) -> Any:
    return _running(graph, op.cumprod, self, dim)


def _running(graph: Graph, operator: Any, data: Any, dim: int) -> Any:
    data = graph.cast(data, graph.result_dtype)
    shape: Sequence[int] = shape_of(data)
    return operator(data, axis=dim % len(shape)) if shape else data
