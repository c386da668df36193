"""The disk fills up in the middle of a session: a message, and nothing measured before it lost."""

from __future__ import annotations

import re

import psutil
import pytest
from killable import Place, still_running, wait_until

from tunekit.catalogue import Catalogue

_BUDGET = 10


@pytest.mark.timeout(900)
def test_a_full_disk_is_told_and_the_session_goes_on_once_there_is_room(place: Place) -> None:
    recipe = place.recipe("cramped", _BUDGET, model="one")
    command = place.start("tune", recipe)
    wait_until(lambda: place.count() >= 2)
    family = command.family()
    # From now on no file of the command may grow: the closest to a full disk that needs no
    # privileges. SQLite meets it in the same call, and says so with the same error.
    full = place.ledger.with_name("ledger.db-wal").stat().st_size
    psutil.Process(command.pid).rlimit(psutil.RLIMIT_FSIZE, (full, full))

    assert command.wait() == 1, command.errors
    assert "error: the catalogue ledger.db cannot be used: " in command.errors
    assert "full" in command.errors
    assert "  hint: free some space and run the command again" in command.errors
    assert "Traceback" not in command.errors
    assert command.out.read_text() == ""
    assert still_running(family) == []
    known = place.count()
    said = [int(n) for n in re.findall(rf"^(\d+)/{_BUDGET} trials", command.errors, re.M)]
    assert max(said) <= known < _BUDGET
    with Catalogue.open(place.ledger, create=False) as catalogue:
        assert catalogue.maintenance.check() == []
        assert [session.state for session in catalogue.sessions.list()] == ["interrupted"]
    before = [trial.trial_id for trial in place.trials()]

    again = place.start("tune", recipe, "--no-contest")
    assert again.wait() == 0, again.errors
    assert f"{known} of {_BUDGET} trials done" in again.errors
    assert [trial.trial_id for trial in place.trials()][:known] == before
    assert place.count() == _BUDGET
    with Catalogue.open(place.ledger, create=False) as catalogue:
        assert catalogue.maintenance.check() == []
        assert [session.state for session in catalogue.sessions.list()] == ["finished"]
