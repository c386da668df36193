"""Modules of `python:` sources are found beside the recipe, wherever the work is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunekit.models import load_source, source_digest
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
