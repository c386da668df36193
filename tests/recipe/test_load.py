"""Loading a recipe: what is right comes back, what is wrong is named with its line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.errors import RecipeError
from tunekit.recipe import load_recipe
from tunekit.recipe.schema import Rpc

MINIMAL = """\
name: small
model:
  source: torchvision:resnet18
  inputs:
    - name: input
      shape: [1, 3, 32, 32]
"""


@pytest.fixture
def refusal(tmp_path: Path):
    """The RecipeError that a text gets, as a file of its own."""

    def load(text: str | bytes) -> RecipeError:
        file = tmp_path / "bad.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(RecipeError) as caught:
            load_recipe(file)
        assert caught.value.exit_code == 2
        assert str(file) in caught.value.message
        return caught.value

    return load


def test_what_a_recipe_leaves_out_has_its_documented_value(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert (recipe.target, recipe.layout) == ("native", "auto")
    assert recipe.model.inputs[0].dtype == "float32"
    assert recipe.reference.runtimes == ("pytorch", "torchscript", "onnxruntime", "openvino")
    assert recipe.catalogue == "tuning_logs/catalogue.db"
    assert recipe.output == Path("artifacts")


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("tuning:", "tunning:", 7, "tunning", "unknown key; did you mean 'tuning'?"),
        ("trials: 8", "trails: 8", 8, "tuning.trails", "unknown key; did you mean 'trials'?"),
        ("trials: 8", "zebra: 8", 8, "tuning.zebra", "the keys here are trials, trials_per_task,"),
        ("trials: 8", 'trials: "8"', 8, "tuning.trials", "whole number, not '8'; remove the quo"),
        ("trials: 8", "trials: 8.5", 8, "tuning.trials", "must be a whole number, not 8.5"),
        ("trials: 8", "trials: true", 8, "tuning.trials", "must be a whole number, not true"),
        ("trials: 8", "trials: -1", 8, "tuning.trials", "must be at least 0, not -1"),
        ("trials: 8", "trials: .nan", 8, "tuning.trials", "must be a whole number, not nan"),
        ("trials: 8", "trials_per_task: 0", 8, "tuning.trials_per_task", "at least 1, not 0"),
        ("trials: 8", "seed: -1", 8, "tuning.seed", "must be at least 0, not -1"),
        ("trials: 8", "measure: 8", 8, "tuning.measure", "must be a mapping of keys to values"),
        ("trials: 8", "measure:", 8, "tuning.measure", "must be a mapping"),
        ("trials: 8", "measure: {repeat: 0}", 8, "tuning.measure.repeat", "at least 1, not 0"),
        (
            "trials: 8",
            "measure: {timeout_s: .inf}",
            8,
            "tuning.measure.timeout_s",
            "must be a finite number, not inf",
        ),
        (
            "trials: 8",
            "measure: {overlap: yes}",
            8,
            "tuning.measure.overlap",
            "must be true or false, not 'yes'",
        ),
        (
            "trials: 8",
            "measure: {cache: weights}\n  rpc: {tracker: host, key: phone}",
            7,
            "tuning",
            "measure.cache cannot be weights where candidates are measured on other machines",
        ),
        (
            "trials: 8",
            "measure: {cache: cold}",
            8,
            "tuning.measure.cache",
            "must be one of auto, warm, weights, flush, not 'cold'",
        ),
        (
            "trials: 8",
            "trials: 8\n  trials_per_task_factor: 2",
            7,
            "tuning",
            "trials and trials_per_task_factor are both given; keep one",
        ),
        ("[1, 3, 32, 32]", "[1, -3]", 6, "model.inputs[0].shape[1]", "at least 0, not -3"),
        ("[1, 3, 32, 32]", "[1, x]", 6, "model.inputs[0].shape[1]", "whole number, not 'x'"),
        ("[1, 3, 32, 32]", "[1, 3.0]", 6, "model.inputs[0].shape[1]", "whole number, not 3.0"),
        ("[1, 3, 32, 32]", "1x3", 6, "model.inputs[0].shape", "must be a list, not '1x3'"),
        ("- name: input\n      shape", "- shape", 5, "model.inputs[0].name", "is missing"),
        (
            "[1, 3, 32, 32]",
            "[1]\n      dtype: float23",
            7,
            "model.inputs[0].dtype",
            "did you mean 'float32'?",
        ),
        (
            "[1, 3, 32, 32]",
            "[1]\n    - {name: input, shape: [2]}",
            4,
            "model.inputs",
            "two inputs are named 'input'",
        ),
        (
            "torchvision:",
            "torchvison:",
            3,
            "model.source",
            "unknown kind of source 'torchvison'; did you mean 'torchvision'?",
        ),
        ("torchvision:resnet18", "resnet18", 3, "model.source", "must be torchvision:<model>,"),
        ("torchvision:resnet18", "'torchvision:'", 3, "model.source", "is not a Python name"),
        ("torchvision:resnet18", "python:a.b", 3, "model.source", "must be torchvision:<model>,"),
        ("torchvision:resnet18", "python:a-b:c", 3, "model.source", "'a-b' in 'python:a-b:c'"),
        ("torchvision:resnet18", "missing.onnx", 3, "model.source", "missing.onnx does not exist"),
        ("name: small", "name: ../small", 1, "name", "letters, digits, dots, dashes"),
        ("name: small", "name: 3", 1, "name", "must be a text, not 3"),
        ("name: small\n", "", 1, "name", "is missing: Names the folder"),
        ("name: small", "name: small\nlayout: NCHWC", 2, "layout", "did you mean 'NCHWc'?"),
        ("name: small", "name: small\ntarget: 3", 2, "target", "must be a text such as native"),
        ("name: small", "name: small\ntarget: ''", 2, "target", "must not be empty"),
        (
            "name: small",
            "name: small\ntarget: {kind: llvm, size: [1, .nan]}",
            2,
            "target.size[1]",
            "must be a finite number, not nan",
        ),
        (
            "name: small",
            "name: small\nreference: {runtimes: [pytorhc]}",
            2,
            "reference.runtimes[0]",
            "did you mean 'pytorch'?",
        ),
        (
            "[1, 3, 32, 32]",
            "[1]\n      values: {min: 2, max: 1}",
            7,
            "model.inputs[0].values",
            "min (2) is more than max (1)",
        ),
        (
            "[1, 3, 32, 32]",
            "[1]\n      values: {min: 2}",
            7,
            "model.inputs[0].values.max",
            "is missing",
        ),
        (
            "[1, 3, 32, 32]",
            "[1]\n      dtype: uint8\n      values: {min: -1, max: 2}",
            8,
            "model.inputs[0].values",
            "must lie in 0 to 255 for uint8",
        ),
        (
            "[1, 3, 32, 32]",
            "[1]\n      dtype: int64\n      values: {min: 0.5, max: 2}",
            8,
            "model.inputs[0].values",
            "must be whole numbers for int64, not 0.5",
        ),
        (
            "[1, 3, 32, 32]",
            "[1]\n      values: {min: 0, max: 1}\n      value: 3",
            5,
            "model.inputs[0]",
            "values and value are both given",
        ),
        (
            "[1, 3, 32, 32]",
            "[1]\n      value: large",
            7,
            "model.inputs[0].value",
            "a number, a list of numbers or an .npy file, not 'large'",
        ),
        (
            "shape: [1, 3, 32, 32]",
            "value: [[1, 2], [3]]",
            6,
            "model.inputs[0].value",
            "its lists are of different lengths",
        ),
        (
            "shape: [1, 3, 32, 32]",
            "value: gone.npy",
            6,
            "model.inputs[0].value",
            "gone.npy does not exist",
        ),
        ("shape: [1, 3, 32, 32]", "value: 3", 2, "model", "inputs are missing"),
        (
            "name: small",
            "name: small\nreference: {runtimes: [pytorch, pytorch]}",
            2,
            "reference.runtimes",
            "pytorch is listed twice",
        ),
        (
            "  source: torchvision:resnet18",
            "  source: torchvision:resnet18\n  arguments:\n    since: 2020-01-01",
            5,
            "model.arguments.since",
            "(a date); put it in quotes",
        ),
        (
            "  source: torchvision:resnet18",
            "  source: torchvision:resnet18\n  arguments: {a: &a [*a]}",
            4,
            "model.arguments.a",
            "holds itself",
        ),
        (
            "  source: torchvision:resnet18",
            "  source: torchvision:resnet18\n  weights: gone.pth",
            4,
            "model.weights",
            "gone.pth does not exist",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_its_key_and_what_would_be_right(
    refusal, recipe_text: str, old: str, new: str, line: int, key: str, words: str
) -> None:
    assert old in recipe_text
    error = refusal(recipe_text.replace(old, new))
    assert (error.line, error.key) == (line, key)
    assert f":{line}: {key}: " in error.message
    assert words in error.message


def test_a_model_without_inputs_is_told_how_to_write_them(refusal) -> None:
    error = refusal("name: small\nmodel:\n  source: torchvision:resnet18\n")
    assert (error.line, error.key) == (2, "model")
    assert "{name: input, shape: [1, 3, 224, 224]}" in error.message


def test_all_problems_are_told_at_once_in_the_order_of_the_file(refusal) -> None:
    error = refusal(
        MINIMAL.replace("[1, 3, 32, 32]", '[-1, "3"]').replace("name: small", "nam: small")
        + "output: 3\n"
    )
    lines = error.message.splitlines()
    assert lines[0].endswith("bad.yaml: 5 problems")
    assert [line.split("bad.yaml:")[1].split(": ")[:2] for line in lines[1:]] == [
        ["1", "name"],
        ["1", "nam"],
        ["6", "model.inputs[0].shape[0]"],
        ["6", "model.inputs[0].shape[1]"],
        ["7", "output"],
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: a\nname: b\n", 2, 'duplicate key "name"'),
        ("name: [a\n", 2, "is not valid YAML"),
        ("name: a\n\tmodel: b\n", 2, "is not valid YAML"),
        ("name: *nowhere\n", 1, "undefined alias"),
        ("name: a\n---\nname: b\n", 2, "single document"),
        ("name: !!python/object:os.system x\n", 1, "is not valid YAML"),
        ("name: 2020-99-99\n", None, "is not valid YAML"),
        ("[" * 5000, None, "is not valid YAML"),
        ("", None, "is empty"),
        ("# only a comment\n", None, "is empty"),
        ("- name: a\n", 1, "must be a mapping of keys to values, not a list"),
        ("just a text\n", 1, "must be a mapping of keys to values, not 'just a text'"),
        (b"\x7fELF\x02\x01\x01\x00\x00\x00\xff\xfe", None, "is not a text file"),
        (b"name: \x00\x01\n", None, "is not valid YAML"),
        (b"\xff\xfe\x00name", None, "is not a text file"),
        (b"# " + b"x" * (1 << 21), None, "too many"),
    ],
)
def test_what_is_no_recipe_at_all_is_refused(refusal, text, line, words) -> None:
    error = refusal(text)
    assert error.line == line
    assert words in error.message


def test_a_misspelt_file_name_is_answered_with_the_near_one(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match=r"smal\.yaml: no such file; did you mean 'small\.yaml'"):
        load_recipe(recipe_file.with_name("smal.yaml"))


@pytest.mark.parametrize("name", ["resnet50", "torchvison:resnet50"])
def test_what_is_neither_a_file_nor_a_model_is_answered_with_what_would_be(name: str) -> None:
    with pytest.raises(RecipeError, match="no such file") as caught:
        load_recipe(name)
    assert caught.value.hint is not None
    assert "a model is torchvision:<model>" in caught.value.hint


def test_a_folder_is_answered_with_the_recipes_in_it(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="is a directory") as caught:
        load_recipe(recipe_file.parent)
    assert caught.value.hint == "it holds small.yaml"


def test_a_model_file_is_found_from_the_recipe_and_not_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "net.onnx").touch()
    file = tmp_path / "net.yaml"
    file.write_text("name: net\nmodel: {source: net.onnx}\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe("../net.yaml").model.source == str(tmp_path / "net.onnx")


def test_a_model_file_with_a_near_name_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "resnet.onnx").touch()
    file = tmp_path / "net.yaml"
    file.write_text("name: net\nmodel: {source: resnt.onnx}\n")
    with pytest.raises(RecipeError, match=r"does not exist; did you mean 'resnet\.onnx'"):
        load_recipe(file)


def test_weights_beside_a_model_file_are_refused(tmp_path: Path) -> None:
    for name in ("net.pt2", "net.pth"):
        (tmp_path / name).touch()
    file = tmp_path / "net.yaml"
    file.write_text("name: net\nmodel: {source: net.pt2, weights: net.pth}\n")
    with pytest.raises(RecipeError, match="weights cannot be given"):
        load_recipe(file)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.onnx", "`tunekit recipe new {file}` writes a recipe for it"),
        ("net.pt2", "`tunekit recipe new {file}` writes a recipe for it"),
        ("net.pth", "torch.export.save writes .pt2 files"),
        ("net.h5", "convert it to ONNX"),
    ],
)
def test_a_model_in_place_of_a_recipe_is_answered_with_what_to_do(
    tmp_path: Path, name: str, words: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b"\x08\x0a\xff")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert "text file" not in caught.value.message
    assert caught.value.hint is not None
    assert words.format(file=file) in caught.value.hint


def test_the_name_of_a_ready_recipe_is_answered_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file") as caught:
        load_recipe(tmp_path / "resnet50_x86.yaml")
    assert caught.value.hint == "`tunekit recipe copy resnet50_x86` writes the ready one here"


def test_the_compiler_of_an_older_recipe_is_found_where_it_was(tmp_path: Path) -> None:
    rpc = "tuning:\n  rpc: {tracker: host, key: phone, cc: aarch64-linux-gnu-g++}\n"
    (tmp_path / "older.yaml").write_text(MINIMAL + rpc)
    recipe = load_recipe(tmp_path / "older.yaml")
    assert recipe.cc == "aarch64-linux-gnu-g++"
    assert recipe.tuning.rpc == Rpc(tracker="host", key="phone")
