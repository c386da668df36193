"""A small model that was really tuned, and children that replay; made once for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tvm

from tunekit.cache import ContentCache
from tunekit.catalogue import Catalogue
from tunekit.graph.pipeline import PreparedModel, prepare_model
from tunekit.interchange.replay import Replayer
from tunekit.recipe import load_recipe, override
from tunekit.search.progress import SilentReporter
from tunekit.sessions.run import tune_recipe

_MODEL = """\
import torch


def exchanged():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 8 * 8, 10),
    )
"""
_RECIPE = """\
name: exchanged
model:
  source: python:exchanged_model:exchanged
  inputs:
    - name: image
      shape: [1, 3, 8, 8]
layout: NCHWc
tuning:
  trials: 9
  measure: {repeat: 2, min_repeat_ms: 1}
"""


@dataclass(frozen=True)
class Tuned:
    """A tuned model: its recipe's file, its catalogue, its only session, its kernels."""

    recipe: Path
    catalogue: Path
    session: str
    prepared: PreparedModel

    @property
    def graph(self) -> str:
        """The model as kernels without schedules, saved."""
        return str(tvm.ir.save_json(self.prepared.graph.module))


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    folder = tmp_path_factory.mktemp("exchanged")
    (folder / "exchanged_model.py").write_text(_MODEL)
    (folder / "exchanged.yaml").write_text(_RECIPE)
    recipe = override(
        load_recipe(folder / "exchanged.yaml"),
        {"output": folder / "artifacts", "catalogue": str(folder / "catalogue.db")},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        # Which library ships is not what is exchanged.
        tune_recipe(recipe, SilentReporter(), selection=False)
        prepared = prepare_model(recipe, ContentCache(), lambda _: None)
        with Catalogue.open(folder / "catalogue.db") as catalogue:
            (session,) = catalogue.sessions.list()
        yield Tuned(folder / "exchanged.yaml", folder / "catalogue.db", session.id, prepared)


@pytest.fixture(scope="session")
def replayer() -> Iterator[Replayer]:
    with Replayer(jobs=2) as opened:
        yield opened
