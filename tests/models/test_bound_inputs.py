"""Inputs that the recipe makes constants, and inputs whose values it gives a range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tunekit.errors import ModelFileError
from tunekit.models import load_source, source_digest
from tunekit.models.source import SourceModel
from tunekit.recipe import InputSpec, ModelSpec


def bound_source(*inputs: dict[str, Any]) -> SourceModel:
    given = tuple(InputSpec.model_validate(item) for item in inputs)
    return load_source(ModelSpec(source="python:torch_models:ScaledAndShifted", inputs=given))


@pytest.fixture
def resize_model(tmp_path: Path) -> Path:
    """y = x in the shape that the second input says."""
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Reshape", ["x", "to"], ["y"])],
            "reshape",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6]),
                helper.make_tensor_value_info("to", TensorProto.INT64, [2]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    path = tmp_path / "reshape.onnx"
    onnx.save(model, path)
    return path


def test_values_of_a_torch_module_are_numbers_and_arrays_of_its_forward() -> None:
    source = bound_source(
        {"name": "x", "shape": [2, 3]},
        {"name": "times", "value": 2},
        {"name": "shift", "value": [1.0, 2.0, 3.0]},
    )
    assert [spec.name for spec in source.inputs] == ["x"]
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(source.reference({"x": x})[0], [[5, 6, 7]] * 2)
    module = source.to_relax()
    assert [param.name for param in module["main"].params] == ["x"]


def test_a_value_for_something_that_the_module_does_not_take_is_refused() -> None:
    source = bound_source({"name": "x", "shape": [2, 3]}, {"name": "tims", "value": 2})
    with pytest.raises(ModelFileError, match=r"no input 'tims'.*did you mean 'times'"):
        source.torch_module()


def test_a_value_of_an_onnx_input_decides_the_shapes_behind_it(resize_model: Path) -> None:
    given = ModelSpec(
        source=str(resize_model),
        inputs=(
            InputSpec(name="x", shape=(2, 6)),
            InputSpec.model_validate({"name": "to", "value": [3, 4]}),
        ),
    )
    source = load_source(given)
    assert [spec.name for spec in source.inputs] == ["x"]
    assert [spec.shape for spec in source.outputs] == [(3, 4)]
    # What is not said is as the file has it.
    alone = given.model_copy(update={"inputs": given.inputs[1:]})
    assert [str(spec) for spec in load_source(alone).inputs] == ["x: 2x6 float32"]
    other = given.model_copy(
        update={
            "inputs": (
                given.inputs[0],
                InputSpec.model_validate({"name": "to", "value": [4, 3]}),
            )
        }
    )
    assert source_digest(other) != source_digest(given)


def test_a_value_that_decides_a_condition_leaves_the_branch_that_is_taken(tmp_path: Path) -> None:
    """The branch reads what is around it, as those of models for several sampling rates do."""

    def branch(name: str, operator: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])
        return helper.make_graph([helper.make_node(operator, ["x"], [name])], name, [], [result])

    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Equal", ["rate", "known"], ["is_known"]),
                helper.make_node(
                    *("If", ["is_known"], ["y"]),
                    then_branch=branch("then", "Neg"),
                    else_branch=branch("else", "Exp"),
                ),
            ],
            "rates",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]),
                helper.make_tensor_value_info("rate", TensorProto.INT64, []),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
            [helper.make_tensor("known", TensorProto.INT64, [], [16000])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    onnx.save(model, tmp_path / "rates.onnx")
    inputs = (
        InputSpec(name="x", shape=(3,)),
        InputSpec.model_validate({"name": "rate", "value": 16000}),
    )
    source = load_source(ModelSpec(source=str(tmp_path / "rates.onnx"), inputs=inputs))
    kinds = {operator.split()[2].rstrip(",") for operator in source.operators()}
    assert "Neg" in kinds
    assert not {"If", "Exp"} & kinds
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(source.reference({"x": x})[0], -x)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("two", [3, 4], "no input 'two'"),
        ("to", [1, 3, 4], r"has shape \[2\], and the recipe gives \[3\]"),
    ],
)
def test_a_value_that_does_not_fit_an_onnx_input_is_refused(
    resize_model: Path, name: str, value: list[int], words: str
) -> None:
    given = ModelSpec(
        source=str(resize_model),
        inputs=(InputSpec.model_validate({"name": name, "value": value}),),
    )
    with pytest.raises(ModelFileError, match=words):
        load_source(given)


def test_sample_inputs_lie_in_the_range_that_the_recipe_gives() -> None:
    source = bound_source(
        {"name": "x", "shape": [400], "values": {"min": 0.5, "max": 3}},
        {"name": "shift", "shape": [400], "dtype": "int64", "values": {"min": 5, "max": 7}},
        {"name": "times", "shape": [400], "dtype": "bool", "values": {"min": 1, "max": 1}},
    )
    values, again = (source.sample_inputs(3) for _ in range(2))
    assert 0.5 <= values["x"].min() < 0.6
    assert 2.9 < values["x"].max() <= 3
    assert set(values["shift"]) == {5, 6, 7}
    assert values["times"].all()
    for name in values:
        np.testing.assert_array_equal(values[name], again[name])
