"""What docs/results/zoo.md says of zoo.json and shipped_weights.json in benchmarks/results/."""

from __future__ import annotations

import html
import json
import re
import statistics
from pathlib import Path
from typing import Any

from deployment_page import Table

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks/results"
STAGES = ("import", "compile", "race")
FAILED = ("refused", "wrong", "error", "slow")
TITLES = (
    *("network", "for", "state", "import s", "compile s"),
    *("default ms", "ONNX Runtime ms", "OpenVINO ms", "ratio"),
)

Networks = dict[str, dict[str, Any]]


def page(table: Table) -> str:
    """Counts, a row a network, and why some fail; `table` makes lines of titles and rows."""
    zoo = networks()
    failed = failures(zoo)
    why = table(("network", "stage", "why"), failed) if failed else ["Everything does."]
    lines = table(TITLES, rows(zoo))
    return "\n".join([counts(zoo), "", *lines, "", "## What does not work", "", *why])


def shipped(table: Table) -> str:
    """A row for each model with real weights: whether it answers as its package does."""
    models = json.loads((RESULTS / "shipped_weights.json").read_text("utf-8"))
    titles = (
        *("model", "trials", "samples", "same answers", "right: library, package"),
        "relative error",
    )
    rows = []
    for name, row in models.items():
        right = f"{row['right']}, {row['right_original']}" if "right" in row else ""
        same = f"{row['same']} of {row['answers']}"
        error = f"{row['relative_error']:.0e}"
        rows.append((f"`{name}`", str(row["trials"]), row["samples"], same, right, error))
    when = sorted({f"{row['cpu']}, {row['date']}" for row in models.values()})
    return "\n".join([*table(titles, rows), "", f"{'; '.join(when)}."])


def networks() -> Networks:
    """The rows by network, those of a purpose together."""
    rows: Networks = json.loads((RESULTS / "zoo.json").read_text("utf-8"))
    return dict(sorted(rows.items(), key=lambda item: (item[1]["family"], item[0])))


def counts(networks: Networks) -> str:
    """How many get in, are right, and are fast, as a list."""
    lines = []
    for stage, what in (("import", "get in"), ("compile", "compile with default schedules")):
        # One that failed before has no row of the stage.
        tried = [row for row in networks.values() if stage in row or _state(row) in FAILED]
        right = sum(row.get(stage, {}).get("state") == "right" for row in tried)
        share = right / max(len(tried), 1)
        lines.append(f"- {right} of {len(tried)} networks {what} and are right ({share:.1%}).")
    ratios = [ratio for row in networks.values() if (ratio := _ratio(row)) is not None]
    if ratios:
        fast = sum(ratio >= 0.9 for ratio in ratios)
        lines.append(
            f"- {len(ratios)} were raced: {fast} ({fast / len(ratios):.1%}) have at least 0.9 "
            f"times ONNX Runtime's speed without a trial; the slowest has {min(ratios):.2f} times, "
            f"the median {statistics.median(ratios):.2f} times."
        )
    return "\n".join(lines).replace("%", " %")


def rows(networks: Networks) -> list[tuple[str, ...]]:
    """A row of the table for each network, as `TITLES` names its cells."""
    made = []
    for name, network in networks.items():
        race, ratio = network.get("race", {}), _ratio(network)
        numbers = [network["import"].get("import_s"), network.get("compile", {}).get("compile_s")]
        numbers += [race.get(f"{runtime}_ms") for runtime in ("default", "onnxruntime", "openvino")]
        made.append(
            (
                *(f"`{name}`", network["family"], _state(network)),
                *("" if number is None else f"{number:g}" for number in numbers),
                "" if ratio is None else f"{ratio:.2f}",
            )
        )
    return made


def failures(networks: Networks) -> list[tuple[str, ...]]:
    """Network, stage with its state, and reason of each that failed."""
    return [
        (f"`{name}`", f"{stage}: {network[stage]['state']}", _plain(network[stage]["message"]))
        for name, network in networks.items()
        for stage in STAGES
        if network.get(stage, {}).get("state", "right") != "right"
    ]


def _state(network: dict[str, Any]) -> str:
    """How far a network got."""
    stage = [stage for stage in STAGES if stage in network][-1]
    state: str = network[stage]["state"]
    return "imported" if state == "right" and stage == "import" else state


def _ratio(network: dict[str, Any]) -> float | None:
    """How many times as fast as ONNX Runtime: the median over rounds; None if it was not raced."""
    turns = network.get("race", {}).get("turns_ms", {})
    if not {"default", "onnxruntime"} <= turns.keys():
        return None
    pairs = zip(turns["onnxruntime"], turns["default"], strict=True)
    return statistics.median(theirs / own for theirs, own in pairs)


def _plain(text: str) -> str:
    """A message in a cell, without what Markdown would read in it."""
    escaped = re.sub(r"([*_`\[\]|])", r"\\\1", " ".join(text.split()))
    return html.escape(escaped, quote=False)
