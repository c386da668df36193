"""ONNX files that ONNX Runtime runs get in, whatever the checker of the onnx package says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tunekit.errors import ModelFileError
from tunekit.models import load_source
from tunekit.recipe import InputSpec, ModelSpec

_FLOAT = TensorProto.FLOAT


def written(
    path: Path,
    *nodes: onnx.NodeProto,
    shape: list[Any] | None,
    output: list[int] | None = None,
    dtype: int = _FLOAT,
) -> str:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", _FLOAT, output)],
        [numpy_helper.from_array(np.ones(6, "float32"), "scale")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, str(path))
    return str(path)


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([helper.make_node("Exp", ["x"], ["y"])], id="an output without a shape"),
        pytest.param(
            [helper.make_node("Neg", ["e"], ["y"]), helper.make_node("Exp", ["x"], ["e"])],
            id="nodes in any order",
        ),
        pytest.param(
            [helper.make_node("SimplifiedLayerNormalization", ["x", "scale"], ["y"])],
            id="an operator of ONNX Runtime among the standard's",
        ),
    ],
)
def test_what_onnx_runtime_takes_is_taken(
    tmp_path: Path, nodes: list[onnx.NodeProto], run_module: Any
) -> None:
    source = load_source(ModelSpec(source=written(tmp_path / "net.onnx", *nodes, shape=[2, 6])))
    assert run_module(source.to_relax(), source)["y"].within(1e-5)


def test_short_integers_are_ranked(tmp_path: Path, run_module: Any) -> None:
    kinds = [TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16]
    nodes = [
        helper.make_node("TopK", [f"x{kind}", "k"], [f"y{kind}", f"place{kind}"]) for kind in kinds
    ]
    graph = helper.make_graph(
        nodes,
        "ranks",
        [helper.make_tensor_value_info(f"x{kind}", kind, [4, 6]) for kind in kinds],
        [helper.make_tensor_value_info(f"y{kind}", kind, [4, 3]) for kind in kinds],
        [numpy_helper.from_array(np.array([3]), "k")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])
    onnx.save(model, str(tmp_path / "net.onnx"))
    source = load_source(ModelSpec(source=str(tmp_path / "net.onnx")))
    errors = run_module(source.to_relax(), source)
    assert [errors[f"y{kind}"].relative_error for kind in kinds] == [0, 0, 0]


def test_an_input_without_a_shape_has_that_of_the_recipe(tmp_path: Path) -> None:
    path = written(tmp_path / "net.onnx", helper.make_node("Exp", ["x"], ["y"]), shape=None)
    with pytest.raises(ModelFileError, match="input 'x' has no shape in the file") as caught:
        load_source(ModelSpec(source=path))
    assert "model.inputs: [{name: x, shape: [...]}]" in str(caught.value.hint)
    source = load_source(ModelSpec(source=path, inputs=(InputSpec(name="x", shape=(2, 3)),)))
    assert [spec.shape for spec in source.outputs] == [(2, 3)]
    source.to_relax()


def test_an_input_of_an_element_type_that_libraries_do_not_take_is_refused(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], to=_FLOAT)
    path = written(
        tmp_path / "net.onnx", cast, shape=[2, 6], output=[2, 6], dtype=TensorProto.BFLOAT16
    )
    with pytest.raises(ModelFileError, match="input 'x' is bfloat16; libraries take float32, "):
        load_source(ModelSpec(source=path))
