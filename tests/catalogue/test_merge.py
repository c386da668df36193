"""Catalogues that come together, and copies of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunekit.catalogue import Catalogue, Failure, FailureKind, NewBenchRun, NewLibrary
from tunekit.catalogue.queries import merge
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.catalogue.conftest import Examples


def fill(catalogue: Catalogue, new: Examples) -> str:
    """A bit of everything; the id of the session."""
    session = catalogue.sessions.begin(new.session())
    tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
    ids = catalogue.trials.add(
        session.id,
        [
            new.trial(tasks[0], 2e-3),
            new.trial(tasks[1], 3e-3),
            new.trial(
                tasks[1],
                candidate_digest="bad",
                samples_s=None,
                failure=Failure(FailureKind.CRASH, "SIGSEGV"),
            ),
        ],
    )
    catalogue.records.add_winner(ids[0], [1.5e-3, 2e-3])
    catalogue.sessions.add_seconds(session.id, {"search": 3.5})
    catalogue.sessions.close(session.id, "finished")
    library = catalogue.libraries.add(
        NewLibrary("small", "a/model.so", "ab" * 32, "recipe", {"coverage": 1.0}, session.id)
    )
    catalogue.benchmarks.add(
        NewBenchRun("small", "recipe", {"cores": 2}, "host", {}, {}, {"tuned": [1.0]}, library)
    )
    later = catalogue.sessions.begin(new.session(recipe_digest="later"))
    (task,) = catalogue.trials.ensure_tasks(later.id, new.tasks(1))
    catalogue.trials.reuse(task, ids[:1])
    catalogue.sessions.close(later.id, "finished")
    return session.id


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "other.db") as opened:
        yield opened


def test_everything_is_taken_in_once(catalogue: Catalogue, other: Catalogue, new: Examples) -> None:
    session = fill(other, new)
    # Other numbers here than there.
    mine = catalogue.sessions.begin(new.session(recipe_digest="mine"))
    (task,) = catalogue.trials.ensure_tasks(mine.id, [new.task("hash1")])
    catalogue.trials.add(mine.id, [new.trial(task, 9e-3)])
    catalogue.sessions.close(mine.id, "finished")
    merged = catalogue.maintenance.merge(other.maintenance)
    assert merged == merge.Merged(
        sessions=2, trials=3, winners=1, reuses=1, libraries=1, bench_runs=1
    )
    assert catalogue.maintenance.check() == []
    theirs, ours = other.sessions.get(session), catalogue.sessions.get(session)
    assert ours == theirs
    assert ours.seconds == {"search": 3.5}
    assert [
        (trial.position, trial.candidate_digest, trial.failure, trial.samples_s)
        for trial in catalogue.trials.read(session_id=session)
    ] == [
        (trial.position, trial.candidate_digest, trial.failure, trial.samples_s)
        for trial in other.trials.read(session_id=session)
    ]
    facts, theirs_facts = catalogue.maintenance.facts(), other.maintenance.facts()
    assert facts.rows["workloads"] == theirs_facts.rows["workloads"]
    assert facts.rows["hosts"] == theirs_facts.rows["hosts"]
    assert catalogue.maintenance.merge(other.maintenance).nothing
    assert catalogue.maintenance.facts().rows == facts.rows


def test_a_copy_that_went_on_brings_the_rest_home(
    catalogue: Catalogue, other: Catalogue, new: Examples
) -> None:
    session = fill(other, new)
    catalogue.maintenance.merge(other.maintenance)
    for place, seconds in ((other, 7e-3), (catalogue, 8e-3)):
        place.sessions.resume(session)
        tasks = place.trials.ensure_tasks(session, new.tasks(2))
        place.trials.add(session, [new.trial(tasks[0], seconds)])
        place.sessions.set_budget(session, 100 if place is other else 50)
        place.sessions.close(session, "finished")
    assert catalogue.maintenance.merge(other.maintenance).trials == 1
    assert catalogue.maintenance.check() == []
    info = catalogue.sessions.get(session)
    assert (info.trials_done, info.failures) == (5, 1)
    assert catalogue.maintenance.merge(other.maintenance).nothing
    # And the other way round.
    assert other.maintenance.merge(catalogue.maintenance).trials == 1
    assert other.maintenance.check() == []


def test_another_session_of_the_same_name_gets_a_new_one(
    tmp_path: Path, other: Catalogue, new: Examples
) -> None:
    session = fill(other, new)
    with Catalogue.open(tmp_path / "mine.db") as mine:
        own = mine.sessions.begin(new.session(recipe_digest="unrelated"))
        mine.sessions.close(own.id, "finished")
        with closing(sqlite3.connect(tmp_path / "mine.db")) as raw:
            raw.execute("UPDATE sessions SET public_id = ?", (session,))
            raw.commit()
        merged = mine.maintenance.merge(other.maintenance)
        ((old, renamed),) = merged.renamed
        assert old == session != renamed
        assert mine.sessions.get(session).recipe_digest == "unrelated"
        assert mine.sessions.get(renamed).trials_done == 3
        assert mine.maintenance.merge(other.maintenance).nothing
        assert mine.maintenance.check() == []


def test_a_session_that_runs_here_is_not_changed(
    catalogue: Catalogue, other: Catalogue, new: Examples
) -> None:
    running = catalogue.sessions.begin(new.session())
    (task,) = catalogue.trials.ensure_tasks(running.id, new.tasks(1))
    other.maintenance.merge(catalogue.maintenance)
    (copied,) = other.trials.ensure_tasks(running.id, new.tasks(1))
    other.trials.add(running.id, [new.trial(copied)])
    with pytest.raises(CatalogueError, match="is being run by process"):
        catalogue.maintenance.merge(other.maintenance)
    assert catalogue.sessions.get(running.id).trials_done == 0
    catalogue.trials.add(running.id, [new.trial(task, 5e-3)])
    catalogue.sessions.close(running.id, "finished")
    assert catalogue.maintenance.merge(other.maintenance).trials == 1
    assert catalogue.maintenance.check() == []


def test_a_catalogue_is_not_merged_into_itself(tmp_path: Path, other: Catalogue) -> None:
    with (
        Catalogue.open(tmp_path / "other.db") as same,
        pytest.raises(CatalogueError, match="itself"),
    ):
        other.maintenance.merge(same.maintenance)


def test_a_backup_is_whole_although_another_process_writes(
    other: Catalogue, tmp_path: Path, new: Examples
) -> None:
    fill(other, new)
    writer = Path(__file__).parents[1] / "support" / "writer.py"
    command = [sys.executable, str(writer), str(tmp_path / "other.db"), "busy", "1000000", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("ack"):
            assert line, "the writer ended"
        acknowledged = other.maintenance.facts().records
        other.maintenance.backup(tmp_path / "copy.db")
        process.kill()
    with Catalogue.open(tmp_path / "copy.db", create=False) as copy:
        assert copy.maintenance.check() == []
        assert copy.maintenance.facts().records >= acknowledged
        # A multiple of what is written at a time, besides the two that were there before.
        assert (copy.maintenance.facts().records - 2) % 5 == 0
    assert other.maintenance.check() == []


def test_a_backup_replaces_a_file_only_by_force(
    other: Catalogue, tmp_path: Path, new: Examples
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CatalogueError, match="exists already"):
        other.maintenance.backup(tmp_path / "mine.txt")
    with pytest.raises(CatalogueError, match="is the catalogue itself"):
        other.maintenance.backup(tmp_path / "other.db", force=True)
    with pytest.raises(CatalogueError, match="is a folder"):
        other.maintenance.backup(tmp_path, force=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    fill(other, new)
    size = other.maintenance.backup(tmp_path / "mine.txt", force=True)
    assert (tmp_path / "mine.txt").stat().st_size == size
    with Catalogue.open(tmp_path / "mine.txt", create=False) as copy:
        assert copy.maintenance.facts().rows == other.maintenance.facts().rows
    assert not list(tmp_path.glob(".tunekit*"))


def test_vacuum_removes_what_nothing_refers_to(catalogue: Catalogue, new: Examples) -> None:
    fill(catalogue, new)
    assert catalogue.maintenance.vacuum() == {}
    session = catalogue.sessions.begin(
        new.session(origin="import", model_digest=None, host_fingerprint="elsewhere")
    )
    (task,) = catalogue.trials.ensure_tasks(session.id, [new.task("gone", "x" * 100_000)])
    catalogue.trials.add(session.id, [new.trial(task, measure_options={"repeat": 99})])
    catalogue.sessions.close(session.id, "finished")
    catalogue.records.remove(RecordFilter(session=session.id))
    assert catalogue.maintenance.vacuum() == {"workloads": 1, "measure_options": 1, "hosts": 1}
    assert catalogue.maintenance.check() == []
    assert catalogue.maintenance.facts().free_bytes == 0
