"""A tiny detector with the library that was compiled of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets import unoptimized

from tunekit.library import Library
from tunekit.models.sources.detector_model import DetectorModel
from tunekit.recipe import Recipe


@dataclass
class Compiled:
    """A library, what was said of it, and the model that it was made from."""

    library: Library
    said: list[str]
    source: DetectorModel
    recipe: Recipe


def recipe_of(folder: Path, model: Any, **more: Any) -> Recipe:
    """A recipe of one, whose files are in a folder."""
    places = {"catalogue": str(folder / "catalogue.db"), "output": folder / "artifacts"}
    return Recipe(name="tiny_mask", model=model, **{"target": unoptimized().spec, **places, **more})
