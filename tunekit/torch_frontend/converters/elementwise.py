"""What operators that compute each element by itself have in common: the dtype they compute in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as PROMOTION

from tunekit.torch_frontend.graph import Graph


def computed(
    graph: Graph, values: dict[str, Any], kind: PROMOTION = PROMOTION.DEFAULT
) -> tuple[str, list[Any]]:
    """The dtype that torch computes a node in, and the node's operands in it."""
    fakes = [
        argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument
        for argument in graph.node.args[: len(values)]
    ]
    dtype = graph.computing_dtype(*fakes, kind=kind)
    return dtype, [graph.cast(value, dtype) for value in values.values()]


def with_dtype(
    compute: Callable[..., Any], kind: PROMOTION = PROMOTION.DEFAULT
) -> Callable[..., Any]:
    """A converter of all tensors and numbers of a node, cast to one dtype.

    Args:
        compute: from the graph, the dtype and the operands.
    """

    def convert(graph: Graph, **values: Any) -> Any:
        dtype, operands = computed(graph, values, kind)
        return compute(graph, dtype, *operands)

    return convert


def is_float(dtype: str) -> bool:
    return dtype.startswith("float")
