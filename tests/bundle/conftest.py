"""A tiny model compiled, exported and built once, for all tests of bundles."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import shell
from targets import unoptimized

from tunekit.bundle import Bundle, export_library
from tunekit.library import Library, compile_recipe
from tunekit.recipe import load_recipe, override

_MODEL = """\
import torch


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.words = torch.nn.Embedding(10, 8)

    def forward(self, image, ids):
        features = self.convolution(image).relu()
        return features.sum((2, 3)) + self.words(ids).sum(1), ids + 1


class Sorting(torch.nn.Module):
    def forward(self, x):
        return torch.sort(2 * x)
"""
# A name that C cannot have, two inputs and outputs of different types.
_RECIPE = """\
name: tiny-net
model:
  source: python:bundled_model:Tiny
  inputs:
    - {name: image, shape: [1, 3, 4, 6]}
    - {name: ids, shape: [1, 5], dtype: int64}
layout: NCHW
"""
_SORTING = """\
name: sorting
model:
  source: python:bundled_model:Sorting
  inputs:
    - {name: x, shape: [2, 9]}
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the models, found by whoever loads them."""
    folder = tmp_path_factory.mktemp("bundled")
    (folder / "bundled_model.py").write_text(_MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield folder


def _compiled(folder: Path, text: str) -> Library:
    file = folder / "recipe.yaml"
    file.write_text(text)
    places = {"output": folder / "artifacts", "catalogue": str(folder / "catalogue.db")}
    recipe = override(load_recipe(file), {**places, "target": unoptimized().spec})
    return compile_recipe(recipe, selection=False)


@pytest.fixture(scope="session")
def library(models: Path) -> Library:
    """The compiled model."""
    return _compiled(models, _RECIPE)


@pytest.fixture(scope="session")
def sorting(models: Path) -> Library:
    """Another model, which sorts."""
    return _compiled(models, _SORTING)


@pytest.fixture(scope="session")
def exported(library: Library) -> Bundle:
    """Its bundle, with a static library. Nothing may be changed in it."""
    return export_library(library, static=True)


@pytest.fixture(scope="session")
def built(exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle unpacked elsewhere, with its examples built. Nothing may be changed in it."""
    folder = tmp_path_factory.mktemp("elsewhere") / "unpacked"
    shutil.copytree(exported.folder, folder)
    shell("make", "all", "CFLAGS=-O1 -Werror", "CXXFLAGS=-O0 -Werror", cwd=folder)
    return folder


@pytest.fixture
def unpacked(built: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own."""
    return Path(shutil.copytree(built, tmp_path / "a folder" / "of my own"))
