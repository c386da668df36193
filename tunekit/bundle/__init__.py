"""Bundles: a library with all that a C engineer builds with, who has neither TVM nor Python."""

from __future__ import annotations

from tunekit.bundle.export import Bundle, export_library
from tunekit.bundle.manifest import BundleManifest

__all__ = ["Bundle", "BundleManifest", "export_library"]
