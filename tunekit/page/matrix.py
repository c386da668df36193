"""Several benchmarks on a page, beside each other: of one model, or of many."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.page import charts
from tunekit.page.machine import cpu, machine
from tunekit.page.parts import Chart, Facts, HtmlTable, Part, Prose, Section, TableCell
from tunekit.page.race import interval
from tunekit.recipe.axes import in_words
from tunekit.report import numbers

if TYPE_CHECKING:
    from tunekit.benchmark.results import Report, RuntimeResult

_TUNED = "tuned"


def matrix_section(reports: Sequence[Report]) -> Section:
    """Benchmarks beside each other: milliseconds, ratios of the tuned library, what changed."""
    one_model = len({report.model.digest for report in reports}) == 1
    parts: list[Part] = []
    if one_model:
        parts += [_of_one_model(reports), Prose(_UNPAIRED, "note")]
    else:
        parts.append(_of_many_models(reports))
    if any(row.status == "ok" and row.reason for report in reports for row in report.runtimes):
        parts.append(Prose("In parentheses: with a remark in its race below.", "note"))
    parts += _verdicts(reports)
    differences = _differences(reports, recipes=one_model)
    if differences:
        parts.append(Prose("What differs between them:"))
        parts.append(_side_by_side(reports, differences) if one_model else _in_all(differences))
    return Section("Benchmarks", parts)


_UNPAIRED = (
    "Milliseconds, and in the last column how many times as fast the last one is as the first. The "
    "machine may have been slower in one of them: compare ratios to another runtime, which had its "
    "turns in the same minutes."
)


def _of_one_model(reports: Sequence[Report]) -> HtmlTable:
    """A row for each runtime, a column for each benchmark."""
    by_name = [{row.name: row for row in report.runtimes} for report in reports]
    titles = [
        TableCell("runtime"),
        *(TableCell(_when(report), "right") for report in reports),
        TableCell("last against first", "right"),
    ]
    rows = []
    for name in _names(reports):
        first, last = by_name[0].get(name), by_name[-1].get(name)
        change = ""
        if first and last and first.latency and last.latency:
            change = numbers.ratio(first.latency.median_ms / last.latency.median_ms)
        medians = [TableCell(_median(rows_of.get(name)), "right") for rows_of in by_name]
        rows.append([TableCell(name), *medians, TableCell(change, "right")])
    compared = _tuned_names(reports)
    for name in compared:
        against = [TableCell(_against(rows_of.get(name)), "right") for rows_of in by_name]
        rows.append([TableCell(f"{name} against best"), *against, TableCell("")])
    strong = frozenset(range(len(rows) - len(compared), len(rows)))
    return HtmlTable(titles, rows, strong)


def _of_many_models(reports: Sequence[Report]) -> HtmlTable:
    """A row for each benchmark, a column for each runtime."""
    names = _names(reports)
    titles = [TableCell("model"), TableCell("tuned against the best other", "right")]
    titles += [TableCell(f"{name} ms", "right") for name in names]
    titles += [TableCell("threads", "right"), TableCell("CPU"), TableCell("measured")]
    rows = []
    for report in reports:
        by_name = {row.name: row for row in report.runtimes}
        rows.append(
            [
                TableCell(report.model.name),
                TableCell(_against_at_each_size(report), "right"),
                *(TableCell(_median(by_name.get(name)), "right") for name in names),
                TableCell(str(report.protocol.threads), "right"),
                TableCell(cpu(report.environment.host)),
                TableCell(report.environment.date[:10]),
            ]
        )
    return HtmlTable(titles, rows)


def _names(reports: Sequence[Report]) -> list[str]:
    return list(dict.fromkeys(row.name for report in reports for row in report.runtimes))


def _tuned_names(reports: Sequence[Report]) -> list[str]:
    """Of the tuned library's rows: one, or one for each size."""
    of_all = (row for report in reports for row in report.runtimes if row.runtime == _TUNED)
    return list(dict.fromkeys(row.name for row in of_all)) or [_TUNED]


def labels(reports: Sequence[Report]) -> list[str]:
    """What tells several benchmarks apart: their models, their moments, or both."""
    names = [report.model.name for report in reports]
    if len(set(names)) == len(names):
        return names
    same = len(set(names)) == 1
    told = [
        _when(report) if same else f"{report.model.name}, {_when(report)}" for report in reports
    ]
    return [
        f"{label}, {told[:index].count(label) + 1} of {told.count(label)}"
        if told.count(label) > 1
        else label
        for index, label in enumerate(told)
    ]


def _when(report: Report) -> str:
    return report.environment.date[:16].replace("T", " ")


def _median(row: RuntimeResult | None) -> str:
    if row is None:
        return ""
    if row.latency is None:
        return "-" if row.status == "not applicable" else row.status
    median = numbers.milliseconds(row.latency.median_ms)
    if row.status != "ok":
        return f"{median} ({row.status})"
    return f"({median})" if row.reason else median


def _against(row: RuntimeResult | None) -> str:
    if row is None or row.ratio is None:
        return "" if row is None or row.status == "ok" else row.status
    ratio = row.ratio
    spread = "" if ratio.rounds < 2 else f" ({numbers.interval(ratio.low, ratio.high)})"
    return f"{numbers.ratio(ratio.value)} {ratio.against}{spread}"


def _against_at_each_size(report: Report) -> str:
    tuned = [row for row in report.runtimes if row.runtime == _TUNED]
    if len(tuned) == 1:
        return _against(tuned[0])
    return "; ".join(f"at {in_words(row.size)} {_against(row)}" for row in tuned)


def _verdicts(reports: Sequence[Report]) -> list[Chart]:
    """How the tuned library compares in each benchmark."""
    rows = [
        interval(f"{label}, {in_words(row.size)}" if row.size else label, row.ratio)
        for report, label in zip(reports, labels(reports), strict=True)
        for row in report.runtimes
        if row.runtime == _TUNED and row.ratio is not None
    ]
    if not rows:
        return []
    order = [str(row["name"]) for row in rows]
    note = "Against the best other runtime of the same benchmark; the line is: as fast as that."
    return [Chart("The tuned library", note, charts.intervals(rows, order, "times as fast", 1.0))]


def _differences(reports: Sequence[Report], *, recipes: bool) -> dict[str, list[str]]:
    """What is not the same in all benchmarks, with the value of each: machines, versions, and of
    one model the recipe."""
    each = [_facts(report, recipes=recipes) for report in reports]
    seen = {
        name: [facts.get(name, "none") for facts in each]
        for name in dict.fromkeys(name for facts in each for name in facts)
    }
    return {name: values for name, values in seen.items() if len(set(values)) > 1}


def _side_by_side(reports: Sequence[Report], differences: Mapping[str, list[str]]) -> HtmlTable:
    """A column for each benchmark."""
    titles = [TableCell("what"), *(TableCell(_when(report)) for report in reports)]
    rows = [
        [TableCell(name), *(TableCell(value) for value in values)]
        for name, values in differences.items()
    ]
    return HtmlTable(titles, rows)


def _in_all(differences: Mapping[str, list[str]]) -> Facts:
    """The values that there are, where a column for each would be too many."""
    return Facts([(name, "; ".join(dict.fromkeys(values))) for name, values in differences.items()])


def _facts(report: Report, *, recipes: bool) -> dict[str, str]:
    facts = {
        **dict(machine(report.environment.host)),
        "system": report.environment.system,
        "threads": str(report.protocol.threads),
        "rounds": str(report.protocol.rounds),
        **report.environment.versions,
    }
    if recipes:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        # A file that was changed by hand is shown as far as it can be read.
        with contextlib.suppress(YAMLError):
            facts |= dict(_flat(YAML(typ="safe", pure=True).load(report.recipe)))
    return facts


def _flat(value: Any, above: str = "recipe") -> Iterator[tuple[str, str]]:
    """Dotted keys and their values."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{above}: {key}" if above == "recipe" else f"{above}.{key}")
    else:
        yield above, "none" if value is None else str(value)
