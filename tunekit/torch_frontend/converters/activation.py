"""Activations that Relax has as one."""

from __future__ import annotations

from typing import Any

from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as PROMOTION
from tvm.relax import op

from tunekit.torch_frontend.converters.elementwise import is_float
from tunekit.torch_frontend.converters.functions import expm1
from tunekit.torch_frontend.graph import Graph, dtype_of
from tunekit.torch_frontend.table import converts

_FLOAT = PROMOTION.INT_TO_FLOAT


@converts("gelu.default")
def _gelu(graph: Graph, self: Any, approximate: str = "none") -> Any:
    return op.nn.gelu_tanh(self) if approximate == "tanh" else op.nn.gelu(self)


@converts("leaky_relu.default")
def _leaky_relu(graph: Graph, self: Any, negative_slope: float = 0.01) -> Any:
    return op.nn.leakyrelu(self, negative_slope)


@converts("hardtanh.default", "relu6.default")
def _hardtanh(graph: Graph, self: Any, min_val: float = 0, max_val: float = 6) -> Any:
    dtype = dtype_of(self)
    if is_float(dtype):
        return op.clip(self, float(min_val), float(max_val))
    return op.minimum(op.maximum(self, graph.const(min_val, dtype)), graph.const(max_val, dtype))


@converts("hardsigmoid.default")
def _hardsigmoid(graph: Graph, self: Any) -> Any:
    dtype = dtype_of(self)
    raised = op.clip(op.add(self, graph.const(3, dtype)), 0.0, 6.0)
    return op.divide(raised, graph.const(6, dtype))


@converts("hardswish.default")
def _hardswish(graph: Graph, self: Any) -> Any:
    return op.multiply(self, _hardsigmoid(graph, self))


@converts("elu.default")
def _elu(
    graph: Graph, self: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> Any:
    dtype = dtype_of(self)
    negative = op.multiply(
        graph.const(alpha * scale, dtype),
        expm1(graph, dtype, op.multiply(self, graph.const(input_scale, dtype))),
    )
    positive = op.multiply(self, graph.const(scale, dtype))
    return op.where(op.greater(self, graph.const(0, dtype)), positive, negative)
