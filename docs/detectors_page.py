"""What docs/results/detectors.md says of benchmarks/results/detectors/, and the picture of it.

As a script it draws the picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from deployment_page import NONE, Table
from ratio_picture import Bar, ratio_picture

from tunekit.attribution.results import Explanation
from tunekit.benchmark.results import Report
from tunekit.report.numbers import significant
from tunekit.report.stages import stage_columns, stage_rows

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks/results/detectors"
PICTURE = RESULTS.parent / "detectors.svg"
_STAGES = ".stages"
_LARGEST = "maskrcnn_800x1088"
_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "pytorch": "eager PyTorch"}
_WIDTH = 110
_REASON = 160


def main() -> None:
    """Draws the picture."""
    PICTURE.write_text(picture(), "utf-8")


def picture() -> str:
    """Each detector against each runtime, with intervals, as SVG text."""
    bars = []
    for name, report in _reports().items():
        for row in report.runtimes:
            if row.name in _NAMES and row.ratio is not None:
                # Theirs are against the library.
                value, low, high = (
                    1 / one for one in (row.ratio.value, row.ratio.high, row.ratio.low)
                )
                bars.append(Bar(name, value, low, high, _NAMES[row.name]))
    return ratio_picture("the whole detector tuned: how many times as fast, interval", bars)


def headline() -> str:
    """The largest detector against each runtime, and the others against their best."""
    reports = _reports()
    if _LARGEST not in reports:
        return NONE
    largest = reports.pop(_LARGEST)
    rows = {row.name: row for row in largest.runtimes}
    against = ", ".join(
        f"{1 / row.ratio.value:.2f} as {name}"
        for runtime, name in _NAMES.items()
        if (row := rows.get(runtime)) is not None and row.ratio is not None
    ).replace(" as ", " times as fast as ", 1)
    height, width = largest.model.inputs[0].shape[-2:]
    latency = rows["tuned"].latency
    ratios = [row.ratio for report in reports.values() for row in report.runtimes[:1] if row.ratio]
    assert latency is not None
    text = (
        f"Mask R-CNN whole ({height}x{width}) takes {significant(latency.median_ms)} ms in one "
        f"library, {against}; {len(ratios)} other races of whole detectors, each "
        f"against the best other runtime: {min(one.value for one in ratios):.2f} to "
        f"{max(one.value for one in ratios):.2f} times as fast "
        f"([detectors](docs/results/detectors.md); {_machine(largest)})."
    )
    return "\n".join(textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False))


def races(table: Table) -> str:
    """A row for each detector."""
    reports = _reports()
    if not reports:
        return NONE
    names = list(dict.fromkeys(row.name for report in reports.values() for row in report.runtimes))
    titles = (
        "detector",
        "canvas",
        *(f"{name} ms" for name in names),
        "tuned vs best other",
        "matched",
    )
    rows = [_race(name, report, names) for name, report in reports.items()]
    return "\n".join([*table(titles, rows), "", *_failures(reports), f"{_machines(reports)}."])


def _reports() -> dict[str, Report]:
    return {
        path.stem: Report.from_json(path.read_text("utf-8"), file=path)
        for path in sorted(RESULTS.glob("*.json"))
        if _STAGES not in path.name
    }


def _failures(reports: Mapping[str, Report]) -> list[str]:
    """Runtimes that do not run a detector, with what they say."""
    lines = [
        f"- `{name}`, {row.name}: {textwrap.shorten(str(row.reason), _REASON, placeholder=' …')}"
        for name, report in reports.items()
        for row in report.runtimes
        if row.latency is None and row.status != "not installed"
    ]
    return ["Where there is no time:", "", *lines, ""] if lines else []


def _machines(reports: Mapping[str, Report]) -> str:
    """What was measured where and when."""
    measured: dict[str, list[str]] = {}
    for name, report in reports.items():
        measured.setdefault(_machine(report), []).append(f"`{name}`")
    if len(measured) == 1:
        return next(iter(measured))
    return "; ".join(f"{', '.join(names)}: {machine}" for machine, names in measured.items())


def _machine(report: Report) -> str:
    host = report.environment.host
    vectors = "AVX-512" if "avx512f" in host["features"] else "AVX2"
    return f"{host['cpu_name']} with {vectors}, {report.environment.date[:10]}"


def _race(detector: str, report: Report, names: list[str]) -> tuple[str, ...]:
    rows = {row.name: row for row in report.runtimes}
    height, width = report.model.inputs[0].shape[-2:]
    tuned = rows["tuned"]
    times = [
        significant(row.latency.median_ms) if row is not None and row.latency else "-"
        for row in map(rows.get, names)
    ]
    ratio = tuned.ratio
    against = (
        "-"
        if ratio is None
        else f"{ratio.value:.2f}x {ratio.against} ({ratio.low:.2f} to {ratio.high:.2f})"
    )
    found = tuned.accuracy.detections if tuned.accuracy else None
    matched = "-" if found is None else f"{found.matched} of {found.count}"
    return (f"`{detector}`", f"{height}x{width}", *times, against, matched)


def stages(table: Table) -> str:
    """A table for each detector: the stages of the library, and of eager PyTorch."""
    lines: list[str] = []
    for path in sorted(RESULTS.glob(f"*{_STAGES}.json")):
        explanation = Explanation.from_json(path.read_text("utf-8"), file=path)
        columns = stage_columns(explanation)
        rows = [tuple(column.text(row) for column in columns) for row in stage_rows(explanation)]
        lines += [f"### `{explanation.name}`", ""]
        lines += [*table(tuple(column.title for column in columns), rows), ""]
    return "\n".join(lines).rstrip() or NONE


if __name__ == "__main__":
    main()
