"""A small model tuned once, for all tests of the library."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tunekit.library import Library
from tunekit.recipe import Recipe, load_recipe, override
from tunekit.search.progress import SilentReporter
from tunekit.sessions.run import tune_recipe

_MODEL = """\
import torch


def small():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 16), torch.nn.Sigmoid())
"""
_RECIPE = """\
name: small
model:
  source: python:small_library_model:small
  inputs:
    - name: image
      shape: [1, 3, 4, 4]
layout: NCHW
tuning:
  trials: 4
  measure: {repeat: 1, min_repeat_ms: 1}
"""


@dataclass(frozen=True)
class Tuned:
    """The recipe, and the library as tuning wrote it."""

    recipe: Recipe
    library: Library


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "small_library_model.py").write_text(_MODEL)
    (folder / "small.yaml").write_text(_RECIPE)
    recipe = override(
        load_recipe(folder / "small.yaml"),
        {"output": folder / "artifacts", "catalogue": str(folder / "catalogue.db")},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        # The library with the records, whether or not it is the fastest.
        library = tune_recipe(recipe, SilentReporter(), selection=False)
        yield Tuned(recipe, library)


@pytest.fixture
def compiled(tuned: Tuned, tmp_path: Path) -> tuple[Recipe, Library]:
    """The library in a place of the test's own, which may damage it."""
    folder = tmp_path / "artifacts" / "small"
    shutil.copytree(tuned.library.path.parent, folder)
    recipe = override(tuned.recipe, {"output": tmp_path / "artifacts"})
    return recipe, Library(folder / tuned.library.path.name, tuned.library.manifest)
