from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_nodes import (
    Array,
    Node,
    by_onnxruntime,
    by_tunekit,
    differences,
    model_of,
)

_RANDOM = np.random.default_rng(5)


def some(*shape: int) -> Array:
    return (_RANDOM.standard_normal(shape) * 0.5).astype("float32")


def ones_and_zeros(*shape: int, dtype: str = "int32") -> Array:
    mask = _RANDOM.integers(0, 2, shape).astype(dtype)
    mask[..., 0] = 1
    return mask


def microsoft(operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Node:
    return Node(f"com.microsoft.{operator}", inputs, outputs=outputs, attributes=attributes)


def heads(*lengths: int, count: int = 2) -> list[Array]:
    return [some(2, count, length, 8) for length in lengths]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(
            [
                Node("Attention", heads(5, 6, 6), outputs=4, attributes={"is_causal": 1}),
                Node("Attention", [*heads(5, 6, 6), ones_and_zeros(5, 6, dtype="bool")]),
                Node(
                    "Attention",
                    [*heads(5, 5, 5), some(2, 2, 5, 8), *heads(3, 3)],
                    outputs=3,
                    attributes={"is_causal": 1, "scale": 0.3},
                ),
                Node(
                    "Attention",
                    [some(1, 6, 32), some(1, 6, 16), some(1, 6, 16)],
                    attributes={"q_num_heads": 4, "kv_num_heads": 2, "softcap": 2.0},
                ),
                Node("RotaryEmbedding", [some(1, 2, 6, 8), some(1, 6, 4), some(1, 6, 4)]),
                Node(
                    "RotaryEmbedding",
                    [some(2, 6, 16), some(9, 2), some(9, 2), np.array([[0, 1, 2, 3, 4, 5]] * 2)],
                    attributes={"num_heads": 2, "rotary_embedding_dim": 4, "interleaved": 1},
                ),
            ],
            id="standard",
        ),
        pytest.param(
            [
                microsoft(
                    "Attention",
                    *(some(2, 5, 16), some(16, 48), some(48), np.array([3, 5, 0, 1], "int32")),
                    num_heads=4,
                ),
                microsoft(
                    "Attention",
                    *(some(2, 5, 16), some(16, 48), some(48), ones_and_zeros(2, 5)),
                    num_heads=4,
                    unidirectional=1,
                ),
                microsoft(
                    "Attention",
                    *(some(2, 5, 16), some(16, 48), some(48), None, some(2, 2, 4, 3, 4)),
                    outputs=2,
                    num_heads=4,
                    unidirectional=1,
                ),
                microsoft(
                    "MultiHeadAttention",
                    *(some(2, 5, 16), some(2, 6, 16), some(2, 6, 24), some(56)),
                    num_heads=4,
                ),
                microsoft(
                    "MultiHeadAttention",
                    *(some(2, 5, 16), some(2, 4, 6, 4), some(2, 4, 6, 4), None),
                    *(ones_and_zeros(2, 6), some(1, 4, 5, 6)),
                    num_heads=4,
                ),
            ],
            id="com.microsoft",
        ),
        pytest.param(
            [
                microsoft(
                    "GroupQueryAttention",
                    *(some(1, 1, 64), some(1, 1, 32), some(1, 1, 32)),
                    *(some(1, 2, 6, 16), some(1, 2, 6, 16)),
                    *(np.array([4], "int32"), np.array(5, "int32"), some(9, 8), some(9, 8)),
                    outputs=3,
                    num_heads=4,
                    kv_num_heads=2,
                    do_rotary=1,
                ),
                microsoft(
                    "GroupQueryAttention",
                    *(some(1, 5, 64), None, None, None, None),
                    *(np.array([4], "int32"), np.array(5, "int32")),
                    outputs=3,
                    num_heads=4,
                    kv_num_heads=2,
                    local_window_size=2,
                    softcap=3.0,
                ),
                microsoft(
                    "RotaryEmbedding",
                    *(some(2, 5, 32), np.array([1]), some(9, 8), some(9, 8)),
                ),
            ],
            id="caches",
        ),
    ],
)
def test_attention_gives_what_onnx_runtime_gives(nodes: list[Node]) -> None:
    assert differences(nodes, opset=23) == []


def test_the_fused_operators_of_onnx_runtime_give_what_it_gives() -> None:
    image = some(1, 4, 8, 8), some(4, 4, 3, 3)
    ids = _RANDOM.integers(0, 9, (2, 5)).astype("int32")
    tables = some(9, 8), some(7, 8)
    nodes = [
        microsoft("FusedMatMul", some(2, 5, 6), some(2, 7, 6), transB=1, alpha=0.25),
        microsoft("FusedGemm", some(5, 6), some(6, 7), some(7), activation="Relu", alpha=0.5),
        microsoft("FusedConv", *image, some(4), some(1, 4, 6, 6), activation="Tanh"),
        microsoft("FusedConv", *image, activation="Clip", activation_params=[-0.2, 0.5]),
        microsoft("BiasGelu", some(2, 5, 6), some(6)),
        microsoft("FastGelu", some(2, 5), some(5)),
        microsoft("QuickGelu", some(2, 5), alpha=1.5),
        microsoft(
            "SkipLayerNormalization",
            *(some(2, 5, 16), some(5, 16), some(16), some(16), some(16)),
            outputs=4,
        ),
        microsoft("SkipSimplifiedLayerNormalization", some(2, 16), some(2, 16), some(16)),
        microsoft(
            "EmbedLayerNormalization",
            *(ids, ids % 2, *tables, some(2, 8), some(8), some(8), ones_and_zeros(2, 5)),
            outputs=2,
        ),
        microsoft("Inverse", some(2, 3, 3)),
        microsoft("Trilu", some(4, 5), upper=0),
        microsoft("ExpandDims", some(4, 5), np.array(1, "int32")),
        microsoft("FusedMatMul", some(5, 2, 6), some(2, 3, 6), transBatchA=1, transB=1),
        microsoft("FusedMatMul", some(2, 6, 5), some(6, 2, 3), transA=1, transBatchB=1),
        microsoft("GatherND", some(2, 3, 4), np.array([[0, 1], [1, 2]], "int32")),
        microsoft("GridSample", some(1, 2, 5, 6), some(1, 3, 4, 2), align_corners=1),
        microsoft("Pad", some(3, 4), np.array([[1, 0, 0, 2]]), np.array(1.5, "float32")),
        microsoft("CDist", some(4, 6), some(5, 6), metric="euclidean"),
        microsoft("CDist", some(4, 6), some(5, 6)),
        microsoft(
            "NhwcMaxPool",
            ids.reshape(1, 2, 5, 1).astype("uint8"),
            kernel_shape=[2, 2],
            pads=[1] * 4,
        ),
    ]
    assert differences(nodes, opset=21) == []


def test_the_scores_are_an_output_too() -> None:
    """Which ONNX Runtime only gives with a type."""
    inputs = [some(2, 5, 16), some(2, 6, 16), some(2, 6, 24), some(56), None, some(1, 4, 5, 6)]
    node = microsoft("MultiHeadAttention", *inputs, outputs=4, num_heads=4, scale=0.3)
    model, feed = model_of([node], 20)
    shapes = [(2, 5, 24), (2, 4, 6, 4), (2, 4, 6, 6), (2, 4, 5, 6)]
    for output, shape in zip(model.graph.output, shapes, strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape))
    for right, given in zip(by_onnxruntime(model, feed), by_tunekit(model, feed), strict=True):
        np.testing.assert_allclose(given, right, atol=1e-5)
