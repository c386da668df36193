"""NaN and infinity go through a library as they go through ONNX Runtime."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from onnx_nodes import Node, by_onnxruntime, by_tunekit, model_of
from special_numbers import NUMBERS

from tunekit.accuracy import compare

INFINITE = NUMBERS[2::2]
FLIPPED = np.ascontiguousarray(NUMBERS[::-1])
LAST = np.array([1])

NODES = (
    *(
        Node(operator, [NUMBERS])
        for operator in (
            *("Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Sign", "IsNaN", "IsInf", "Abs"),
            *("Softplus", "ThresholdedRelu", "Sqrt", "Exp", "Sigmoid", "Tanh", "Erf", "Softmax"),
        )
    ),
    Node("Clip", [NUMBERS, np.array(-1, np.float32), np.array(2, np.float32)]),
    Node("Clip", [NUMBERS, np.array(-1, np.float32), np.array(2, np.float32)], known=0),
    Node("Clip", [NUMBERS, np.array(-1, np.float32)]),
    Node("Clip", [NUMBERS, None, np.array(1, np.float32)]),
    Node("Max", [NUMBERS, FLIPPED], known=0),
    Node("Min", [NUMBERS, FLIPPED, NUMBERS[5:]], known=0),
    Node("Max", [NUMBERS, np.array(0, np.float32)]),
    Node("Equal", [NUMBERS, FLIPPED], known=0),
    Node("Cast", [NUMBERS], attributes={"to": TensorProto.BOOL}),
    Node("ReduceMax", [INFINITE, LAST]),
    Node("ReduceMin", [INFINITE, LAST]),
    Node("ArgMax", [INFINITE], attributes={"axis": 1}),
    Node("ArgMin", [INFINITE], attributes={"axis": 1, "select_last_index": 1}),
    Node("ReduceLogSumExp", [NUMBERS, LAST]),
)


def test_nan_and_infinity_are_what_onnx_runtime_makes_of_them() -> None:
    model, feed = model_of(NODES, 22)
    wrong = []
    for node, right, given in zip(
        NODES, by_onnxruntime(model, feed), by_tunekit(model, feed), strict=True
    ):
        result = compare([right], [given])
        if not result.within(1e-5):
            wrong.append(f"{node}: {result.reason or result.relative_error}\n{given}")
    assert not wrong, "\n".join(wrong)
