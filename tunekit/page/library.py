"""A library on a page: what ships, and the variants that did not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.page.parts import Facts, HtmlTable, Part, Section, TableCell
from tunekit.report import numbers

if TYPE_CHECKING:
    from tunekit.library import Manifest


def library_section(manifest: Manifest) -> Section:
    """What a library is, how exact, and how it came to be the one."""
    errors = manifest.relative_errors
    facts = [
        ("library", manifest.name),
        ("compiled", f"{manifest.created_at:%Y-%m-%d %H:%M} UTC"),
        ("layout", manifest.layout),
        ("kernels", f"{manifest.kernels}, {manifest.applied} with a record"),
        ("coverage", f"{manifest.coverage:.1%} of the estimated latency"),
        ("relative error", numbers.error(max(errors)) if errors else str(manifest.not_verified)),
        ("size", numbers.size(manifest.size_bytes)),
    ]
    if manifest.standalone is not None:
        weights = numbers.size(manifest.standalone.weights_bytes)
        size = numbers.size(manifest.standalone.size_bytes)
        facts.append(("standalone library", f"{size}, of which {weights} weights"))
    elif manifest.not_standalone:
        facts.append(("standalone library", manifest.not_standalone))
    parts: list[Part] = [Facts(facts)]
    if manifest.selection is not None and len(manifest.selection.variants) > 1:
        parts.append(_variants(manifest))
    return Section("Library", parts)


def _variants(manifest: Manifest) -> HtmlTable:
    selection = manifest.selection
    assert selection is not None
    titles = ("variant", "median ms", "the one that ships is", "relative error", "left out")
    rows = [
        [
            TableCell(variant.name),
            TableCell(
                numbers.milliseconds(variant.median_ms) if variant.median_ms else "", "right"
            ),
            TableCell(
                f"{numbers.interval(variant.ratio.low, variant.ratio.high)} as fast"
                if variant.ratio
                else "",
                "right",
            ),
            TableCell(
                "" if variant.relative_error is None else numbers.error(variant.relative_error),
                "right",
            ),
            TableCell(variant.left_out or ""),
        ]
        for variant in selection.variants
    ]
    shipped = frozenset(
        index
        for index, variant in enumerate(selection.variants)
        if variant.name == selection.shipped
    )
    aligned = ("left", "right", "right", "right", "left")
    return HtmlTable(
        [TableCell(title, align) for title, align in zip(titles, aligned, strict=True)],  # type: ignore[arg-type]
        rows,
        shipped,
    )
