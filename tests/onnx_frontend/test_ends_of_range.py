"""Operators where their formulas end: integers at their ends, indices for a part of an axis."""

from __future__ import annotations

import numpy as np
from onnx_nodes import Node, differences

BYTES = np.array([[0, 0, 0], [255, 255, 255], [0, 5, 255]], np.uint8)
LARGE = np.array([1e10, -1e10, 2e19, -3e38, 1e9, 3], np.float32)
LEAST = np.full((2, 3), -128, np.int8)
DATA = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
PICTURE = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
KERNEL = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)


def scatter(axis: int, indices: list[object], *, reduction: str = "none") -> Node:
    places = np.array(indices, np.int64)
    new = -1 - np.arange(places.size, dtype=np.float32).reshape(places.shape)
    attributes = {"axis": axis, "reduction": reduction}
    return Node("ScatterElements", [DATA, places, new], 0, attributes=attributes)


def transposed(shape: list[int], **attributes: object) -> Node:
    given = {"strides": [3, 3], "output_shape": shape, **attributes}
    return Node("ConvTranspose", [PICTURE, KERNEL], attributes=given)


NODES = (
    Node("Sign", [BYTES]),
    Node("Asinh", [LARGE]),
    Node("Acosh", [abs(LARGE)]),
    *(
        Node(operator, [array], attributes={"axis": 1, "select_last_index": last})
        for operator in ("ArgMax", "ArgMin")
        for array in (BYTES, LEAST)
        for last in (0, 1)
    ),
    scatter(0, [[[1, 0], [0, 1]]]),
    scatter(1, [[[2, 0], [0, 1], [1, 2]]], reduction="add"),
    scatter(2, [[[3]], [[2]]]),
    scatter(2, [[[3, 0, 1, 2, 0]]], reduction="add"),
    scatter(1, [[[2]], [[0]]]),
    transposed([6, 6]),
    transposed([8, 8]),
    transposed([7, 8]),
    transposed([5, 8]),
    transposed([8, 5], auto_pad="SAME_UPPER"),
)


def test_numbers_at_the_ends_are_what_onnx_runtime_makes_of_them() -> None:
    assert differences(NODES, 18) == []
