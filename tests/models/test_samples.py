"""Sample inputs that a model accepts where the recipe says nothing of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tunekit.models import load_source
from tunekit.models.source import SourceModel
from tunekit.recipe import InputSpec, ModelSpec

IDS = {"shape": [2, 40], "dtype": "int64"}


def onnx_source(path: Path, nodes: list[Any], inputs: list[Any], weights: list[Any]) -> SourceModel:
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            inputs,
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, path)
    return load_source(ModelSpec(source=str(path)))


def table(name: str, *shape: int, low: float = -1.0) -> Any:
    values = np.random.default_rng(0).uniform(low, 1, shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


@pytest.fixture(scope="module")
def bert() -> SourceModel:
    """Ids of 50 words, 32 positions behind two that are kept, two types, a mask."""
    names = ("input_ids", "position_ids", "token_type_ids", "attention_mask")
    inputs = tuple(InputSpec.model_validate({"name": name, **IDS}) for name in names)
    return load_source(ModelSpec(source="python:torch_models:SmallBert", inputs=inputs))


def test_integers_that_index_an_embedding_stay_within_it(bert: SourceModel) -> None:
    values = bert.sample_inputs(0)
    assert (values["input_ids"].min(), values["input_ids"].max()) == (0, 49)
    assert (values["position_ids"].min(), values["position_ids"].max()) == (0, 29)
    assert set(np.unique(values["token_type_ids"])) == {0, 1}
    assert np.isfinite(bert.reference(values)[0]).all()


def test_a_mask_is_ones_with_zeros_at_the_end(bert: SourceModel) -> None:
    np.testing.assert_array_equal(
        bert.sample_inputs(0)["attention_mask"], [[1] * 30 + [0] * 10] * 2
    )


def test_the_recipe_is_believed_before_names_and_uses(bert: SourceModel) -> None:
    said = {"name": "attention_mask", **IDS, "values": {"min": 1, "max": 1}}
    inputs = (
        InputSpec.model_validate({"name": "input_ids", **IDS}),
        InputSpec.model_validate(said),
    )
    source = load_source(ModelSpec(source="python:torch_models:SmallBert", inputs=inputs))
    assert source.sample_inputs(0)["attention_mask"].all()


def test_onnx_integers_stay_within_the_tables_that_they_index(tmp_path: Path) -> None:
    node = helper.make_node
    source = onnx_source(
        tmp_path / "gather.onnx",
        [
            node("Cast", ["ids"], ["wide"], to=TensorProto.INT64),
            node("Add", ["wide", "two"], ["shifted"]),
            node("Gather", ["words", "shifted"], ["a"]),
            node("Identity", ["columns"], ["turned"]),
            node("Gather", ["turned", "places"], ["b"], axis=1),
            node("GatherElements", ["columns", "nearest"], ["c"], axis=-1),
            node("Sum", ["a", "b", "c"], ["y"]),
        ],
        [
            helper.make_tensor_value_info("ids", TensorProto.INT32, [60]),
            helper.make_tensor_value_info("places", TensorProto.INT64, [60]),
            helper.make_tensor_value_info("nearest", TensorProto.INT64, [60, 60]),
            helper.make_tensor_value_info("free", TensorProto.INT64, [60]),
        ],
        [
            table("words", 22, 60),
            table("columns", 60, 5),
            numpy_helper.from_array(np.array(2), "two"),
        ],
    )
    values = source.sample_inputs(0)
    largest = {name: int(array.max()) for name, array in values.items()}
    assert largest == {"ids": 19, "places": 4, "nearest": 4, "free": 7}
    source.reference(values)


def test_onnx_integers_that_count_along_an_axis_stay_within_it(tmp_path: Path) -> None:
    node = helper.make_node
    counts = {
        "times": [3],
        "lengths": [3],
        "pixels": [40, 2],
        "rows": [40, 1],
        "pictures": [40],
        "free": [40],
    }
    source = onnx_source(
        tmp_path / "counts.onnx",
        [
            node("GRU", ["states", "w", "r", "", "times"], ["", "a"], hidden_size=2),
            node("ReverseSequence", ["states", "lengths"], ["b"]),
            node("GatherND", ["image", "pixels"], ["c"]),
            node("GatherND", ["image", "rows"], ["d"]),
            node("RoiAlign", ["photos", "boxes", "pictures"], ["e"], sampling_ratio=1),
            *(node("ReduceSum", [name], [f"{name}s"], keepdims=0) for name in "abcde"),
            node("Sum", ["as", "bs", "cs", "ds", "es"], ["y"]),
        ],
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT32 if name == "times" else TensorProto.INT64, shape
            )
            for name, shape in counts.items()
        ],
        [
            *(table("states", 4, 3, 5), table("w", 1, 6, 5), table("r", 1, 6, 2)),
            *(table("image", 6, 4, 5), table("photos", 2, 1, 8, 8), table("boxes", 40, 4)),
        ],
    )
    values = source.sample_inputs(0)
    largest = {name: int(array.max()) for name, array in values.items()}
    assert max(largest.pop("times"), largest.pop("lengths")) <= 4
    assert largest == {"pixels": 3, "rows": 5, "pictures": 1, "free": 7}
    source.reference(values)


def test_integers_at_which_a_torch_model_writes_stay_within_what_it_writes_to() -> None:
    shapes = {"columns": (40,), "rows": (40, 3), "values": (2, 40)}
    inputs = tuple(
        InputSpec(name=name, shape=shape, dtype="float32" if name == "values" else "int64")
        for name, shape in shapes.items()
    )
    source = load_source(ModelSpec(source="python:torch_models:WritesAt", inputs=inputs))
    values = source.sample_inputs(0)
    assert (values["columns"].max(), values["rows"].max()) == (4, 1)
    source.reference(values)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_what_a_logarithm_is_taken_of_is_positive(tmp_path: Path, low: float) -> None:
    source = onnx_source(
        tmp_path / "log.onnx",
        [helper.make_node("MatMul", ["x", "mel"], ["m"]), helper.make_node("Log", ["m"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [40, 9])],
        [table("mel", 9, 6, low=low)],
    )
    values = source.sample_inputs(0)
    # Weights of both signs: no range of the input makes the sums positive.
    assert (values["x"].min() > 0) == (low == 0)
    inputs = (InputSpec(name="power", shape=(4, 9)),)
    torch_source = load_source(ModelSpec(source="python:torch_models:LogOfPowers", inputs=inputs))
    assert np.isfinite(torch_source.reference(torch_source.sample_inputs(0))[0]).all()


def test_other_inputs_are_what_they_always_were() -> None:
    inputs = (
        InputSpec(name="x", shape=(3,)),
        InputSpec(name="times", shape=(5,), dtype="int64"),
        InputSpec(name="shift", shape=(3,), dtype="bool"),
    )
    source = load_source(ModelSpec(source="python:torch_models:ScaledAndShifted", inputs=inputs))
    values = source.sample_inputs(0)
    np.testing.assert_allclose(values["x"], [0.12573022, -0.13210486, 0.64042264], rtol=1e-6)
    np.testing.assert_array_equal(values["times"], [4, 7, 7, 4, 2])
    np.testing.assert_array_equal(values["shift"], [True, False, False])
