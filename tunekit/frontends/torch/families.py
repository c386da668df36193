"""Fills the table of converters."""

from __future__ import annotations

from importlib import import_module

_FAMILIES = (
    "activation",
    "arithmetic",
    "attention",
    "convolution",
    "functions",
    "indexing",
    "linear",
    "logic",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "resize",
    "shape",
    "sorting",
)


def load() -> None:
    """Reads each family's file, which registers its converters."""
    for family in _FAMILIES:
        import_module(f"tunekit.frontends.torch.converters.{family}")
