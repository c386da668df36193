"""Scaled dot product attention as two matrix products and a softmax, each of which can be tuned."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.relax import op

from tunekit.torch_frontend.converters.linear import matmul
from tunekit.torch_frontend.graph import Graph, dtype_of, known, shape_of
from tunekit.torch_frontend.table import converts


@converts("scaled_dot_product_attention.default")
def _attention(
    graph: Graph,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    dtype = dtype_of(query)
    if enable_gqa:
        key, value = (_repeated(graph, item, shape_of(query)[-3]) for item in (key, value))
    rank = len(shape_of(key))
    factor = shape_of(query)[-1] ** -0.5 if scale is None else scale
    turned = graph.permute(key, [*range(rank - 2), rank - 1, rank - 2])
    scaled = graph.emit(op.multiply(query, graph.const(factor, dtype)))
    scores = matmul(graph, scaled, turned)
    allowed = None
    if is_causal:
        rows, columns = shape_of(scores)[-2:]
        scores = _lowered(graph, scores, graph.const(np.tri(rows, columns), "bool"))
    if attn_mask is not None:
        scores, allowed = _masked(graph, scores, attn_mask)
    weights = graph.emit(op.nn.softmax(scores, axis=-1))
    if allowed is not None:
        weights = graph.emit(op.where(allowed, weights, graph.const(0, dtype)))
    return matmul(graph, weights, value)


def _repeated(graph: Graph, heads: Any, count: int) -> Any:
    """Each head as often as there are queries for it."""
    shape = shape_of(heads)
    times = count // shape[-3]
    if times == 1:
        return heads
    wide = graph.reshape(heads, (*shape[:-2], 1, *shape[-2:]))
    wide = graph.broadcast(wide, (*shape[:-2], times, *shape[-2:]))
    return graph.reshape(wide, (*shape[:-3], count, *shape[-2:]))


def _masked(graph: Graph, scores: Any, mask: Any) -> tuple[Any, Any]:
    """Scores under a mask of booleans, or with one of floats added.

    Returns:
        The scores, and where attention is allowed if there may be rows in which it nowhere is:
        torch gives 0 for those.
    """
    dtype, array = dtype_of(scores), known(mask)
    if dtype_of(mask) == "bool":
        is_safe = array is not None and bool(array.any(-1).all())
        return _lowered(graph, scores, mask), None if is_safe else mask
    mask = graph.cast(mask, dtype)
    is_safe = array is not None and bool((array > -np.inf).any(-1).all())
    allowed = None
    if not is_safe:
        allowed = graph.emit(op.greater(mask, graph.const(-np.inf, dtype)))
    return graph.emit(op.add(scores, mask)), allowed


def _lowered(graph: Graph, scores: Any, mask: Any) -> Any:
    """Scores with the lowest number where the mask is false."""
    dtype = dtype_of(scores)
    lowest = graph.const(np.finfo(dtype).min, dtype)
    return graph.emit(op.where(mask, scores, lowest))
