"""Ctrl-C at any moment: what was measured stays, how to go on is said, nothing keeps running."""

from __future__ import annotations

import re
import signal

import pytest
from killable import Place, still_running, wait_until

from tunekit.catalogue import Catalogue


@pytest.mark.timeout(900)
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_keeps_the_trials_says_how_to_go_on_and_leaves_nothing_running(
    place: Place, times: int
) -> None:
    recipe = place.recipe("stopped", 24, model="one")
    command = place.start("tune", recipe)
    wait_until(lambda: place.count() >= 1)
    family = command.family()
    command.send(signal.SIGINT)
    if times == 2:
        wait_until(lambda: "once more stops at once" in command.errors)
        command.send(signal.SIGINT)
    assert command.wait() == 130, command.errors
    assert "  hint: go on with: tunekit " in command.errors
    assert "Traceback" not in command.errors
    assert command.out.read_text() == ""
    assert still_running(family) == []
    said = [int(n) for n in re.findall(r"^(\d+)/24 trials", command.errors, re.M)]
    assert max(said) <= place.count() < 24
    with Catalogue.open(place.ledger, create=False) as catalogue:
        assert catalogue.maintenance.check() == []
        (session,) = catalogue.sessions.list()
        assert session.state == "interrupted"
        assert session.trials_done == place.count()


@pytest.mark.timeout(900)
def test_a_second_ctrl_c_stops_at_once_and_keeps_what_was_measured(place: Place) -> None:
    """One candidate takes longer than anyone would wait; its batch is not waited for."""
    command = place.start(
        *("tune", place.recipe("slow", 15, model="one"), "--min-repeat-ms", "1000"),
        *("--repeat", "4", "--timeout", "60"),
    )
    wait_until(lambda: place.count() >= 1)
    family = command.family()
    command.send(signal.SIGINT)
    wait_until(lambda: "once more stops at once" in command.errors)
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert f"error: stopped at once after {place.count()} trials" in command.errors
    assert "  hint: go on with: tunekit resume " in command.errors
    assert "Traceback" not in command.errors
    assert 1 <= place.count() < 4
    assert still_running(family) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", ["layout", "coverage:"])
def test_ctrl_c_before_and_after_the_search_ends_with_130_as_well(
    place: Place, moment: str
) -> None:
    recipe = place.recipe("stopped", 4, model="one")
    command = place.start("tune", recipe)
    wait_until(lambda: moment in command.errors)
    family = command.family()
    command.send(signal.SIGINT)
    assert command.wait() == 130, command.errors
    assert "error: " in command.errors
    assert "Traceback" not in command.errors
    assert still_running(family) == []
    if place.ledger.exists():
        with Catalogue.open(place.ledger, create=False) as catalogue:
            assert catalogue.maintenance.check() == []
            assert {session.state for session in catalogue.sessions.list()} <= {"interrupted"}
