"""Modules of `python:` sources are found beside the recipe, wherever the work is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tunekit.cache import ContentCache
from tunekit.errors import ModelFileError
from tunekit.models import import_model, is_digest_of, load_source, source_digest
from tunekit.recipe import Recipe, dump_recipe, load_recipe, recipe_digest


def write_recipe(folder: Path, factor: int) -> Path:
    """A module of two files and a recipe that names it."""
    folder.mkdir()
    (folder / "beside_factor.py").write_text(f"FACTOR = {factor}\n")
    (folder / "beside_net.py").write_text(
        "import torch\n"
        "from beside_factor import FACTOR\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * FACTOR\n"
    )
    recipe = folder / "net.yaml"
    recipe.write_text(
        "name: net\nmodel:\n  source: python:beside_net:Net\n"
        "  inputs:\n    - {name: x, shape: [1]}\n"
    )
    return recipe


def factor_of(recipe: Recipe) -> float:
    return float(load_source(recipe.model).reference({"x": np.ones(1, np.float32)})[0][0])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which nothing is."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_modules_are_found_beside_the_recipe(tmp_path: Path, elsewhere: Path) -> None:
    recipes = [load_recipe(write_recipe(tmp_path / f"of_{factor}", factor)) for factor in (2, 3)]
    # Two folders with modules of the same names, in one process, in turns.
    assert [factor_of(recipe) for recipe in (*recipes, *recipes)] == [2, 3, 2, 3]
    assert len({source_digest(recipe.model) for recipe in recipes}) == 2


def test_what_is_written_beside_a_library_gives_the_same_work_again(
    tmp_path: Path, elsewhere: Path
) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "mine", 5))
    (elsewhere / "recipe.yaml").write_text(dump_recipe(recipe))
    again = load_recipe(elsewhere / "recipe.yaml")
    assert again == recipe
    assert factor_of(again) == 5
    # Where a module lies is no part of what the work is.
    moved = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"folder": tmp_path / "other"})}
    )
    assert recipe_digest(moved) == recipe_digest(recipe)


def _recipe_of(folder: Path, code: str, arguments: str = "{}") -> Recipe:
    """A recipe that calls `build` of a module with this code beside it."""
    # Modules stay loaded, so that each has a name of its own.
    module = f"made_in_{abs(hash(folder))}"
    (folder / f"{module}.py").write_text(code)
    recipe = folder / "net.yaml"
    recipe.write_text(
        f"name: net\nmodel:\n  source: python:{module}:build\n  arguments: {arguments}\n"
        "  inputs:\n    - {name: x, shape: [2, 4]}\n"
    )
    return load_recipe(recipe)


_READS_ITS_WEIGHTS = """
import torch
def build():
    model = torch.nn.Linear(4, 3)
    model.load_state_dict(torch.load({file!r}))
    return model
"""


def test_weights_that_a_callable_reads_itself_are_a_part_of_the_model(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    recipe = _recipe_of(tmp_path, _READS_ITS_WEIGHTS.format(file=str(file)))
    cache = ContentCache(tmp_path / "cache")
    torch.save(torch.nn.Linear(4, 3).state_dict(), file)
    first = load_source(recipe.model)
    assert not import_model(first, max_relative_error=1e-5, cache=cache).was_cached
    again = load_source(recipe.model)
    assert again.digest == first.digest
    assert import_model(again, max_relative_error=1e-5, cache=cache).was_cached
    torch.save(torch.nn.Linear(4, 3).state_dict(), file)
    trained = load_source(recipe.model)
    assert not is_digest_of(first.digest, recipe.model)
    assert is_digest_of(trained.digest, recipe.model)
    assert not import_model(trained, max_relative_error=1e-5, cache=cache).was_cached


_ONNX = """
import torch
def build():
    import onnx
    from onnx import helper, numpy_helper, TensorProto
    import numpy as np
    value = np.load({file!r})
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(value, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    {ending}
"""
_RETURNS = "return model"
_WRITES = "onnx.save(model, {out!r}); return {out!r}"


@pytest.mark.parametrize("ending", [_RETURNS, _WRITES])
def test_what_an_onnx_model_of_a_callable_holds_is_a_part_of_the_model(
    tmp_path: Path, ending: str
) -> None:
    file = tmp_path / "value.npy"
    ending = ending.format(out=str(tmp_path / "made.onnx"))
    recipe = _recipe_of(tmp_path, _ONNX.format(file=str(file), ending=ending))
    np.save(file, np.float32(2))
    first = load_source(recipe.model).digest
    assert load_source(recipe.model).digest == first
    assert is_digest_of(first, recipe.model)
    np.save(file, np.float32(3))
    assert not is_digest_of(first, recipe.model)


_DRAWS = """
import random
import numpy as np
import torch
def build():
    model = torch.nn.Linear(4, 3)
    with torch.no_grad():
        model.weight[0] = float(np.random.rand())
        model.weight[1] = random.random()
    return model
"""


def test_weights_drawn_by_any_generator_come_from_the_seed(tmp_path: Path) -> None:
    recipe = _recipe_of(tmp_path, _DRAWS)
    before = np.random.get_state()[1].copy()
    first = load_source(recipe.model).digest
    assert load_source(recipe.model).digest == first
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    other = recipe.model.model_copy(update={"seed": 1})
    assert load_source(other).digest != first


_MADE_AT_IMPORT = """
import torch
NET = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
def build():
    return NET
"""


def test_a_model_made_at_import_is_the_same_in_each_process(tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    _recipe_of(tmp_path, _MADE_AT_IMPORT)
    script = (
        "import sys; from pathlib import Path; from tunekit.models import load_source; "
        "from tunekit.recipe import load_recipe; "
        "print(load_source(load_recipe(Path(sys.argv[1])).model).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(recipe)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_an_object_that_is_returned_again_is_the_same_model(tmp_path: Path) -> None:
    recipe = _recipe_of(tmp_path, _MADE_AT_IMPORT)
    first = load_source(recipe.model)
    first.reference(first.sample_inputs(0))  # With its random weights calibrated.
    again = load_source(recipe.model)
    assert again.digest == first.digest
    assert is_digest_of(first.digest, recipe.model)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys\nsys.exit(0)\n", "cannot import"),
        ("def build():\n    raise SystemExit('no data')\n", "raised SystemExit: no data"),
    ],
)
def test_a_module_that_ends_the_process_is_told(tmp_path: Path, code: str, told: str) -> None:
    with pytest.raises(ModelFileError, match=told):
        load_source(_recipe_of(tmp_path, code).model)


@pytest.mark.parametrize("outer", ["raise RuntimeError('no GPU')", "import sys; sys.exit(3)"])
def test_an_outer_package_that_fails_is_told(tmp_path: Path, outer: str) -> None:
    package = tmp_path / f"outer_{abs(hash(tmp_path))}"
    package.mkdir()
    (package / "__init__.py").write_text(f"print('loading')\n{outer}\n")
    (package / "net.py").write_text("def build():\n    pass\n")
    recipe = tmp_path / "net.yaml"
    recipe.write_text(
        f"name: net\nmodel:\n  source: python:{package.name}.net:build\n"
        "  inputs:\n    - {name: x, shape: [1]}\n"
    )
    with pytest.raises(ModelFileError, match="cannot import"):
        load_source(load_recipe(recipe).model)


def test_what_an_outer_package_prints_is_not_in_the_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / f"loud_{abs(hash(tmp_path))}"
    package.mkdir()
    (package / "__init__.py").write_text("print('loading')\n")
    (package / "net.py").write_text("import torch\ndef build():\n    return torch.nn.ReLU()\n")
    recipe = tmp_path / "net.yaml"
    recipe.write_text(
        f"name: net\nmodel:\n  source: python:{package.name}.net:build\n"
        "  inputs:\n    - {name: x, shape: [1]}\n"
    )
    load_source(load_recipe(recipe).model)
    assert capfd.readouterr().out == ""


def test_an_argument_may_be_longer_than_a_file_name(tmp_path: Path) -> None:
    code = "import torch\ndef build(text):\n    return torch.nn.ReLU()\n"
    source = load_source(_recipe_of(tmp_path, code, f"{{text: {'x' * 5000}}}").model)
    assert source.name == "build"
