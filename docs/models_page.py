"""What docs/index.md, docs/results/index.md and the README say of benchmarks/results/RECIPE.json
and benchmarks/results/contestants/, and the picture and sample pages of the same.

    python docs/models_page.py
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployment_page import Table
from ratio_picture import Bar, ratio_picture

from tunekit.benchmark.results import Ratio, Report, RuntimeResult
from tunekit.page.document import page as html_page
from tunekit.page.material import Material
from tunekit.recipe import OWN_RUNTIMES, PEER_RUNTIMES, REFERENCE_RUNTIMES
from tunekit.report.benchmark import bench_text
from tunekit.report.numbers import significant

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SAMPLES = ROOT / "docs" / "results" / "samples"
CONTESTANTS = (*REFERENCE_RUNTIMES, *PEER_RUNTIMES)
ON_THE_README = (
    *("resnet50_x86", "mobilenet_v2_x86", "efficientnet_b4_x86"),
    *("maskrcnn_backbone_x86", "vit_b_16_x86"),
)
ON_A_TERMINAL, TERMINAL_WIDTH = "resnet50_x86", 100
# What the rows of contestants have besides those of a report.
BESIDES = {"date", "versions"}


@dataclass(frozen=True)
class Row:
    """What is known of one recipe.

    Attributes:
        name: the recipe.
        report: the race in the end.
        alone: rows of contestants that took turns with the library alone.
        tuning: what the search spent and reached; empty where that is not known.
    """

    name: str
    report: Report
    alone: dict[str, dict[str, Any]]
    tuning: dict[str, Any]

    @property
    def ratio(self) -> Ratio | None:
        """How many times as fast as the best other runtime the tuned library is."""
        return next((row.ratio for row in self.report.runtimes if row.name == "tuned"), None)


def main() -> None:
    """Draws the picture, and writes the sample pages."""
    known = rows()
    (RESULTS / "models.svg").write_text(picture(known), "utf-8")
    for name, content in samples(known).items():
        SAMPLES.mkdir(exist_ok=True)
        (SAMPLES / name).write_text(content, "utf-8")


def rows() -> list[Row]:
    """All recipes that were raced."""
    known = []
    for recipe in sorted((ROOT / "recipes").glob("*.yaml")):
        race = RESULTS / f"{recipe.stem}.json"
        if race.is_file():
            report = Report.from_json(race.read_text("utf-8"), file=race)
            alone = _json(RESULTS / "contestants" / race.name)
            tuning = _json(RESULTS / f"{recipe.stem}.tuning.json")
            known.append(Row(recipe.stem, report, alone, tuning))
    return known


def page(table: Table) -> str:
    """A row a recipe, with every contestant that any of them met, and what the rows say together;
    `table` makes lines of titles and rows."""
    known = rows()
    met = {
        name for row in known for name in (*row.alone, *(one.name for one in row.report.runtimes))
    }
    shown = [name for name in (*OWN_RUNTIMES, *CONTESTANTS) if name in met]
    titles = ("recipe", "CPU", "date", "trials", "minutes", *shown, "tuned vs best other")
    lines = table(titles, [_cells(row, shown) for row in known])
    return "\n".join([*lines, "", together(known), *_reasons(known, table)])


def headline(table: Table) -> str:
    """Some of the rows, and how many are won and lost."""
    known = rows()
    chosen = [row for row in known if row.name in ON_THE_README]
    titles = ("recipe", "trials", "minutes", "tuned", "best other", "tuned vs best other")
    lines = table(titles, [_short(row) for row in chosen])
    return "\n".join([*lines, "", together(known)])


def race() -> str:
    """A race as on a terminal, without what stands beside the latency."""
    row = next((row for row in rows() if row.name == ON_A_TERMINAL), None)
    if row is None:
        return "`benchmarks/models.py` races it."
    names = ",".join(one.name for one in row.report.runtimes)
    command = f"$ tunekit bench recipes/{row.name}.yaml --rounds {row.report.protocol.rounds}"
    shown = bench_text(row.report, TERMINAL_WIDTH).plain.split("\n\n")
    heading, table, verdict = shown[0], shown[1], shown[-1]
    lines = [f"{command} --runtimes {names}", heading, "", table, "  ...", verdict.strip()]
    return "\n".join(["```console", *lines, "```"])


def caption() -> str:
    """What the picture shows: how it was measured and where, and what the rows say together."""
    known = rows()
    raced = [row for row in known if row.ratio is not None]
    threads = _listed(sorted(str(row.report.protocol.threads) for row in raced))
    cpus = _listed(sorted(_cpu(row) for row in raced))
    return (
        "How many times as fast the tuned library is as the best other runtime, with the interval "
        f"of the median: batch 1, fp32, {threads} threads, on {cpus}. {together(known)}"
    )


def together(known: Sequence[Row]) -> str:
    """Wins, losses and what cannot be told apart, and the mean."""
    ratios = {row.name: row.ratio for row in known if row.ratio is not None}
    if not ratios:
        return "Nothing was raced yet."
    mean = math.exp(math.fsum(math.log(one.value) for one in ratios.values()) / len(ratios))
    won = sum(one.low > 1.0 for one in ratios.values())
    lost = [
        f"`{name}` ({one.value:.2f}x {one.against})" for name, one in ratios.items() if one.high < 1
    ]
    met = sorted({len(_raced(row)) for row in known if row.ratio is not None})
    others = f"{met[0]} to {met[-1]}" if len(met) > 1 else f"{met[0]}"
    text = (
        f"Each against the best of {others} runtimes, on {len(ratios)} recipes: faster on "
        f"{won}, slower on {len(lost)}, not told apart on {len(ratios) - won - len(lost)}; "
        f"geometric mean {mean:.2f}x (measured {_dates(known)})."
    )
    return f"{text} Slower: {', '.join(lost)}." if lost else text


def picture(known: Sequence[Row]) -> str:
    """How many times as fast as the best other runtime, with intervals, as SVG text."""
    bars = [
        Bar(row.name, row.ratio.value, row.ratio.low, row.ratio.high, row.ratio.against)
        for row in known
        if row.ratio is not None
    ]
    return ratio_picture("times as fast as the best other runtime, interval of the median", bars)


def samples(known: Sequence[Row]) -> dict[str, str]:
    """What `tunekit report` makes of all races, with who raced the library alone."""
    return {"models.html": html_page(Material(benchmarks=[with_all(row) for row in known]))}


def with_all(row: Row) -> Report:
    """The race, and below it those that had no place in it, each with why."""
    met = {one.name for one in row.report.runtimes}
    others = [_apart(name, one) for name, one in row.alone.items() if name not in met]
    return row.report.model_copy(update={"runtimes": [*row.report.runtimes, *others]})


def _apart(name: str, one: dict[str, Any]) -> RuntimeResult:
    values = {key: value for key, value in one.items() if key not in BESIDES}
    result = RuntimeResult(name=name, **values)
    if result.status != "ok" or result.ratio is None:
        return result
    ratio = result.ratio
    reason = (
        f"in turns with the library alone, {one['date'][:10]}: {ratio.value:.2f} times as fast "
        f"({ratio.low:.2f} to {ratio.high:.2f})"
    )
    return result.model_copy(update={"ratio": None, "reason": reason})


def _raced(row: Row) -> set[str]:
    """The contestants that ran a recipe and were right."""
    met = {name for name, one in row.alone.items() if one["status"] == "ok"}
    met |= {one.name for one in row.report.runtimes if one.status == "ok"}
    return met & set(CONTESTANTS)


def _cells(row: Row, shown: Sequence[str]) -> tuple[str, ...]:
    medians = [_median(row, name) for name in shown]
    return (
        *(f"`{row.name}`", _cpu(row), row.report.environment.date[:10], *_spent(row)),
        *(*medians, _ratio(row)),
    )


def _cpu(row: Row) -> str:
    """LLVM's name of the CPU, or what it calls itself."""
    host = row.report.environment.host
    return str(row.tuning.get("target", {}).get("mcpu") or host.get("cpu_name", "unknown"))


def _listed(words: Iterable[str]) -> str:
    """Each once, in the order given, joined by "and"."""
    return " and ".join(dict.fromkeys(words))


def _short(row: Row) -> tuple[str, ...]:
    best = "-" if row.ratio is None else _median(row, row.ratio.against)
    return (f"`{row.name}`", *_spent(row), _median(row, "tuned"), best, _ratio(row))


def _spent(row: Row) -> tuple[str, str]:
    """Trials and minutes of the tuning."""
    if not row.tuning:
        return "-", "-"
    return str(row.tuning["trials"]), f"{row.tuning['tune_command_s'] / 60:.1f}"


def _median(row: Row, name: str) -> str:
    """Milliseconds in the race; in parentheses with why not where it was alone with the library."""
    for one in row.report.runtimes:
        if one.name == name:
            median = "-" if one.latency is None else significant(one.latency.median_ms)
            return median if one.status == "ok" else _why_not(one.status)
    alone = row.alone.get(name)
    if alone is None:
        return "-"
    if alone["status"] != "ok":
        return _why_not(alone["status"])
    return f"({significant(alone['latency']['median_ms'])})"


def _why_not(status: str) -> str:
    return "-" if status == "not applicable" else f"({status})"


def _dates(known: Sequence[Row]) -> str:
    dates = sorted(row.report.environment.date[:10] for row in known)
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"


def _ratio(row: Row) -> str:
    ratio = row.ratio
    if ratio is None:
        return "-"
    return f"{ratio.value:.2f}x {ratio.against} ({ratio.low:.2f} to {ratio.high:.2f})"


def _reasons(known: Sequence[Row], table: Table) -> list[str]:
    """Why contestants have no milliseconds, those of one reason together."""
    why: dict[tuple[str, str], list[str]] = {}
    for row in known:
        for name, one in row.alone.items():
            if one["status"] != "ok":
                reason = " ".join(str(one["reason"]).split()).replace("|", "\\|")
                why.setdefault((name, f"{one['status']}: {reason}"), []).append(f"`{row.name}`")
    if not why:
        return []
    lines = [(name, reason, ", ".join(names)) for (name, reason), names in sorted(why.items())]
    return [
        "",
        "What did not run, or not rightly:",
        "",
        *table(("runtime", "why", "recipes"), lines),
    ]


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


if __name__ == "__main__":
    main()
