"""Indices outside, which ONNX Runtime refuses as it runs, reach no memory but the tensors."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import Array, Node, by_tunekit, model_of

from tunekit.errors import ImportFailed
from tunekit.onnx_frontend import proto_to_relax

X = np.arange(1, 8, dtype=np.float32)
NEW = -np.ones(6, np.float32)
OUTSIDE = np.array([-(2**40), -8, -1, 0, 7, 2**40])
WITHIN = np.array([0, 0, 6, 0, 6, 6])


def nodes(index: Array) -> list[Node]:
    return [
        Node("Gather", [X, index], 0),
        Node("GatherElements", [X, index], 0),
        Node("GatherND", [X, index[:, None]], 0),
        Node("ScatterElements", [X, index, NEW], 0),
        Node("ScatterND", [X, index[:, None], NEW], 0),
    ]


def test_indices_outside_are_the_first_or_the_last_place() -> None:
    outside, within = (by_tunekit(*model_of(nodes(index), 18)) for index in (OUTSIDE, WITHIN))
    for given, expected in zip(outside, within, strict=True):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("node", nodes(OUTSIDE), ids=lambda node: str(node.operator))
def test_known_indices_outside_are_refused(node: Node) -> None:
    model, feed = model_of([Node(node.operator, node.inputs, len(node.inputs) - 1)], 18)
    with pytest.raises(ImportFailed, match="lies beyond its axis, which has 7 elements"):
        proto_to_relax(model, list(feed), "outside")
