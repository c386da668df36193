"""A model where a recipe could stand: what its file leaves open is asked for, once and by name."""

from __future__ import annotations

import shlex
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tunekit.errors import ModelFileError, RecipeError, UsageError
from tunekit.models import load_source
from tunekit.models.as_recipe import (
    is_model,
    parse_dims,
    parse_inputs,
    recipe_of_model,
    with_inputs,
)
from tunekit.recipe import InputSpec, Recipe, dump_recipe, load_recipe, parse_recipe
from tunekit.recipe.commented import commented_recipe


def _onnx(path: Path, *shapes: list[int | str | None], dtype: int = TensorProto.INT64) -> Path:
    """A file whose inputs `ids`, `mask`, ... have these shapes; it gives the first one back."""
    names = ["ids", "mask", "more"]
    inputs = [
        helper.make_tensor_value_info(name, dtype, shape)
        for name, shape in zip(names, shapes, strict=False)
    ]
    output = helper.make_tensor_value_info("out", dtype, shapes[0])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["ids"], ["out"])], "g", inputs, [output]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("torchvision:resnet18", True),
        ("python:a.b:c", True),
        ("some/net.onnx", True),
        ("NET.PT2", True),
        ("recipes/quickstart.yaml", False),
        ("quickstart", False),
    ],
)
def test_a_model_is_told_from_a_recipe_by_its_name(text: str, model: bool) -> None:
    assert is_model(text) == model


def test_a_file_with_fixed_sizes_needs_nothing_said(tmp_path: Path) -> None:
    recipe = recipe_of_model(str(_onnx(tmp_path / "my net.onnx", [1, 128])))
    assert recipe.name == "my_net"
    assert recipe.model.source == str(tmp_path / "my net.onnx")
    assert recipe.model.inputs == (InputSpec(name="ids", shape=(1, 128), dtype="int64"),)
    assert parse_recipe(dump_recipe(recipe), "dumped") == recipe


def test_open_sizes_are_asked_for_in_one_message_with_flags_to_copy(tmp_path: Path) -> None:
    file = _onnx(tmp_path / "net.onnx", ["batch", "sequence"], ["batch", 4])
    with pytest.raises(UsageError) as caught:
        recipe_of_model(str(file))
    assert caught.value.message == (
        "net.onnx leaves sizes open: ids: [batch, sequence] int64; mask: [batch, 4] int64"
    )
    assert caught.value.hint == (
        "say them, for example --input ids=1x128 --input mask=1x4, "
        "or --dim batch=1 --dim sequence=128"
    )


def test_sizes_without_names_are_asked_for_by_input(tmp_path: Path) -> None:
    file = _onnx(tmp_path / "net.onnx", [None, 4], ["batch", 4])
    with pytest.raises(UsageError) as caught:
        recipe_of_model(str(file), dims={"batch": 2})
    assert caught.value.message == "net.onnx leaves sizes open: ids: [?, 4] int64"
    assert caught.value.hint == "say them, for example --input ids=128x4"


def test_several_sizes_of_a_name_become_an_axis(tmp_path: Path) -> None:
    file = _onnx(tmp_path / "net.onnx", ["batch", "sequence"], ["batch", 3])
    recipe = recipe_of_model(str(file), dims=parse_dims(["batch=1,4", "sequence=8"]))
    assert recipe.model.axes["batch"].sizes == (1, 4)
    assert [item.shape for item in recipe.model.inputs] == [("batch", 8), ("batch", 3)]
    (tmp_path / "net.yaml").write_text(commented_recipe(recipe, tmp_path, str(file)))
    assert load_recipe(tmp_path / "net.yaml").model == recipe.model


def test_dims_and_inputs_together_fill_in_what_is_open(tmp_path: Path) -> None:
    file = _onnx(tmp_path / "net.onnx", ["batch", "sequence"], ["batch", None], ["batch", 3])
    recipe = recipe_of_model(
        str(file), inputs=parse_inputs(["mask=2x7"]), dims=parse_dims(["batch=2", "sequence=5"])
    )
    assert [(spec.name, spec.shape, spec.dtype) for spec in recipe.model.inputs] == [
        ("ids", (2, 5), "int64"),
        ("mask", (2, 7), "int64"),
        ("more", (2, 3), "int64"),
    ]
    assert load_source(recipe.model).inputs[1].shape == (2, 7)


def test_sizes_of_a_traced_program_are_its_symbols_and_what_follows_from_them(
    tmp_path: Path,
) -> None:
    class Sums(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.sum() + y.sum()

    length = torch.export.Dim("length", min=2, max=64)
    program = torch.export.export(
        Sums(),
        (torch.randn(2, 8), torch.randn(2, 16)),
        dynamic_shapes={"x": {1: length}, "y": {1: 2 * length}},
    )
    file = tmp_path / "sums.pt2"
    torch.export.save(program, str(file))
    with pytest.raises(UsageError) as caught:
        recipe_of_model(str(file))
    assert caught.value.hint is not None
    symbol = caught.value.hint.rpartition("--dim ")[2].partition("=")[0]
    assert f"x: [2, {symbol}] float32; y: [2, 2*{symbol}] float32" in caught.value.message
    recipe = recipe_of_model(str(file), dims={symbol: 6})
    assert [spec.shape for spec in recipe.model.inputs] == [(2, 6), (2, 12)]


def test_a_model_of_code_takes_the_inputs_that_are_said() -> None:
    recipe = recipe_of_model("torchvision:resnet18", inputs={"input": (1, 3, 32, 32)})
    assert (recipe.name, recipe.model.source) == ("resnet18", "torchvision:resnet18")
    assert recipe.model.inputs == (InputSpec(name="input", shape=(1, 3, 32, 32)),)
    with_dtype = recipe_of_model("python:a.b:c", inputs=parse_inputs(["ids=1x8:int32"]))
    assert (with_dtype.name, with_dtype.model.inputs[0].dtype) == ("c", "int32")
    with pytest.raises(UsageError, match="does not say what goes into it") as caught:
        recipe_of_model("torchvision:resnet18")
    assert caught.value.hint is not None
    assert "--input input=1x3x224x224" in caught.value.hint


@pytest.mark.parametrize(
    ("inputs", "dims", "words"),
    [
        (["idss=1x2"], [], "--input idss: net.onnx has no such input; did you mean 'ids'?"),
        ([], ["bach=2"], "--dim bach: net.onnx has no size of that name; did you mean 'batch'?"),
        (["ids=1x2:int63"], [], "--input ids: dtype: must be one of"),
        (["ids"], [], "--input ids: must be name=shape"),
        ([], ["batch=0"], "--dim batch=0: must be name=size"),
    ],
)
def test_what_cannot_be_is_told_by_its_flag(
    tmp_path: Path, inputs: list[str], dims: list[str], words: str
) -> None:
    file = _onnx(tmp_path / "net.onnx", ["batch", 2])
    with pytest.raises(UsageError) as caught:
        recipe_of_model(str(file), inputs=parse_inputs(inputs), dims=parse_dims(dims))
    assert words in caught.value.message


def test_a_file_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    _onnx(tmp_path / "net.onnx", [1])
    with pytest.raises(RecipeError, match=r"no such file; did you mean 'net\.onnx'"):
        recipe_of_model(str(tmp_path / "ned.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ModelFileError, match="cannot be read"):
        recipe_of_model(str(tmp_path / "bad.onnx"))


def test_a_source_that_cannot_be_is_told_with_what_can() -> None:
    with pytest.raises(RecipeError, match="is not a Python name") as caught:
        recipe_of_model("python:a-b:c", inputs={"x": (1,)})
    assert caught.value.hint is not None
    assert "torchvision:<model>" in caught.value.hint


def test_an_input_of_a_recipe_gets_another_shape_and_keeps_its_type(recipe_file: Path) -> None:
    recipe: Recipe = load_recipe(recipe_file)
    changed = with_inputs(recipe, {"input": (4, 3, 32, 32)})
    assert changed.model.inputs == (InputSpec(name="input", shape=(4, 3, 32, 32)),)
    with pytest.raises(UsageError, match="--input image: the recipe has no such input"):
        with_inputs(recipe, {"image": (1,)})


def test_an_input_with_another_shape_keeps_what_else_the_recipe_says_of_it(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(
        "name: net\nmodel:\n  source: torchvision:resnet18\n  inputs:\n"
        "    - {name: image, shape: [1, 224, 224, 3], dtype: uint8, layout: NHWC,\n"
        "       normalize: {mean: [0.1, 0.2, 0.3]}}\n"
        "    - {name: mask, shape: [4], dtype: int64, values: {min: 0, max: 1}}\n"
        "    - {name: size, value: [8, 8]}\n"
    )
    recipe = load_recipe(file)
    changed = with_inputs(recipe, {"image": (2, 64, 64, 3), "mask": ((8,), "int32")})
    image, mask, size = recipe.model.inputs
    assert changed.model.inputs == (
        image.model_copy(update={"shape": (2, 64, 64, 3)}),
        mask.model_copy(update={"shape": (8,), "dtype": "int32"}),
        size,
    )
    with pytest.raises(UsageError, match="--input size: the recipe gives it a value"):
        with_inputs(recipe, {"size": (2,)})


@pytest.mark.parametrize(
    "name",
    [
        "p2o.DynamicDimension.0",
        "batch size",
        "batch-size",
        "__import__('os').abort()",
        "a[0]",
        "(",
        "None",
        "s0**2",
    ],
)
def test_a_file_may_call_an_open_size_anything(tmp_path: Path, name: str) -> None:
    file = _onnx(tmp_path / "net.onnx", [name, 128])
    given = recipe_of_model(str(file), inputs={"ids": (2, 128)})
    assert given.model.inputs[0].shape == (2, 128)
    chosen = recipe_of_model(str(file), dims=parse_dims([f"{name}=3"]))
    assert chosen.model.inputs[0].shape == (3, 128)
    with pytest.raises(UsageError, match="leaves sizes open") as caught:
        recipe_of_model(str(file))
    assert f"--dim {shlex.quote(name)}=" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("formula", "size"),
    [("2*s0", 8), ("s0 + 1", 5), ("s0 - 1", 3), ("(s0 + s1)//2", 7), ("-s0 + 2*s1", 16)],
)
def test_sizes_that_are_computed_follow_from_the_others(
    tmp_path: Path, formula: str, size: int
) -> None:
    file = _onnx(tmp_path / "net.onnx", [formula, 128])
    sizes = {"s0": 4, "s1": 10}
    dims = {name: number for name, number in sizes.items() if name in formula}
    assert recipe_of_model(str(file), dims=dims).model.inputs[0].shape == (size, 128)


@pytest.mark.parametrize("formula", ["s0//0", "s0**99", "s0 @ 2", "s0 * 0.5", "'a' * s0"])
def test_what_cannot_be_computed_is_asked_for(tmp_path: Path, formula: str) -> None:
    file = _onnx(tmp_path / "net.onnx", [formula, 128])
    with pytest.raises(UsageError, match=r"leaves sizes open|has no size of that name"):
        recipe_of_model(str(file), dims={"s0": 4})
    assert recipe_of_model(str(file), inputs={"ids": (2, 128)}).model.inputs[0].shape == (2, 128)


def test_question_marks_are_sizes_each_for_itself(tmp_path: Path) -> None:
    file = _onnx(tmp_path / "net.onnx", ["?", "?"])
    with pytest.raises(UsageError, match=r"ids: \[\?, \?\] int64") as caught:
        recipe_of_model(str(file))
    assert "--dim" not in (caught.value.hint or "")
