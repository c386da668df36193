"""What docs/guides/other-runtimes.md shows of benchmarks/results/instances.json."""

from __future__ import annotations

import json
from pathlib import Path

from deployment_page import Table

from tunekit.report.numbers import significant

FILE = Path(__file__).resolve().parent.parent / "benchmarks/results/instances.json"


def page(table: Table) -> str:
    """Runs a second by runtime; how to measure them where they were not."""
    if not FILE.is_file():
        return "`benchmarks/instances.py` measures it."
    known = json.loads(FILE.read_text("utf-8"))
    own, shared = known["own_cores"], known["shared_cores"]
    count = known["instances"]
    titles = (
        "runtime",
        f"1 process, {count} threads",
        f"{count} processes, a core each",
        f"{count} processes, all on all cores",
    )
    rows = [
        (f"`{name}`", *map(_fps, (own[name]["alone"], own[name]["at_once"], row["at_once"])))
        for name, row in shared.items()
    ]
    place = f"{known['date']}, {known['cpu']}, `benchmarks/instances.py`"
    return "\n".join([f"`{known['recipe']}`, runs a second ({place}):", "", *table(titles, rows)])


def _fps(value: float | None) -> str:
    return "-" if value is None else significant(value)
