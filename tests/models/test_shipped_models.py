from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.cache import ContentCache
from tunekit.models import import_model

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SMALL = ("quickstart", "vanilla_cnn_onnx")
PACKAGES = {
    "transformers": "transformers",
    "ultralytics": "ultralytics",
    "segmentation": "segmentation_models_pytorch",
}
"""What the functions of tunekit.models.packages import."""


def check(name: str, cache: Path) -> None:
    from tunekit.recipe import load_recipe

    recipe = load_recipe(RECIPES / f"{name}.yaml")
    if recipe.model.source.startswith("python:tunekit.models.packages:"):
        function = recipe.model.source.rpartition(":")[2]
        pytest.importorskip(recipe.model.arguments.get("package") or PACKAGES[function])
    imported = import_model(
        recipe.model,
        max_relative_error=recipe.reference.import_relative_error,
        cache=ContentCache(cache),
    )
    assert [item.name for item in imported.inputs] == [item.name for item in recipe.model.inputs]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_shipped_recipe_imports_and_agrees_with_its_reference(
    name: str, tmp_path: Path
) -> None:
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name", sorted(path.stem for path in RECIPES.glob("*.yaml") if path.stem not in SMALL)
)
def test_every_shipped_recipe_imports_and_agrees_with_its_reference(
    name: str, tmp_path: Path
) -> None:
    check(name, tmp_path)
