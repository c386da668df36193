"""What a shell offers when Tab is pressed: recipes, sessions, runtimes; without TVM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SUFFIXES = (".yaml", ".yml", ".onnx", ".pt2")


def complete_recipes(incomplete: str) -> list[str]:
    """Recipes and model files that begin so, and the folders to look into."""
    folder, _, start = incomplete.rpartition("/")
    place = Path(f"{folder}/" if folder or incomplete.startswith("/") else ".").expanduser()
    try:
        inside = sorted(place.iterdir())
    except OSError:
        return []
    before = incomplete[: len(incomplete) - len(start)]
    hidden = start.startswith(".")
    return [
        f"{before}{item.name}{'/' if item.is_dir() else ''}"
        for item in inside
        if item.name.startswith(start)
        and (hidden or not item.name.startswith("."))
        and (item.is_dir() or item.suffix.lower() in _SUFFIXES)
    ]


def complete_ready(incomplete: str) -> list[str]:
    """The names of the recipes that come with tunekit."""
    from tunekit.recipe.ready import ready_recipes

    return [name for name in ready_recipes() if name.startswith(incomplete)]


def complete_runtimes(incomplete: str) -> list[str]:
    """Runtimes for a comma-separated list."""
    from tunekit.recipe.values import (
        GPU_RUNTIMES,
        OWN_RUNTIMES,
        PEER_RUNTIMES,
        REFERENCE_RUNTIMES,
        RUNTIME_GROUPS,
        TUNED_FORMS,
    )

    others = (*REFERENCE_RUNTIMES, *RUNTIME_GROUPS, *PEER_RUNTIMES, *GPU_RUNTIMES)
    return list(_next_in_list(incomplete, (*OWN_RUNTIMES, *TUNED_FORMS, *others)))


def complete_profiled(incomplete: str) -> list[str]:
    """Runtimes that can profile themselves, for a comma-separated list."""
    from tunekit.attribution.profilers import PROFILED

    return list(_next_in_list(incomplete, (*PROFILED, "none")))


def complete_sessions(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
    """Ids of sessions in the catalogue, the newest first, each with its recipe and state."""
    from tunekit.catalogue import Catalogue
    from tunekit.environment import DEFAULT_CATALOGUE
    from tunekit.errors import TunekitError

    location = (
        ctx.params.get("catalogue") or os.environ.get("TUNEKIT_CATALOGUE") or DEFAULT_CATALOGUE
    )
    try:
        with Catalogue.open(location, create=False) as catalogue:
            sessions = catalogue.sessions.list(limit=None)
    except TunekitError:
        return []  # no catalogue yet, or none that this version reads: nothing to offer
    return [
        (session.id, f"{session.name}, {session.state}")
        for session in sessions
        if session.id.startswith(incomplete)
    ]


def _next_in_list(incomplete: str, known: tuple[str, ...]) -> Iterator[str]:
    before, comma, start = incomplete.rpartition(",")
    said = before.split(",")
    for name in known:
        if name.startswith(start) and name not in said:
            yield f"{before}{comma}{name}"
