"""A picture of how many times as fast: a line for each ratio, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_LEFT, _WIDTH, _LINE = 230, 680, 26
_TICKS = (
    *(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8),
    *(2.0, 2.5, 3.0, 4.0, 5.0),
)


class Bar(NamedTuple):
    """A ratio from `low` to `high`, named on the left, and on the right what it is against."""

    name: str
    value: float
    low: float
    high: float
    against: str


def ratio_picture(title: str, bars: Sequence[Bar]) -> str:
    """SVG text; green is faster beyond doubt, orange slower, grey cannot be told apart."""
    height = _LINE * len(bars) + 48
    low = min([0.9, *(bar.low for bar in bars)])
    high = max([1.3, *(bar.high for bar in bars)])

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 110) * math.log(value / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="16">{title}</text>',
    ]
    for tick in _TICKS:
        if low <= tick <= high:
            colour = "#555" if tick == 1 else "#ddd"
            parts.append(
                f'<path d="M{x(tick):.1f} 26V{height - 20}" stroke="{colour}"/>'
                f'<text x="{x(tick):.1f}" y="{height - 6}" text-anchor="middle">{tick:g}</text>'
            )
    for at, bar in enumerate(bars):
        y = 42 + _LINE * at
        colour = "#0a7d4b" if bar.low > 1 else "#b3541e" if bar.high < 1 else "#777"
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{bar.name}</text>'
            f'<path d="M{x(bar.low):.1f} {y}H{x(bar.high):.1f}" stroke="{colour}" '
            'stroke-width="2"/>'
            f'<circle cx="{x(bar.value):.1f}" cy="{y}" r="4.5" fill="{colour}"/>'
            f'<text x="{_WIDTH - 100}" y="{y + 4}" fill="#555">{bar.against}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
