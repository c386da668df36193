"""`tunekit recipe`, and a model in place of a recipe, as a shell meets them."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tunekit.recipe import load_recipe, recipe_fields


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX file with an open batch and an open sequence, of numbers of 50 words."""
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", "sequence"])
    words = helper.make_tensor("words", TensorProto.FLOAT, [50], [1.0] * 50)
    node = helper.make_node("Gather", ["words", "ids"], ["out"])
    graph = helper.make_graph([node], "g", [ids], [out], [words])
    file = tmp_path / "models" / "net.onnx"
    file.parent.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(file))
    return file


def test_a_new_recipe_is_explained_and_can_be_used(run_warm, model: Path, tmp_path: Path) -> None:
    dims = ("--dim", "batch=1", "--dim", "sequence=128")
    done = run_warm("recipe", "new", "models/net.onnx", *dims)
    assert (done.returncode, done.stdout, done.stderr) == (0, "net.yaml\n", "")
    text = (tmp_path / "net.yaml").read_text()
    assert "source: models/net.onnx\n" in text
    assert "# target: native\n" in text
    assert "    # values: {min: 0, max: 49}\n" in text
    assert max(map(len, text.splitlines())) <= 100
    recipe = load_recipe(tmp_path / "net.yaml")
    assert recipe.model.source == str(model)
    assert (recipe.model.inputs[0].shape, recipe.model.inputs[0].dtype) == ((1, 128), "int64")
    assert recipe.tuning.budget(10) == 512
    again = run_warm("recipe", "new", "models/net.onnx", *dims)
    assert again.returncode == 2
    assert again.stderr == (
        "error: net.yaml is there already\n  hint: another with -o, or --force\n"
    )
    assert run_warm("recipe", "new", "models/net.onnx", *dims, "--force").returncode == 0
    elsewhere = run_warm("recipe", "new", "models/net.onnx", *dims, "-o", "models/r.yaml")
    assert elsewhere.stdout == "models/r.yaml\n"
    other = load_recipe(tmp_path / "models" / "r.yaml")
    assert (other.name, other.model) == ("r", recipe.model)


def test_a_new_recipe_for_a_model_of_code(run_warm, tmp_path: Path) -> None:
    done = run_warm(
        *("recipe", "new", "torchvision:resnet18", "--input", "input=1x3x32x32", "-o", "-")
    )
    assert done.returncode == 0
    (tmp_path / "r.yaml").write_text(done.stdout)
    assert load_recipe(tmp_path / "r.yaml").model.inputs[0].shape == (1, 3, 32, 32)


def test_open_sizes_are_asked_for_before_anything_is_done(
    run_warm, model: Path, tmp_path: Path
) -> None:
    done = run_warm("tune", "models/net.onnx")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: net.onnx leaves sizes open: ids: [batch, sequence] int64\n"
        "  hint: say them, for example --input ids=1x128, or --dim batch=1 --dim sequence=128\n"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["models"]


def test_a_model_where_only_recipes_are_read_is_told_what_to_do(run_warm, model: Path) -> None:
    done = run_warm("recipe", "check", "models/net.onnx")
    assert done.returncode == 2
    assert done.stderr == (
        "error: models/net.onnx: is a model, not a recipe\n"
        "  hint: `tunekit recipe new models/net.onnx` writes a recipe for it\n"
    )


def test_ready_recipes_are_listed_and_copied(run_warm, tmp_path: Path) -> None:
    listed = run_warm("recipe", "list")
    assert listed.returncode == 0
    assert re.search(r"^resnet50_x86 +ResNet-50 for one picture", listed.stdout, re.MULTILINE)
    done = run_warm("recipe", "copy", "resnet50_x86")
    assert (done.returncode, done.stdout) == (0, "resnet50_x86.yaml\n")
    assert load_recipe(tmp_path / "resnet50_x86.yaml").name == "resnet50_x86"
    assert "did you mean 'resnet50_x86'" in run_warm("recipe", "copy", "resnet50_x68").stderr


def test_all_keys_are_listed_with_what_they_mean(run_warm) -> None:
    lines = run_warm("recipe", "keys").stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(recipe_fields())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "tuning.trails=3"], "--set tuning.trails: a recipe has no such key; did you"),
        (
            ["--set", "tuning.trials=many"],
            "--set tuning.trials: must be a whole number, not 'ma",
        ),
        (["--set", "tuning.trials=3", "--trials", "-1"], "--trials: must be at least 0, not -1"),
        (["--input", "image=1x3"], "--input image: the recipe has no such input"),
        (["--dim", "batch=1"], "--dim: small is a recipe, which has no sizes with names"),
        (["--rpc-key", "phone"], "no RPC tracker is named"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_laid_over_a_recipe_is_refused_by_what_was_typed(
    run_warm, recipe_file: Path, arguments: list[str], words: str
) -> None:
    done = run_warm("tune", recipe_file, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
