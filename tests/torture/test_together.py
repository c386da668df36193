"""Several commands on one catalogue do not disturb one another."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from killable import Place, wait_until

from tunekit.catalogue import Catalogue


@pytest.mark.timeout(900)
def test_two_recipes_tuned_at_once_on_one_catalogue_lose_no_trial(place: Place) -> None:
    budgets = {"first": (6, "two"), "second": (5, "one")}
    commands = [
        place.start("tune", place.recipe(name, trials, model), "--no-contest")
        for name, (trials, model) in budgets.items()
    ]
    for command in commands:
        assert command.wait() == 0, command.errors

    with Catalogue.open(place.ledger, create=False) as catalogue:
        assert catalogue.maintenance.check() == []
        sessions = {session.name: session for session in catalogue.sessions.list()}
        spent = {
            name: len(list(catalogue.trials.read(session_id=sessions[name].id)))
            for name in sessions
        }
    assert spent == {name: trials for name, (trials, _) in budgets.items()}
    assert {session.state for session in sessions.values()} == {"finished"}
    assert place.count() == sum(spent.values())
    twice = Counter((trial.structural_hash, trial.candidate_digest) for trial in place.trials())
    assert max(twice.values()) == 1
    for name in budgets:
        assert place.manifest(name)["coverage"] == 1.0


@pytest.mark.timeout(900)
def test_a_session_that_runs_is_refused_to_others_and_free_the_moment_it_dies(place: Place) -> None:
    recipe = place.recipe("contested", 400, model="one")
    owner = place.start("tune", recipe)
    wait_until(lambda: place.count() >= 1)
    with Catalogue.open(place.ledger, create=False) as catalogue:
        (session,) = catalogue.sessions.list()
    rival = place.start("resume", session.id, "--catalogue", str(place.ledger))
    code = rival.wait()
    assert code != 0
    assert f"error: session {session.id} is being run by process {owner.pid}" in rival.errors
    assert "  hint: " in rival.errors
    assert "Traceback" not in rival.errors

    assert owner.kill() == -signal.SIGKILL
    left = place.count()
    heir = place.start("resume", session.id, "--catalogue", str(place.ledger))
    wait_until(lambda: place.count() > left)
    with Catalogue.open(place.ledger, create=False) as catalogue:
        (session,) = catalogue.sessions.list()
        assert (session.state, session.pid) == ("running", heir.pid)
    heir.kill()
