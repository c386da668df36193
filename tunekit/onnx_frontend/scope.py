"""What the names of a graph stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from tunekit.onnx_frontend.values import Value

_STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass
class Scope:
    """The names that a node can see, and what its operators mean.

    Attributes:
        values: by name; those of the graphs around it included.
        opsets: version of each domain, the standard one as "".
        references: attributes of the function call that the node is part of.
    """

    values: MutableMapping[str, Value]
    opsets: Mapping[str, int]
    references: Mapping[str, onnx.AttributeProto] = field(default_factory=dict)

    def inside(self, values: Mapping[str, Value]) -> Scope:
        """For a graph within the graph."""
        return Scope({**self.values, **values}, self.opsets, self.references)


def initial_values(graph: onnx.GraphProto) -> dict[str, Value]:
    values: dict[str, Value] = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
    }
    for sparse in graph.sparse_initializer:
        values[sparse.values.name] = _dense(sparse)
    return values


def _dense(sparse: onnx.SparseTensorProto) -> Value:
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    dense = np.zeros(list(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def opsets_of(imports: Sequence[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {domain_of(item.domain): item.version for item in imports}


def domain_of(domain: str) -> str:
    return "" if domain in _STANDARD_DOMAINS else domain


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Of a graph and the graphs within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)
