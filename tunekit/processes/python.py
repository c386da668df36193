"""Starts Python on a module of this package, whatever files lie in the working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def python_module(module: str, *arguments: str) -> list[str]:
    """The command; the environment has to say where the package is, as `with_this_package` does."""
    # A file of the working directory is no package that a library asks for.
    return [sys.executable, "-P", "-m", module, *arguments]


def with_this_package() -> dict[str, str]:
    """This process's environment, in which Python finds this package, installed or not."""
    home = str(Path(__file__).resolve().parents[2])
    places = (home, os.environ.get("PYTHONPATH"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in places if place)}
