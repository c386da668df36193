"""Numbers as people read them, the same in every report."""

from __future__ import annotations

import math
from datetime import datetime


def milliseconds(value: float) -> str:
    """Three to four significant digits: "5321", "53.4", "6.12", "0.0831"."""
    return significant(value)


def significant(value: float) -> str:
    """A positive number with three significant digits, never in exponents unless it is tiny."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{digits}f}"


def error(value: float) -> str:
    """An error: "0", "3.7e-06", "inf", "nan"."""
    if value == 0:
        return "0"
    return f"{value:.1e}" if math.isfinite(value) else str(value)


def ratio(value: float) -> str:
    """How many times as fast: "1.12x", "0.013x"."""
    return f"{value:.2f}x" if value >= 0.1 else f"{significant(value)}x"


def interval(low: float, high: float) -> str:
    """How many times as fast, from and to: "1.12 to 1.15x"."""
    return f"{ratio(low)[:-1]} to {ratio(high)}"


def mebibytes(value: int) -> str:
    """Bytes in MiB, without the unit."""
    return f"{value / 2**20:.0f}"


def size(count: int) -> str:
    """Bytes in the unit that suits them: "1.2 GiB", "513 bytes"."""
    for unit, unit_bytes in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= unit_bytes:
            return f"{count / unit_bytes:.1f} {unit}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """A time span as a person says it: "45 s", "12 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(value: datetime) -> str:
    """A moment to the minute, in this machine's time zone."""
    return f"{value.astimezone():%Y-%m-%d %H:%M}"
