"""Charts as Vega-Lite specifications: https://vega.github.io/vega-lite/docs/"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
# Where the largest value is more than so many times the least, a linear axis hides most of them.
_LOGARITHMIC_FROM = 20.0
_ROW_HEIGHT = 34

Rows = Sequence[Mapping[str, Any]]


def strips(samples: Rows, summary: Rows, order: Sequence[str], axis: str) -> dict[str, Any]:
    """Every sample as a short line, a row each: and the median with the middle four fifths.

    Args:
        samples: with `name` and `value`.
        summary: with `name`, `median`, `p10` and `p90`.
        order: names from top to bottom.
        axis: what the values are, with their unit.
    """
    scale = _scale([float(row["value"]) for row in samples])
    y = {"field": "name", "type": "nominal", "sort": list(order), "title": None}
    return _spec(
        len(order),
        layer=[
            {
                "data": {"values": list(samples)},
                "mark": {"type": "tick", "opacity": 0.25, "thickness": 1},
                "encoding": {"x": _quantity("value", axis, scale), "y": y},
            },
            {
                "data": {"values": list(summary)},
                "mark": {"type": "rule", "strokeWidth": 3},
                "encoding": {
                    "x": _quantity("p10", axis, scale),
                    "x2": {"field": "p90"},
                    "y": y,
                    "color": {"value": "#d95f0e"},
                },
            },
            {
                "data": {"values": list(summary)},
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {
                    "x": _quantity("median", axis, scale),
                    "y": y,
                    "color": {"value": "#d95f0e"},
                    "tooltip": [
                        {"field": field, "type": kind}
                        for field, kind in (
                            ("name", "nominal"),
                            ("median", "quantitative"),
                            ("p10", "quantitative"),
                            ("p90", "quantitative"),
                        )
                    ],
                },
            },
        ],
    )


def intervals(rows: Rows, order: Sequence[str], axis: str, at: float) -> dict[str, Any]:
    """Values with intervals, and a line that is the question whether they cover it: green above,
    orange below.

    Args:
        rows: with `name`, `value`, `low` and `high`.
        order: names from top to bottom.
        axis: what the values are.
        at: where the line stands.
    """
    scale = _scale([float(row["low"]) for row in rows] + [at])
    colour = {
        "condition": [
            {"test": f"datum.low > {at}", "value": "#0a7d4b"},
            {"test": f"datum.high < {at}", "value": "#c2561a"},
        ],
        "value": "#888",
    }
    y = {"field": "name", "type": "nominal", "sort": list(order), "title": None}
    return _spec(
        len(order),
        layer=[
            {
                "data": {"values": [{"at": at}]},
                "mark": {"type": "rule", "strokeDash": [4, 4], "opacity": 0.6},
                "encoding": {"x": _quantity("at", axis, scale)},
            },
            {
                "data": {"values": list(rows)},
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "x": _quantity("low", axis, scale),
                    "x2": {"field": "high"},
                    "y": y,
                    "color": colour,
                },
            },
            {
                "data": {"values": list(rows)},
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"x": _quantity("value", axis, scale), "y": y, "color": colour},
            },
        ],
    )


def bars(rows: Rows, axis: str) -> dict[str, Any]:
    """Lengths, the longest at the top.

    Args:
        rows: with `name` and `value`.
        axis: what the values are, with their unit.
    """
    return _spec(
        len(rows),
        data={"values": list(rows)},
        mark={"type": "bar", "tooltip": True},
        encoding={
            "x": {"field": "value", "type": "quantitative", "title": axis},
            "y": {"field": "name", "type": "nominal", "sort": "-x", "title": None},
        },
    )


def falling(rows: Rows, x_axis: str, y_axis: str) -> dict[str, Any]:
    """A value that only ever falls, from each point on until the next.

    Args:
        rows: with `x` and `y`.
        x_axis: what it falls against.
        y_axis: what it is, with its unit.
    """
    scale = _scale([float(row["y"]) for row in rows])
    return _spec(
        7,
        data={"values": list(rows)},
        mark={"type": "line", "interpolate": "step-after", "point": len(rows) < 200},
        encoding={
            "x": {"field": "x", "type": "quantitative", "title": x_axis},
            "y": {"field": "y", "type": "quantitative", "title": y_axis, "scale": scale},
        },
    )


def roofline(rows: Rows, peak_flops: float, peak_bytes: float) -> dict[str, Any]:
    """What operators reach against what their sizes allow: Williams, Waterman, Patterson, Roofline
    (2009), https://doi.org/10.1145/1498765.1498785.

    Args:
        rows: with `name`, `intensity` in operations a byte, `reached` in operations a second,
            `share` of the time and `kind`.
        peak_flops: operations a second that the machine can do.
        peak_bytes: bytes a second that it can move.
    """
    knee = peak_flops / peak_bytes
    least = min([float(row["intensity"]) for row in rows] + [knee]) / 2
    most = max([float(row["intensity"]) for row in rows] + [knee]) * 2
    roof = [
        {"intensity": least, "reached": least * peak_bytes},
        {"intensity": knee, "reached": peak_flops},
        {"intensity": most, "reached": peak_flops},
    ]
    log = {"type": "log"}
    x = {
        "field": "intensity",
        "type": "quantitative",
        "title": "floating-point operations for each byte",
        "scale": log,
    }
    y = {
        "field": "reached",
        "type": "quantitative",
        "title": "operations a second",
        "scale": log,
        "axis": {"format": "~s"},
    }
    return _spec(
        10,
        layer=[
            {
                "data": {"values": roof},
                "mark": {"type": "line", "strokeWidth": 2, "opacity": 0.7},
                "encoding": {"x": x, "y": y},
            },
            {
                "data": {"values": list(rows)},
                "mark": {"type": "circle", "opacity": 0.75},
                "encoding": {
                    "x": x,
                    "y": y,
                    "size": {"field": "share", "type": "quantitative", "legend": None},
                    "color": {"field": "kind", "type": "nominal", "title": None},
                    "tooltip": [{"field": "name", "type": "nominal"}],
                },
            },
        ],
    )


def _scale(values: Sequence[float]) -> dict[str, Any]:
    positive = [value for value in values if value > 0]
    if positive and max(positive) > _LOGARITHMIC_FROM * min(positive):
        return {"type": "log"}
    return {"type": "linear", "zero": False}


def _quantity(field: str, title: str, scale: Mapping[str, Any]) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "scale": dict(scale)}


def _spec(rows: int, **content: Any) -> dict[str, Any]:
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": max(rows, 2) * _ROW_HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        **content,
    }
