from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto
from onnx_nodes import Node, by_tunekit, differences, model_of

from tunekit.errors import ImportFailed

RANDOM = np.random.default_rng(0)


def byte(*shape: int) -> Any:
    return RANDOM.integers(0, 255, shape).astype("uint8")


def signed(*shape: int) -> Any:
    # Small enough for the sums of ONNX Runtime, which saturate at 16 bits on older processors.
    return RANDOM.integers(-60, 60, shape).astype("int8")


def scale(number: float) -> Any:
    return np.array(number, "float32")


def zero(number: int, dtype: str = "uint8") -> Any:
    return np.array(number, dtype)


def test_numbers_are_quantized_and_back_by_tensor_axis_and_block() -> None:
    data = RANDOM.standard_normal((2, 6, 5, 4)).astype("float32")
    nodes = []
    for dtype, step in (("uint8", 0.02), ("int8", 0.02), ("int16", 2e-4)):
        codes = RANDOM.integers(0, 120, data.shape).astype(dtype)
        scales = RANDOM.uniform(step, 2 * step, (2, 3, 5, 4)).astype("float32")
        zeros = RANDOM.integers(0, 20, scales.shape).astype(dtype)
        for operator, values in (("QuantizeLinear", data), ("DequantizeLinear", codes)):
            nodes += [
                Node(operator, [values, scale(step), zero(5, dtype)]),
                Node(
                    operator,
                    [values, scales[0, 0, :, 0], zeros[0, 0, :, 0]],
                    attributes={"axis": 2},
                ),
                Node(operator, [values, scales, zeros], attributes={"block_size": 2}),
            ]
            if nodes[-2].inputs[1] is not None:
                nodes[-2] = Node(operator, nodes[-2].inputs, attributes={"axis": 2})
    nodes.append(Node("QuantizeLinear", [data, scale(0.02)]))
    nodes.append(Node("QuantizeLinear", [data, scale(0.02), zero(7)], known=0))
    nodes.append(Node("DynamicQuantizeLinear", [data], outputs=3))
    assert differences(nodes, 21, steps=1) == []


def test_products_of_integers_are_those_of_onnxruntime() -> None:
    image, rows = byte(1, 6, 9, 8), byte(2, 5, 16)
    output = [scale(0.2), zero(100)]
    channels = RANDOM.uniform(0.01, 0.02, 8).astype("float32")
    bias = RANDOM.integers(-500, 500, 8).astype("int32")
    by_channel = [signed(8, 6, 3, 3), channels, np.zeros(8, "int8")]
    nodes = [
        Node("ConvInteger", [image, signed(8, 6, 3, 3), zero(120)], attributes={"pads": [1] * 4}),
        # Sums of more digits than single precision has.
        Node("ConvInteger", [byte(1, 300, 5, 5), byte(8, 300, 3, 3), zero(120), zero(3)]),
        Node("MatMulInteger", [byte(3, 1200), byte(1200, 7), zero(1), zero(2)]),
        Node("MatMulInteger", [byte(3, 1200), byte(1200, 7), zero(1), zero(2)], known=2),
        Node("QLinearConv", [image, scale(0.03), zero(120), *by_channel, *output, bias]),
        Node("QLinearMatMul", [rows, scale(0.02), zero(120), byte(16, 8), scale(0.01), zero(9),
                               *output]),
        Node("com.microsoft.QGemm", [rows[0], scale(0.02), zero(120), byte(16, 8), scale(0.01),
                                     zero(9), bias, *output]),
        Node("com.microsoft.DynamicQuantizeMatMul",
             [RANDOM.standard_normal((3, 16)).astype("float32"), byte(16, 8), scale(0.01),
              zero(9)]),
        Node("com.microsoft.MatMulIntegerToFloat",
             [rows, byte(16, 8), scale(0.02), scale(0.01), zero(120), zero(9)]),
    ]  # fmt: skip
    assert differences(nodes, 21, steps=1) == []


def test_operators_between_quantized_tensors_are_within_a_step_of_onnxruntime() -> None:
    image, other = byte(1, 6, 9, 8), byte(1, 6, 9, 8)
    first, second = [image, scale(0.03), zero(120)], [other, scale(0.02), zero(9)]
    output = [scale(0.0467), zero(70)]
    nodes = [
        Node(f"com.microsoft.QLinear{name}", inputs, attributes=attributes)
        for name, inputs, attributes in (
            ("Add", [*first, *second, *output], {}),
            ("Mul", [*first, *second, *output], {}),
            ("Sigmoid", [*first, scale(1 / 256), zero(0)], {}),
            ("LeakyRelu", [*first, *output], {"alpha": 0.2}),
            ("AveragePool", [*first, *output], {"kernel_shape": [3, 3], "pads": [1] * 4}),
            ("GlobalAveragePool", [*first, *output], {"channels_last": 1}),
            ("Concat", [*output, *first, *second], {"axis": 1}),
            ("Softmax", [*first, scale(1 / 256), zero(0)], {"axis": -1, "opset": 13}),
        )
    ]
    assert differences(nodes, 21, steps=1) == []


def test_attention_with_quantized_projections_is_that_of_onnxruntime() -> None:
    rows, weights = byte(2, 5, 16), signed(16, 48)
    bias = RANDOM.standard_normal(48).astype("float32")
    zeros = zero(120), zero(0, "int8")
    inputs = [rows, weights, bias, scale(0.02), scale(0.01), None, *zeros]
    past = RANDOM.standard_normal((2, 2, 4, 3, 4)).astype("float32")
    nodes = [
        Node("com.microsoft.QAttention", inputs, attributes={"num_heads": 4}),
        Node(
            "com.microsoft.QAttention",
            [*inputs, past],
            outputs=2,
            attributes={"num_heads": 4, "unidirectional": 1},
        ),
    ]
    assert differences(nodes, 21, tolerance=1e-4) == []


def test_weights_of_few_bits_are_those_of_onnxruntime() -> None:
    rows, depth, block = 12, 70, 32
    blocks = 3
    data = RANDOM.standard_normal((2, depth)).astype("float32")
    scales = RANDOM.uniform(0.01, 0.02, rows * blocks).astype("float32")
    nodes = [
        Node(
            "com.microsoft.MatMulNBits",
            [data, byte(rows, blocks, block * bits // 8), scales, *zeros],
            attributes={"K": depth, "N": rows, "bits": bits, "block_size": block},
        )
        for bits, zeros in ((4, []), (4, [byte(rows * 2)]), (8, [byte(rows * blocks)]))
    ]
    assert differences(nodes, 21, tolerance=1e-4) == []


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_numbers_of_few_bits_are_folded_where_known_and_else_refused(name: str) -> None:
    codes = np.array([0, 1, 3, 5, 2, 7]).astype(getattr(ml_dtypes, name))
    to_float = {"to": TensorProto.FLOAT}
    nodes = [
        Node("Cast", [codes], known=1, attributes=to_float),
        Node("DequantizeLinear", [codes, scale(0.5)], known=2),
    ]
    cast, dequantized = by_tunekit(*model_of(nodes, 23))
    np.testing.assert_array_equal(cast, [0, 1, 3, 5, 2, 7])
    np.testing.assert_array_equal(dequantized, [0, 0.5, 1.5, 2.5, 1, 3.5])
    for node in nodes:
        at_run_time = Node(node.operator, node.inputs, known=0, attributes=node.attributes)
        with pytest.raises(ImportFailed, match=f"{node.operator}.*nothing computes with {name}"):
            by_tunekit(*model_of([at_run_time], 23))
