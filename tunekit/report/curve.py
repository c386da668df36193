"""A falling curve drawn with characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunekit.report.numbers import milliseconds

# Where the best is a small share of the first, a linear scale would show one cliff and a flat line.
_LOGARITHMIC_FROM = 8.0
_UNICODE = {"axis": "┤", "level": "─", "down": "╮", "drop": "│", "land": "╰"}
_ASCII = {"axis": "|", "level": "-", "down": ".", "drop": "|", "land": "`"}


def curve_text(
    points: Sequence[tuple[int, float]],
    end: int,
    *,
    width: int,
    height: int = 10,
    unicode: bool = True,
) -> list[str]:
    """The best seconds so far against trials, as lines of at most `width` columns.

    Args:
        points: (trials done, seconds), each from its trial on until the next; never rising.
        end: trials at the right edge.
        width: columns in all, labels included.
        height: lines of the drawing.
        unicode: whether the terminal has more than ASCII.
    """
    if not points:
        return []
    marks = _UNICODE if unicode else _ASCII
    highest, lowest = points[0][1], points[-1][1]
    rows = height if highest > lowest else 1
    labels = [milliseconds(1e3 * _at(row, rows, highest, lowest)) for row in range(rows)]
    margin = max(len(label) for label in labels)
    columns = max(width - margin - 2, 8)
    levels = [_row(seconds, rows, highest, lowest) for seconds in _sampled(points, end, columns)]
    grid = [[" "] * columns for _ in range(rows)]
    before: int | None = None
    for column, level in enumerate(levels):
        if level is None:
            continue
        if before is None or level == before:
            grid[level][column] = marks["level"]
        else:
            grid[before][column] = marks["down"]
            for row in range(before + 1, level):
                grid[row][column] = marks["drop"]
            grid[level][column] = marks["land"]
        before = level
    lines = [
        f"{label:>{margin}} {marks['axis']}{''.join(cells)}".rstrip()
        for label, cells in zip(labels, grid, strict=True)
    ]
    first, last = "0", f"{end} trials"
    gap = max(columns - len(first) - len(last), 1)
    lines.append(f"{'':{margin + 2}}{first}{'':{gap}}{last}")
    return lines


def _sampled(points: Sequence[tuple[int, float]], end: int, columns: int) -> list[float | None]:
    """The seconds in each column; None before the first point."""
    samples: list[float | None] = []
    for column in range(columns):
        # The last column is the last trial.
        trial = end * column / max(columns - 1, 1)
        known = [seconds for done, seconds in points if done <= trial]
        samples.append(known[-1] if known else None)
    # What happened within the last column's trials counts.
    samples[-1] = points[-1][1]
    return samples


def _scaled(seconds: float, highest: float, lowest: float) -> float:
    """0 for the highest, 1 for the lowest."""
    if highest <= lowest:
        return 0.0
    if highest / lowest >= _LOGARITHMIC_FROM:
        return math.log(highest / seconds) / math.log(highest / lowest)
    return (highest - seconds) / (highest - lowest)


def _row(seconds: float | None, rows: int, highest: float, lowest: float) -> int | None:
    return None if seconds is None else round(_scaled(seconds, highest, lowest) * (rows - 1))


def _at(row: int, rows: int, highest: float, lowest: float) -> float:
    """The seconds that a row stands for."""
    if rows == 1:
        return lowest
    share = row / (rows - 1)
    if highest / lowest >= _LOGARITHMIC_FROM:
        return highest * math.pow(lowest / highest, share)
    return highest - share * (highest - lowest)
