"""Sorting, and what is chosen by rank."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax import op

from tunekit.torch_frontend.graph import Graph, dtype_of, shape_of
from tunekit.torch_frontend.table import converts


def sorted_with_places(graph: Graph, data: Any, dim: int, descending: bool) -> tuple[Any, Any]:
    """Values in order along an axis, and where each stood; equal ones keep their order."""
    shape, dtype = shape_of(data), dtype_of(data)
    if not shape:
        return data, graph.const(np.zeros(()), "int64")
    keys = graph.cast(data, "int32") if dtype in ("bool", "int8", "uint8", "int16") else data
    axis = dim % len(shape)
    places = graph.emit(op.argsort(keys, axis=axis, descending=descending, dtype="int64"))
    return graph.emit(op.gather_elements(data, places, axis=axis)), places


@converts("sort.default", "sort.stable")
def _sort(graph: Graph, self: Any, dim: int = -1, descending: bool = False, **_: Any) -> Any:
    return list(sorted_with_places(graph, self, dim, descending))


@converts("argsort.default", "argsort.stable")
def _argsort(graph: Graph, self: Any, dim: int = -1, descending: bool = False, **_: Any) -> Any:
    return sorted_with_places(graph, self, dim, descending)[1]


@converts("topk.default")
def _topk(
    graph: Graph,
    self: Any,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,  # noqa: A002
) -> Any:
    if not shape_of(self):
        return [self, graph.const(np.zeros(()), "int64")]
    axis = dim % len(shape_of(self))
    values, places = sorted_with_places(graph, self, axis, largest)
    return [graph.slice(values, axis, 0, k), graph.slice(places, axis, 0, k)]


@converts("kthvalue.default")
def _kthvalue(graph: Graph, self: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    return _ranked(graph, self, k - 1, dim, keepdim)


@converts("median.dim")
def _median_along(graph: Graph, self: Any, dim: int, keepdim: bool = False) -> Any:
    size = shape_of(self)[dim] if shape_of(self) else 1
    return _ranked(graph, self, (size - 1) // 2, dim, keepdim)


@converts("median.default")
def _median(graph: Graph, self: Any) -> Any:
    size = prod(shape_of(self))
    return _ranked(graph, graph.reshape(self, (size,)), (size - 1) // 2, 0, False)[0]


def _ranked(graph: Graph, data: Any, rank: int, dim: int, keep: bool) -> list[Any]:
    """The value of a rank along an axis, from 0, and where it stands."""
    results = []
    for part in sorted_with_places(graph, data, dim, False):
        if not shape_of(part):
            results.append(part)
            continue
        axis = dim % len(shape_of(part))
        chosen = graph.slice(part, axis, rank, rank + 1)
        results.append(chosen if keep else graph.emit(relax.op.squeeze(chosen, [axis])))
    return results
