"""Matrix products."""

from __future__ import annotations

from typing import Any

from tvm.relax import op

from tunekit.torch_frontend.graph import Graph, dtype_of, shape_of
from tunekit.torch_frontend.table import converts


def matmul(graph: Graph, left: Any, right: Any) -> Any:
    """A product of matrices, batched where there are more axes; sums in the operands' dtype."""
    return graph.emit(op.matmul(left, right, out_dtype=dtype_of(left)))


@converts("mm.default", "bmm.default")
def _mm(graph: Graph, self: Any, mat2: Any) -> Any:
    return matmul(graph, self, mat2)


@converts("matmul.default", "dot.default", "mv.default")
def _matmul(graph: Graph, self: Any, **other: Any) -> Any:
    [right] = other.values()
    dtype = graph.result_dtype
    left_shape, right_shape = shape_of(self), shape_of(right)
    left, right = graph.cast(self, dtype), graph.cast(right, dtype)
    if len(left_shape) == 1:
        left = graph.reshape(left, (1, *left_shape))
    if len(right_shape) == 1:
        right = graph.reshape(right, (*right_shape, 1))
    return graph.reshape(matmul(graph, left, right), graph.result_shape)


@converts("linear.default")
def _linear(graph: Graph, input: Any, weight: Any, bias: Any = None) -> Any:  # noqa: A002
    rows = input if len(shape_of(input)) > 1 else graph.reshape(input, (1, *shape_of(input)))
    if len(shape_of(weight)) == 1:
        weight = graph.reshape(weight, (1, *shape_of(weight)))
    product = matmul(graph, rows, graph.permute(weight, (1, 0)))
    if bias is not None:
        product = graph.emit(op.add(product, bias))
    return graph.reshape(product, graph.result_shape)


@converts("addmm.default", "baddbmm.default", "addmv.default", "addbmm.default")
def _addmm(graph: Graph, self: Any, beta: Any = 1, alpha: Any = 1, **factors: Any) -> Any:
    left, right = factors.values()
    product = _matmul_of(graph, left, right)
    dtype = dtype_of(product)
    if alpha != 1:
        product = op.multiply(product, graph.const(alpha, dtype))
    if beta == 0:
        return product
    return op.add(product, self if beta == 1 else op.multiply(self, graph.const(beta, dtype)))


def _matmul_of(graph: Graph, left: Any, right: Any) -> Any:
    if len(shape_of(right)) == 1:
        product = matmul(graph, left, graph.reshape(right, (*shape_of(right), 1)))
        return graph.reshape(product, shape_of(left)[:1])
    product = matmul(graph, left, right)
    # addbmm adds up the batch.
    is_summed = len(shape_of(product)) > len(graph.result_shape)
    return graph.emit(op.sum(product, axis=[0])) if is_summed else product
