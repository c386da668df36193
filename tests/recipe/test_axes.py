"""What a recipe says of axes with several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.errors import RecipeError
from tunekit.recipe import dump_recipe, load_recipe, override, parse_recipe

_RECIPE = """\
name: small
model:
  source: torchvision:resnet18
  axes:
    batch: [1, 2]
    side: {sizes: [32, 64], padding: zeros}
  inputs:
    - {name: x, shape: [batch, 3, side, side]}
    - {name: y, shape: [batch]}
"""


def _load(folder: Path, text: str):
    file = folder / "small.yaml"
    file.write_text(text)
    return load_recipe(file)


def test_axes_have_every_size_with_every_other(tmp_path: Path) -> None:
    recipe = _load(tmp_path, _RECIPE)
    assert [tuple(size.values()) for size in recipe.model.each_size] == [
        (1, 32),
        (1, 64),
        (2, 32),
        (2, 64),
    ]
    last = recipe.at_each_size[-1]
    assert (last.name, last.output) == ("small-batch2-side64", Path("artifacts/small"))
    assert [last.model.shape_of(item) for item in last.model.inputs] == [(2, 3, 64, 64), (2,)]
    assert last.at_each_size == (last,)


def test_a_dumped_recipe_is_the_same(tmp_path: Path) -> None:
    recipe = _load(tmp_path, _RECIPE)
    for one in (recipe, recipe.at_each_size[1]):
        assert parse_recipe(dump_recipe(one), "dumped") == one
    assert override(recipe, {"model.axes.batch": [8]}).model.axes["batch"].sizes == (8,)


def test_sizes_may_stand_where_they_are_meant(tmp_path: Path) -> None:
    text = "name: small\nmodel:\n  source: torchvision:resnet18\n  inputs:\n"
    recipe = _load(tmp_path, f"{text}    - {{name: x, shape: [[1, 8], 3, 32, 32]}}\n")
    assert [one.name for one in recipe.at_each_size] == ["small-size1", "small-size8"]


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("[batch, 3", "[bach, 3", 8, "model.inputs[0].shape[0]", "did you mean 'batch'?"),
        ("[batch, 3, side, side]", "[batch]", 6, "model.axes.side", "no input has this axis"),
        ("[1, 2]", "[2, 1]", 5, "model.axes.batch", "must go up, each once: [1, 2]"),
        ("[1, 2]", "[0, 1]", 5, "model.axes.batch.sizes[0]", "at least 1, not 0"),
        ("[1, 2]", "[]", 5, "model.axes.batch.sizes", "must not be empty"),
        ("[1, 2]", "3", 5, "model.axes.batch", "a list of sizes such as [1, 2, 4], not 3"),
        ("padding: zeros", "pading: zeros", 6, "model.axes.side.pading", "mean 'padding'?"),
        ("padding: zeros", "shares: [1]", 6, "model.axes.side", "1 shares are given for 2 sizes"),
        ("[32, 64]", str([*range(1, 40)]), 4, "model.axes", "a model may have 64"),
        (
            "  inputs:",
            "  size: {batch: 3, side: 32}\n  inputs:",
            7,
            "model.size.batch",
            "must be one of 1, 2, not 3",
        ),
        ("  inputs:", "  size: {batch: 1}\n  inputs:", 7, "model.size", "'side' is missing"),
        ("[batch]", "[[1, 2]]", 9, "model.inputs[1].shape", "name them, so that it is clear"),
    ],
)
def test_a_mistake_is_told_with_its_line_its_key_and_what_would_be_right(
    tmp_path: Path, old: str, new: str, line: int, key: str, words: str
) -> None:
    assert old in _RECIPE
    with pytest.raises(RecipeError) as caught:
        _load(tmp_path, _RECIPE.replace(old, new))
    assert (caught.value.line, caught.value.key) == (line, key)
    assert words in caught.value.message


def test_a_name_without_axes_is_told_how_to_give_it_sizes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"axes: \{batch: \[1, 2, 4\]\}"):
        _load(
            tmp_path,
            _RECIPE.replace("  axes:\n", "")
            .replace("    batch: [1, 2]\n", "")
            .replace("    side: {sizes: [32, 64], padding: zeros}\n", ""),
        )
