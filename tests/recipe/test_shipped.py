"""The recipes that come with the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekit.recipe import json_schema, load_recipe, recipe_digest, session_digest
from tunekit.recipe.ready import about, ready_recipes, ready_text

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
    "maskrcnn_resnet50_x86",
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


@pytest.mark.parametrize(
    ("name", "recipe", "session"),
    [
        ("maskrcnn_backbone_x86", "d944a39c15608751", "3f471225f329119b"),
        ("quickstart", "aa51430af9504119", "c51626e726c13b3d"),
        ("resnet50_x86", "3622ff08fc7328c6", "b30f722e0a0a8f4f"),
        ("vanilla_cnn_onnx", "8a2bfc2834475139", "a4c714e9eab6e86c"),
    ],
)
def test_a_recipe_keeps_its_digests_so_that_its_sessions_and_libraries_are_found(
    name: str, recipe: str, session: str
) -> None:
    loaded = load_recipe(FOLDER / f"{name}.yaml")
    assert recipe_digest(loaded).startswith(recipe)
    assert session_digest(loaded).startswith(session)


def test_ready_recipes_are_found_wherever_the_package_is() -> None:
    assert {name: file.read_text() for name, file in ready_recipes().items()} == {
        file.stem: file.read_text() for file in FILES
    }


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_ready_recipe_says_what_it_is_and_can_be_copied(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(ready_text(name))
    recipes = [load_recipe(file) for file in (copy, FOLDER / f"{name}.yaml")]
    # All but where modules are looked for first: beside each.
    first, second = (recipe.model_dump(exclude={"model": {"folder"}}) for recipe in recipes)
    assert first == second
    assert "yaml-language-server" not in copy.read_text()
    assert about(ready_recipes()[name])
