"""Fills the tables of converters and decompositions."""

from __future__ import annotations

from importlib import import_module

_FAMILIES = (
    "converters.activation",
    "converters.arithmetic",
    "converters.attention",
    "converters.convolution",
    "converters.functions",
    "converters.indexing",
    "converters.linear",
    "converters.logic",
    "converters.normalization",
    "converters.pooling",
    "converters.recurrent",
    "converters.reduction",
    "converters.resize",
    "converters.shape",
    "converters.sorting",
    "decompositions.linear_algebra",
    "decompositions.numeric",
    "decompositions.vision",
)


def load() -> None:
    """Reads each family's file, which registers them."""
    for family in _FAMILIES:
        import_module(f"tunekit.torch_frontend.{family}")
