"""The recipes that come with tunekit, in a clone and in an installed package alike."""

from __future__ import annotations

from pathlib import Path

from tunekit.errors import UsageError
from tunekit.wording import did_you_mean

_FOLDER = Path(__file__).parent.parent / "recipes"


def ready_recipes() -> dict[str, Path]:
    """Their files by their names."""
    return {file.stem: file for file in sorted(_FOLDER.glob("*.yaml"))}


def ready_text(name: str) -> str:
    """The text of a ready recipe, for a file anywhere.

    Raises:
        UsageError: there is none of that name.
    """
    ready = ready_recipes()
    if name not in ready:
        raise UsageError(
            f"no ready recipe is called {name!r}{did_you_mean(name, ready)}",
            hint="`tunekit recipe list` shows all there are",
        )
    lines = ready[name].read_text("utf-8").splitlines(keepends=True)
    # The schema that editors are pointed to lies beside the original only.
    return "".join(line for line in lines if not line.startswith("# yaml-language-server:"))


def about(file: Path) -> str:
    """What the comment at the head of a recipe says it is."""
    words = []
    for line in file.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server:"):
            words.append(line.lstrip("# "))
    return " ".join(words)
