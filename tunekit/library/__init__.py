"""The compiled model: records applied, verified, written with its manifest."""

from __future__ import annotations

from tunekit.library.compile import compile_prepared, compile_recipe, tuned_library
from tunekit.library.default_library import build_default, build_unscheduled
from tunekit.library.library import Library
from tunekit.library.manifest import Manifest, load_manifest

__all__ = [
    "Library",
    "Manifest",
    "build_default",
    "build_unscheduled",
    "compile_prepared",
    "compile_recipe",
    "load_manifest",
    "tuned_library",
]
