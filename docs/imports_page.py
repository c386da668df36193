"""What docs/results/imports.md says of benchmarks/results/import_seconds.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployment_page import Table

FILE = Path(__file__).resolve().parent.parent / "benchmarks/results/import_seconds.json"
TITLES = ("model", "before s", "after s", "from the cache s")


def page(table: Table) -> str:
    """A row for each model, and the machine; `table` makes lines of titles and rows."""
    models = json.loads(FILE.read_text("utf-8"))
    rows = [
        (
            f"`{name}`",
            _seconds(found.get("before", {}), "import_s"),
            _seconds(found["after"], "import_s"),
            _seconds(found["after"], "cached_s"),
        )
        for name, found in models.items()
    ]
    places = {f"{one['cpu']}, {one['date']}" for found in models.values() for one in found.values()}
    return "\n".join([*table(TITLES, rows), "", "; ".join(sorted(places)) + "."])


def _seconds(measured: Mapping[str, Any], name: str) -> str:
    if "failed" in measured:
        return "refused"
    return f"{measured[name]:.1f}" if name in measured else ""
