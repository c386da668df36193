from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tunekit.cache import ContentCache
from tunekit.models.importer import import_model
from tunekit.models.sources.onnx_file import OnnxModel

RANDOM = np.random.default_rng(0)


def model_of(
    nodes: list[onnx.NodeProto], shape: list[int], constants: dict[str, Any], dtype: int
) -> OnnxModel:
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", 13)]
    return OnnxModel(
        "quantized", "digest", 0, [], helper.make_model(graph, opset_imports=imports, ir_version=8)
    )


def test_the_reference_of_a_product_of_bytes_does_not_saturate() -> None:
    weights = RANDOM.integers(90, 128, (16, 8)).astype("int8")
    scales = {"s": np.float32(1), "z": np.uint8(0), "n": np.int8(0), "t": np.float32(2000)}
    source = model_of(
        [helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "n", "t", "z"], ["y"])],
        [4, 16],
        {"w": weights, **scales},
        TensorProto.UINT8,
    )
    rows = RANDOM.integers(200, 256, (4, 16)).astype("uint8")
    [result] = source.reference({"x": rows})
    exact = np.round(rows.astype(np.float64) @ weights / 2000)
    np.testing.assert_array_equal(result, exact)


def test_a_quantized_network_is_imported_as_it_is_written(tmp_path: Path, operators: Any) -> None:
    """With floating-point weights, and within one step of the output where sums lie between."""
    constants = {
        "w": RANDOM.integers(-90, 90, (4, 3, 3, 3)).astype("int8"),
        "scales": RANDOM.uniform(0.005, 0.03, 4).astype("float32"),
        "zeros": np.zeros(4, "int8"),
        "s": np.float32(0.05),
        "z": np.uint8(128),
        "t": np.float32(0.04),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["v"], axis=0),
        helper.make_node("Conv", ["d", "v"], ["c"], pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["c", "t", "z"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "t", "z"], ["y"]),
    ]
    source = model_of(nodes, [1, 3, 8, 8], constants, TensorProto.FLOAT)
    imported = import_model(source, max_relative_error=1e-5, cache=ContentCache(tmp_path))
    counted = operators(imported.module)
    # No integer is made of what is multiplied again.
    assert (counted["nn.conv2d"], counted["astype"]) == (1, 0)
    [step] = [source.rounding_step([np.array([4.0])])]
    assert 0.01 <= step < 0.0101


def test_a_model_that_rounds_as_it_runs_may_be_a_few_of_those_steps_off() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["p"]),
        helper.make_node("Cast", ["p"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c", "s"], ["y"]),
    ]
    weights = {"w": RANDOM.integers(-90, 90, (16, 8)).astype("int8")}
    source = model_of(nodes, [4, 16], weights, TensorProto.FLOAT)
    assert 3 / 255 < source.rounding_step([np.ones(4)]) < 5 / 255
