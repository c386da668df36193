"""Killed at any moment and started again, a session ends as if nothing had happened."""

from __future__ import annotations

import random
import re
import signal
import time

import pytest
from killable import Command, Place, still_running

from tunekit.catalogue import Catalogue

_BUDGET = 24
_MEASURING = "trials.* measuring"
_COMPILING = "coverage:"
# What the command has said last when it is killed, and how many lines more; "" is its first moment.
_MOMENTS: list[tuple[str, int]] = [
    *[("", 0)] * 2,
    ("layout", 0),
    *[("tasks, ", 0)] * 2,
    *[("trials.* searching", 0)] * 3,
    *[(_MEASURING, more) for more in (0, 0, 1, 2, 3, 5)],
]
_LAST_MOMENTS: list[tuple[str, int]] = [("deciding", 0), ("deciding", 1), *[(_COMPILING, 0)] * 4]
_FOUR: list[tuple[str, int]] = [("layout", 0), (_MEASURING, 0), (_MEASURING, 2), (_COMPILING, 0)]
_TWENTY = random.Random(7).sample(_MOMENTS, len(_MOMENTS)) + _LAST_MOMENTS


def _meet(command: Command, pattern: str, more: int, delay_s: float) -> None:
    """Returns `delay_s` after the command has said that and `more` lines; not later than while it
    compiles, where it stays for a second."""
    while _COMPILING not in (said := command.errors):
        assert "error" not in said
        found = re.search(pattern, said)
        if found and said.count("\n", found.end()) > more - (not pattern):
            break
        time.sleep(0.01)
    deadline = time.monotonic() + delay_s
    while time.monotonic() < deadline and _COMPILING not in command.errors:
        time.sleep(0.01)
    if _COMPILING in command.errors:
        time.sleep(delay_s / 2)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "moments",
    [pytest.param(_FOUR, id="four"), pytest.param(_TWENTY, id="twenty", marks=pytest.mark.slow)],
)
def test_kills_at_any_moment_lose_nothing_and_pay_for_nothing_twice(
    place: Place, moments: list[tuple[str, int]]
) -> None:
    recipe = place.recipe("tortured", _BUDGET)
    luck = random.Random(7)
    for pattern, more in moments:
        command = place.start("tune", recipe)
        _meet(command, pattern, more, luck.uniform(0, 0.4))
        family = command.family()
        assert command.kill() == -signal.SIGKILL, command.errors
        assert still_running(family) == []
        acknowledged = re.findall(rf"^(\d+)/{_BUDGET} trials", command.errors, re.M)
        assert int(acknowledged[-1] if acknowledged else 0) <= place.count() <= _BUDGET
        if place.ledger.exists():
            with Catalogue.open(place.ledger) as catalogue:
                assert catalogue.maintenance.check() == []
                assert {session.state for session in catalogue.sessions.list()} <= {"interrupted"}

    last = place.start("tune", recipe, "--no-contest")
    assert last.wait() == 0, last.errors
    assert place.problems("tortured", _BUDGET) == []
    assert place.manifest("tortured")["coverage"] == 1.0
