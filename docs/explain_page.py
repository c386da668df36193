"""What docs/guides/explain.md shows of benchmarks/results/resnet50_x86.explain.json."""

from __future__ import annotations

import json
from pathlib import Path

from tunekit.attribution.results import Explanation
from tunekit.report.explanation import explanation_text

FILE = Path(__file__).resolve().parent.parent / "benchmarks/results/resnet50_x86.explain.json"
RACE = FILE.with_name("resnet50_x86.json")
WIDTH = 132
# Of the operators, which come first.
ROWS = 8
_TITLES = "operator  "


def page() -> str:
    """The explanation as on a terminal, with the first of its operators."""
    if not (FILE.is_file() and RACE.is_file()):
        return "`benchmarks/models.py` makes it."
    explanation = Explanation.from_json(FILE.read_text("utf-8"), file=FILE)
    lines = explanation_text(explanation, WIDTH).plain.rstrip().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(_TITLES)) + 1
    shown = [
        *lines[: first + ROWS],
        "  ...",
        *lines[first + len(explanation.operators) :],
    ]
    environment = json.loads(RACE.read_text("utf-8"))["environment"]
    cpu = explanation.target.get("mcpu", explanation.cpu)
    return "\n".join(
        [
            f"ResNet-50 as in [results](../results/index.md) ({environment['date'][:10]}, {cpu}, "
            f"{explanation.threads} threads, `benchmarks/models.py`):",
            *("", "```console", f"$ tunekit explain {explanation.name}.yaml", *shown, "```"),
        ]
    )
