"""An explanation on a page: where a library's time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.page import charts
from tunekit.page.parts import Chart, Facts, Part, Prose, Section, table_of
from tunekit.report import numbers
from tunekit.report.explanation import explanation_columns
from tunekit.report.stages import stage_columns, stage_rows

if TYPE_CHECKING:
    from tunekit.attribution.results import Explanation


def operators_section(explanation: Explanation) -> Section:
    """The operators beside their counterparts, and how near they are to the machine's peaks."""
    parts: list[Part] = [
        Facts(
            [
                ("library", explanation.name),
                ("CPU", explanation.cpu),
                ("threads", str(explanation.threads)),
                *(
                    (runtime.name, f"{numbers.milliseconds(1e3 * runtime.end_to_end_s)} ms")
                    for runtime in explanation.runtimes
                    if runtime.end_to_end_s is not None
                ),
            ]
        ),
    ]
    if explanation.stages:
        parts.append(table_of(stage_columns(explanation), stage_rows(explanation)))
    parts.append(table_of(explanation_columns(explanation), explanation.operators))
    peaks = explanation.peaks
    rows = [
        {
            "name": operator.work,
            "intensity": operator.flops / operator.bytes,
            "reached": operator.flops_per_s,
            "share": operator.share,
            "kind": operator.kind,
        }
        for operator in explanation.operators
        if operator.flops and operator.bytes and operator.flops_per_s
    ]
    if peaks is not None and rows:
        parts.append(
            Chart(
                "Roofline",
                "Each circle is an operator, as large as its share of the time; the line is what "
                "this machine's arithmetic and memory allow. What stays in caches may be above it.",
                charts.roofline(rows, peaks.flops_per_s, peaks.bytes_per_s),
            )
        )
    parts += [Prose(remark, "note") for remark in explanation.remarks]
    return Section("Operators", parts)
