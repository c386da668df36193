"""The files of a bundle that are the same for all models but for names and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# Of tunekit itself; leads to the one that people look for at the top of a clone. What pip keeps of
# it is found only where nothing built from a clone lies before it on Python's path.
LICENSE = Path(__file__).parent / "LICENSE"
_TEMPLATES = Path(__file__).parent / "templates"
_PLACE = re.compile(r"@([A-Z_]+)@")
_ALL_KINDS = "common"
# In the path of a template.
_NAME = "NAME"
_FILLED = ".in"


def write_templates(kind: str, folder: Path, values: Mapping[str, str]) -> None:
    """Writes the templates of a kind of bundle, and those of all kinds, into its folder.

    What stands between two @ in a file whose name ends in .in, and NAME in any file's path, is
    replaced by the value of that name.
    """
    for root in (_TEMPLATES / _ALL_KINDS, _TEMPLATES / kind):
        for template in root.rglob("*"):
            if template.is_file():
                relative = str(template.relative_to(root)).replace(_NAME, values[_NAME])
                _write(template, folder / relative, values)


def _write(template: Path, path: Path, values: Mapping[str, str]) -> None:
    text = template.read_text("utf-8")
    if path.suffix == _FILLED:
        path = path.with_suffix("")
        text = _PLACE.sub(lambda place: values[place[1]], text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
