"""What the tests of attribution share: a small network's own library, profiled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.attribution.explain import ExplainSettings, explain_recipe
from tunekit.attribution.results import Explanation
from tunekit.recipe import Recipe, load_recipe

# So many classes: OpenVINO's counters are whole microseconds, and a layer that takes less than one
# counts as not executed.
RECIPE = """
name: small
model:
  source: python:tunekit.models.vanilla_cnn:onnx_model
  arguments: {channels: 16, classes: 1000}
  inputs:
    - {name: input, shape: [1, 3, 64, 64]}
target: native
layout: NCHWc
"""


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    file = folder / "small.yaml"
    file.write_text(f"{RECIPE}catalogue: {folder}/catalogue.db\noutput: {folder}/artifacts\n")
    return file


@pytest.fixture(scope="session")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


@pytest.fixture(scope="session")
def explanation(recipe: Recipe) -> Explanation:
    """Of the small network with default schedules, beside both runtimes."""
    settings = ExplainSettings(threads=2, rounds=2, turn_s=0.05)
    return explain_recipe(recipe, runtimes=("onnxruntime", "openvino"), settings=settings)
