"""Inputs as people have them: what turns them into the model's own is part of the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tunekit.errors import RecipeError
from tunekit.models import load_source
from tunekit.recipe import ModelSpec, parse_recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = {"name": "x", "shape": [1, 12, 16, 3], "dtype": "uint8", "layout": "NHWC"}


def spec(source: str, **given: Any) -> ModelSpec:
    item = {**PIXELS, "normalize": {"mean": list(MEAN), "std": list(STD)}, **given}
    return ModelSpec.model_validate({"source": source, "inputs": [item]}, strict=False)


def as_the_model_takes_it(pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    """By torchvision's own steps."""
    from torchvision.transforms.v2.functional import normalize

    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return normalize(scaled, list(MEAN), list(STD))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An ONNX file that takes floats with their channels first, and reads them in two nodes."""
    nodes = [
        onnx.helper.make_node("Relu", ["x"], ["positive"]),
        onnx.helper.make_node("Add", ["positive", "x"], ["y"]),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "twice",
        [value("x", onnx.TensorProto.FLOAT, [1, 3, "h", "w"])],
        [value("y", onnx.TensorProto.FLOAT, [1, 3, "h", "w"])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    path = tmp_path / "twice.onnx"
    onnx.save(model, path)
    return path


def test_bytes_with_channels_last_are_what_torchvision_makes_of_them() -> None:
    source = load_source(spec("python:torch_models:Picture"))
    assert [(item.shape, item.dtype) for item in source.inputs] == [((1, 12, 16, 3), "uint8")]
    values = source.sample_inputs(0)
    assert values["x"].max() > 250
    module = load_source(
        ModelSpec.model_validate(
            {
                "source": "python:torch_models:Picture",
                "inputs": [{"name": "x", "shape": [1, 3, 12, 16]}],
            },
            strict=False,
        )
    ).torch_module()
    assert module is not None
    with torch.no_grad():
        expected = module(as_the_model_takes_it(values["x"]))
    (actual,) = source.reference(values)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    own = source.torch_module()
    assert own is not None
    with torch.no_grad():
        np.testing.assert_allclose(own(torch.from_numpy(values["x"])), actual, rtol=1e-5, atol=1e-6)


def test_its_import_and_its_onnx_file_take_bytes(
    tmp_path: Path, run_module: Callable[..., Any]
) -> None:
    source = load_source(spec("python:torch_models:Picture"))
    (comparison,) = run_module(source.to_relax(), source).values()
    assert comparison.relative_error < 1e-5
    source.write_onnx(tmp_path / "model.onnx")
    values = source.sample_inputs(1)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    np.testing.assert_allclose(
        session.run(None, dict(values))[0], source.reference(values)[0], rtol=1e-4, atol=1e-5
    )


def test_an_onnx_file_takes_bytes(file: Path, run_module: Callable[..., Any]) -> None:
    source = load_source(spec(str(file)))
    values = source.sample_inputs(0)
    own = as_the_model_takes_it(values["x"])
    np.testing.assert_allclose(source.reference(values)[0], own.relu() + own, rtol=1e-5, atol=1e-5)
    (comparison,) = run_module(source.to_relax(), source).values()
    assert comparison.relative_error < 1e-5


def test_channels_alone_are_moved_without_arithmetic(file: Path) -> None:
    source = load_source(spec(str(file), dtype="float32", normalize=None))
    values = source.sample_inputs(0)
    own = values["x"].transpose(0, 3, 1, 2)
    assert np.array_equal(source.reference(values)[0], np.maximum(own, 0) + own)
    session_file = file.with_name("own.onnx")
    source.write_onnx(session_file)
    operators = [node.op_type for node in onnx.load(session_file).graph.node]
    assert operators == ["Cast", "Transpose", "Relu", "Add"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": [1, 3, 12, 16]}, "normalize.mean has 3 numbers.*16 channels"),
        ({"shape": [12, 16, 3]}, "is for images, of four sizes"),
        ({"dtype": "int64"}, "is for inputs of uint8 or float32 or float16, not of int64"),
        ({"normalize": {"std": [0]}}, "greater than 0|more than 0"),
        ({"normalize": {"mean": []}}, "normalize.mean"),
        ({"value": 1}, "value and normalize are both given"),
    ],
)
def test_what_is_no_image_is_refused(given: dict[str, Any], message: str) -> None:
    item = {**PIXELS, "normalize": {"mean": list(MEAN), "std": list(STD)}, **given}
    recipe = {"name": "net", "model": {"source": "torchvision:resnet18", "inputs": [item]}}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(json.dumps(recipe), "net.yaml")
