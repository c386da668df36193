"""Words for messages: near names, choices, values as a recipe has them, where time went, errors in
a line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Say = Callable[[str], None]
"""Is told what is done, a line at a time."""

_ERROR_CHARACTERS = 160
# Of C++ runtimes, whose first lines say where they were in their own source.
_PLACE = re.compile(r"(Exception from )?\S+\.(c|cc|cpp|h|hpp|inl):\d+:?")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is nearest, whatever its case; None where none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'trials'?` for the known word that is nearest, or an empty text."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def counted(count: int, thing: str, things: str | None = None) -> str:
    """A number of things: `1 thread`, `1,200 threads`, with a plural of its own where need be."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def one_of(choices: Iterable[str]) -> str:
    """`one of a, b, c`."""
    return f"one of {', '.join(choices)}"


def shown(value: Any) -> str:
    """A value as the recipe has it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def time_shares(seconds: Mapping[str, float]) -> str:
    """Where time went, what took longest first: `measuring 62 %, building 21 %, ...`; what took
    less than 1 % is left out, and nothing is said of no time."""
    total = sum(seconds.values())
    if total <= 0:
        return ""
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name} {spent / total:.0%}".replace("%", " %")
        for name, spent in ordered
        if spent >= 0.01 * total
    )


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line with text of an exception's message, and what follows while that ends with a
    colon, cut to `limit` characters; its type where it says nothing."""
    lines = [line.strip() for line in _lines(error)] or [type(error).__name__]
    text, *rest = [line for line in lines if not _PLACE.fullmatch(line)] or lines
    while text.endswith(":") and rest:
        text = f"{text} {rest.pop(0)}"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def error_line(error: BaseException) -> str:
    """An exception in one line: its type, and the first line of what it says."""
    name = type(error).__name__
    return f"{name}: {first_line(error, _ERROR_CHARACTERS)}" if _lines(error) else name


def last_lines(said: BaseException | str, count: int = 1) -> str:
    """The last lines with text of an exception's message, or of what a process wrote.

    TVM's errors have a backtrace of its C++ part in front of what is wrong.

    Returns:
        An exception's type where it says nothing; "" for a text without any.
    """
    lines = _lines(said)
    if not lines and isinstance(said, BaseException):
        return type(said).__name__
    return "\n".join(lines[-count:]).strip()


def _lines(said: BaseException | str) -> list[str]:
    return [line for line in str(said).splitlines() if line.strip()]
