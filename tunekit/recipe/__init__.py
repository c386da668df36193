"""Recipes: a YAML file plus flags becomes one frozen, validated, fully resolved object."""

from __future__ import annotations

from tunekit.recipe.load import load_recipe, parse_recipe
from tunekit.recipe.resolve import (
    dump_recipe,
    json_schema,
    override,
    recipe_digest,
    session_digest,
)
from tunekit.recipe.schema import (
    OWN_RUNTIMES,
    REFERENCE_RUNTIMES,
    InputSpec,
    Layout,
    Measure,
    ModelSpec,
    Recipe,
    Reference,
    Tuning,
    parse_runtimes,
)

__all__ = [
    "OWN_RUNTIMES",
    "REFERENCE_RUNTIMES",
    "InputSpec",
    "Layout",
    "Measure",
    "ModelSpec",
    "Recipe",
    "Reference",
    "Tuning",
    "dump_recipe",
    "json_schema",
    "load_recipe",
    "override",
    "parse_recipe",
    "parse_runtimes",
    "recipe_digest",
    "session_digest",
]
