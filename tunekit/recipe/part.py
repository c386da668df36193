"""What all parts of a recipe have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RecipePart(BaseModel):
    """A part of a recipe: frozen, strict about types, with no unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,  # "64" is not a number of trials, and neither is true
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
