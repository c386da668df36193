"""The recipes that come with the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekit.recipe import json_schema, load_recipe

FOLDER = Path(__file__).parents[2] / "recipes"
FILES = sorted(FOLDER.glob("*.yaml"))

PROMISED = {
    "quickstart",
    "resnet18_x86",
    "resnet50_x86",
    "resnet101_x86",
    "mobilenet_v2_x86",
    "efficientnet_b4_x86",
    "efficientnet_b5_x86",
    "efficientnet_b6_x86",
    "efficientnet_b7_x86",
    "maskrcnn_backbone_x86",
    "vit_b_16_x86",
    "vanilla_cnn_onnx",
}


def test_every_promised_recipe_is_there() -> None:
    assert {file.stem for file in FILES} >= PROMISED


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_recipe_is_right_and_named_as_its_file(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe.name == file.stem
    assert recipe.target == "native"


def test_the_shipped_schema_is_the_one_that_the_code_has() -> None:
    shipped = json.loads((FOLDER / "recipe.schema.json").read_text())
    assert shipped == json_schema(), "write it anew: make schema"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_recipe_points_editors_to_the_schema(file: Path) -> None:
    first = file.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=recipe.schema.json"
