"""A recipe for people to go on with: short, with every line explained."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunekit.recipe.dump import as_yaml
from tunekit.recipe.override import description
from tunekit.recipe.schema import DEFAULT_TRIALS, ModelSpec, Recipe

_WIDTH = 88
_OFFERED = ("target", "layout", "catalogue", "output")
"""Keys that are shown with their defaults, to be changed."""


def commented_recipe(
    recipe: Recipe, folder: Path, model: str, remarks: Mapping[str, str] | None = None
) -> str:
    """A new recipe's text.

    Args:
        recipe: name, model and inputs are taken from it; the rest is offered with its defaults.
        folder: where it will be saved; a model file is named relative to it.
        model: as the person named it.
        remarks: of inputs, by their names: what else could be said of them.
    """
    remarks = remarks or {}
    spec = recipe.model
    source = _relative(Path(spec.source), folder) if spec.is_file else spec.source
    inputs = [
        {key: value for key, value in item.model_dump(mode="json").items() if value is not None}
        for item in spec.inputs
    ]
    parts = [
        _comment(
            f"A recipe for {model}: `tunekit tune` takes it. Keys that are left out have "
            "their defaults; `tunekit recipe keys` lists all there are."
        ),
        as_yaml({"name": recipe.name}),
        "\n",
        as_yaml({"model": {"source": source, **_axes(spec), "inputs": []}}).removesuffix(" []\n")
        + "\n",
        *(_input(item, remarks.get(item["name"])) for item in inputs),
    ]
    if not spec.is_file:
        parts.append(
            textwrap.indent(_comment(description("model.weights")) + "# weights: model.pth\n", "  ")
        )
    for key, value in recipe.model_dump(mode="json", include=set(_OFFERED)).items():
        parts += ["\n", _comment(description(key)), f"# {as_yaml({key: value})}"]
    parts += [
        "\ntuning:\n",
        textwrap.indent(_comment(description("tuning.trials")), "  "),
        f"  trials: {DEFAULT_TRIALS if recipe.tuning.trials is None else recipe.tuning.trials}\n",
    ]
    return "".join(parts)


def _axes(spec: ModelSpec) -> dict[str, Any]:
    axes = {name: list(axis.sizes) for name, axis in spec.axes.items()}
    return {"axes": axes} if axes else {}


def _input(said: dict[str, Any], remark: str | None) -> str:
    text = as_yaml([said]) + (f"  # {remark}\n" if remark else "")
    return textwrap.indent(text, "  ")


def _comment(text: str) -> str:
    return (
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
    )


def _relative(file: Path, folder: Path) -> str:
    """The way from the recipe's folder, also upwards: both are moved together."""
    return os.path.relpath(file, folder.resolve())
