"""The tree of errors and its drawing."""

from __future__ import annotations

import re

from tunekit import errors


def _classes(root: type[errors.TunekitError]) -> list[type[errors.TunekitError]]:
    return [root, *(found for child in root.__subclasses__() for found in _classes(child))]


def _own() -> list[type[errors.TunekitError]]:
    return [kind for kind in _classes(errors.TunekitError) if kind.__module__ == errors.__name__]


def test_the_drawing_shows_every_error_with_its_exit_code() -> None:
    drawn = dict(re.findall(r"^[ │├└─]*(\w+) +(\d+)\b", errors.__doc__ or "", re.M))
    assert drawn == {kind.__name__: str(kind.exit_code) for kind in _own()}


def test_the_drawing_shows_who_derives_from_whom() -> None:
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([ │├└─]*)(\w+) +\d+\b", line)
        if found is None:
            continue
        depth, kind = len(found[1]), getattr(errors, found[2])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        if stack:
            assert kind.__base__.__name__ == stack[-1][1]
        stack.append((depth, found[2]))


def test_an_error_carries_its_message_and_what_to_do_now() -> None:
    error = errors.ToolchainError("wrong pair", hint="run pip")
    assert (str(error), error.message, error.hint) == ("wrong pair", "wrong pair", "run pip")
