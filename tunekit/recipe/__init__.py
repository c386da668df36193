"""Recipes: a YAML file plus flags becomes one frozen, validated, fully resolved object."""

from __future__ import annotations

from tunekit.recipe.axes import AxisSpec, Size
from tunekit.recipe.digest import recipe_digest, session_digest
from tunekit.recipe.dump import dump_recipe
from tunekit.recipe.inputs import InputSpec, Normalize
from tunekit.recipe.load import load_recipe, parse_recipe
from tunekit.recipe.override import description, override, parse_settings, recipe_fields
from tunekit.recipe.schema import (
    Layout,
    Measure,
    ModelSpec,
    Recipe,
    Reference,
    Tuning,
    json_schema,
)
from tunekit.recipe.values import (
    GPU_RUNTIMES,
    OWN_RUNTIMES,
    PEER_RUNTIMES,
    REFERENCE_RUNTIMES,
    TUNED_FORMS,
    parse_runtimes,
)

__all__ = [
    "GPU_RUNTIMES",
    "OWN_RUNTIMES",
    "PEER_RUNTIMES",
    "REFERENCE_RUNTIMES",
    "TUNED_FORMS",
    "AxisSpec",
    "InputSpec",
    "Layout",
    "Measure",
    "ModelSpec",
    "Normalize",
    "Recipe",
    "Reference",
    "Size",
    "Tuning",
    "description",
    "dump_recipe",
    "json_schema",
    "load_recipe",
    "override",
    "parse_recipe",
    "parse_runtimes",
    "parse_settings",
    "recipe_digest",
    "recipe_fields",
    "session_digest",
]
