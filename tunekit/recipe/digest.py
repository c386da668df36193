"""What identifies the work of a recipe, and the session that it belongs to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tunekit.cache import file_digest
from tunekit.recipe.schema import Recipe

_BUDGET = frozenset(
    {
        "trials",
        "trials_per_task",
        "trials_per_task_factor",
        "min_trials_per_task",
        "max_seconds",
        "patience",
    }
)
"""Keys of `tuning` that say how much is searched, and not for what."""


def recipe_digest(recipe: Recipe) -> str:
    """sha256 (hex) of what determines the work: model, targets, layout, algorithms, huge
    pages, tuning.

    Name, catalogue, output and references do not count, nor does where a model, module or weights
    file lies: its content does. Where trials are measured is the host's matter.
    """
    work = recipe.model_dump(mode="json", include=_WORK, exclude=_WHERE)
    if recipe.more_targets:
        # Older than the key are digests without it.
        work |= recipe.model_dump(mode="json", include={"more_targets"})
    return _digest(work, recipe)


def session_digest(recipe: Recipe) -> str:
    """sha256 (hex) of what makes two runs of recipes one session: `recipe_digest` without the
    budget and without the number of builds at a time.

    Values that are the defaults do not count: a key that a later version adds leaves it as it is.
    """
    unsaid: dict[str, Any] = {
        "tuning": {**_WHERE["tuning"], **dict.fromkeys(_BUDGET, True), "measure": {"jobs": True}}
    }
    work = recipe.model_dump(mode="json", include=_WORK, exclude=unsaid, exclude_defaults=True)
    return _digest(work, recipe)


_WORK = {
    *("model", "target", "layout", "algorithms", "winograd_relative_error", "huge_pages"),
    "tuning",
}
_WHERE: dict[str, dict[str, Any]] = {"tuning": {"rpc": True}}


def _digest(work: dict[str, Any], recipe: Recipe) -> str:
    model = work["model"]
    model.pop("folder", None)
    if model.get("precision") == "model":
        del model["precision"]  # Older than the key, where nothing else was.
    if model.get("detector") is None:
        model.pop("detector", None)  # The same.
    elif recipe.model.detector is not None and recipe.model.detector.samples:
        model["detector"]["samples"] = [_content(file) for file in recipe.model.detector.samples]
    for key in ("axes", "size"):
        if not model.get(key):
            model.pop(key, None)  # Older than these keys, too.
    if recipe.model.is_file:
        model["source"] = _content(Path(recipe.model.source))
    if recipe.model.weights is not None:
        model["weights"] = _content(recipe.model.weights)
    if recipe.model.inputs:
        model["inputs"] = [_input(item) for item in model["inputs"]]
    text = json.dumps(work, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _input(said: dict[str, Any]) -> dict[str, Any]:
    """An input with what is said of its values only, and a file by its content."""
    said = {key: value for key, value in said.items() if value is not None}
    if isinstance(said.get("value"), str):
        said["value"] = _content(Path(said["value"]))
    return said


def _content(file: Path) -> str:
    """The file's sha256, or its path while it is not there."""
    return f"sha256:{file_digest(file)}" if file.is_file() else str(file)
