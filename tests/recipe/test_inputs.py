"""What a recipe says of the values of inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunekit.recipe import (
    InputSpec,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_digest,
    session_digest,
)

_MODEL = (
    "name: small\nmodel:\n  source: torchvision:resnet18\n  inputs:\n    - {name: x, shape: [1]}\n"
)


def recipe_with(folder: Path, inputs: str) -> Any:
    path = folder / "recipe.yaml"
    path.write_text(_MODEL + f"    - {inputs}\n")
    return load_recipe(path)


@pytest.mark.parametrize(
    ("said", "shape", "dtype"),
    [
        ("value: 3", (), "int64"),
        ("value: 0.5", (), "float32"),
        ("value: true", (), "bool"),
        ("value: [2, 3, 5]", (3,), "int64"),
        ("value: [[1, 0.5]]", (1, 2), "float32"),
        ("value: []", (0,), "int64"),
        ("value: [2, 3], dtype: int32", (2,), "int32"),
        ("value: 1, shape: [1, 8]", (1, 8), "int64"),
        ("value: sizes.npy", (2, 2), "int16"),
    ],
)
def test_a_bound_input_has_the_shape_and_dtype_of_its_value(
    tmp_path: Path, said: str, shape: tuple[int, ...], dtype: str
) -> None:
    np.save(tmp_path / "sizes.npy", np.array([[1, 2], [3, 4]], np.int16))
    recipe = recipe_with(tmp_path, f"{{name: size, {said}}}")
    bound = recipe.model.inputs[1]
    assert (bound.is_bound, bound.shape, bound.dtype) == (True, shape, dtype)
    assert parse_recipe(dump_recipe(recipe), "again") == recipe


def test_an_input_may_be_a_single_number_or_empty(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, "{name: scale, shape: []}\n    - {name: none, shape: [0, 4]}")
    assert [item.shape for item in recipe.model.inputs] == [(1,), (), (0, 4)]


def test_the_digest_follows_values_and_the_content_of_their_file(tmp_path: Path) -> None:
    digests = []
    for said in ("shape: [2]", "shape: [2], values: {min: 0, max: 1}", "value: [1.0, 2.0]"):
        recipe = recipe_with(tmp_path, f"{{name: y, {said}}}")
        digests += [recipe_digest(recipe), session_digest(recipe)]
    for numbers in ([1.0, 2.0], [1.0, 3.0]):
        np.save(tmp_path / "y.npy", np.array(numbers, np.float32))
        digests.append(recipe_digest(recipe_with(tmp_path, "{name: y, value: y.npy}")))
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "elsewhere" / "y.npy", np.array([1.0, 3.0], np.float32))
    moved = recipe_with(tmp_path / "elsewhere", "{name: y, value: y.npy}")
    assert recipe_digest(moved) == digests[-1]
    assert len(set(digests)) == len(digests)


def test_a_recipe_that_says_nothing_of_values_keeps_the_digest_it_had() -> None:
    from tunekit.recipe import ModelSpec, Recipe

    model = ModelSpec(
        source="torchvision:resnet18", inputs=(InputSpec(name="x", shape=(1, 3, 32, 32)),)
    )
    recipe = Recipe(name="small", model=model)
    # Computed by version 0.2.0.
    assert (
        recipe_digest(recipe) == "2facb3c8782e39ac0ff11a064e558a40988ea9a253e250aef674597f1f04965d"
    )
