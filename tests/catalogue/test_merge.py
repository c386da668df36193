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
from tunekit.catalogue.queries.listing import RecordFilter
from tunekit.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.catalogue.conftest import Examples


def fill(catalogue: Catalogue, new: Examples) -> str:
    """A bit of everything; the id of the session."""
    session = catalogue.begin_session(new.session())
    tasks = catalogue.ensure_tasks(session.id, new.tasks(2))
    ids = catalogue.add_trials(
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
    catalogue.add_winner(ids[0], [1.5e-3, 2e-3])
    catalogue.add_seconds(session.id, {"search": 3.5})
    catalogue.close_session(session.id, "finished")
    library = catalogue.add_library(
        NewLibrary("small", "a/model.so", "ab" * 32, "recipe", {"coverage": 1.0}, session.id)
    )
    catalogue.add_bench_run(
        NewBenchRun("small", "recipe", {"cores": 2}, "host", {}, {}, {"tuned": [1.0]}, library)
    )
    later = catalogue.begin_session(new.session(recipe_digest="later"))
    (task,) = catalogue.ensure_tasks(later.id, new.tasks(1))
    catalogue.reuse_trials(task, ids[:1])
    catalogue.close_session(later.id, "finished")
    return session.id


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "other.db") as opened:
        yield opened


def test_everything_is_taken_in_once(catalogue: Catalogue, other: Catalogue, new: Examples) -> None:
    session = fill(other, new)
    # Other numbers here than there.
    mine = catalogue.begin_session(new.session(recipe_digest="mine"))
    (task,) = catalogue.ensure_tasks(mine.id, [new.task("hash1")])
    catalogue.add_trials(mine.id, [new.trial(task, 9e-3)])
    catalogue.close_session(mine.id, "finished")
    merged = catalogue.merge(other)
    assert merged == merge.Merged(
        sessions=2, trials=3, winners=1, reuses=1, libraries=1, bench_runs=1
    )
    assert catalogue.check() == []
    theirs, ours = other.session(session), catalogue.session(session)
    assert ours == theirs
    assert ours.seconds == {"search": 3.5}
    assert [
        (trial.position, trial.candidate_digest, trial.failure, trial.samples_s)
        for trial in catalogue.trials(session_id=session)
    ] == [
        (trial.position, trial.candidate_digest, trial.failure, trial.samples_s)
        for trial in other.trials(session_id=session)
    ]
    facts, theirs_facts = catalogue.facts(), other.facts()
    assert facts.rows["workloads"] == theirs_facts.rows["workloads"]
    assert facts.rows["hosts"] == theirs_facts.rows["hosts"]
    assert catalogue.merge(other).nothing
    assert catalogue.facts().rows == facts.rows


def test_a_copy_that_went_on_brings_the_rest_home(
    catalogue: Catalogue, other: Catalogue, new: Examples
) -> None:
    session = fill(other, new)
    catalogue.merge(other)
    for place, seconds in ((other, 7e-3), (catalogue, 8e-3)):
        place.resume_session(session)
        tasks = place.ensure_tasks(session, new.tasks(2))
        place.add_trials(session, [new.trial(tasks[0], seconds)])
        place.set_budget(session, 100 if place is other else 50)
        place.close_session(session, "finished")
    assert catalogue.merge(other).trials == 1
    assert catalogue.check() == []
    info = catalogue.session(session)
    assert (info.trials_done, info.failures) == (5, 1)
    assert catalogue.merge(other).nothing
    # And the other way round.
    assert other.merge(catalogue).trials == 1
    assert other.check() == []


def test_another_session_of_the_same_name_gets_a_new_one(
    tmp_path: Path, other: Catalogue, new: Examples
) -> None:
    session = fill(other, new)
    with Catalogue.open(tmp_path / "mine.db") as mine:
        own = mine.begin_session(new.session(recipe_digest="unrelated"))
        mine.close_session(own.id, "finished")
        with closing(sqlite3.connect(tmp_path / "mine.db")) as raw:
            raw.execute("UPDATE sessions SET public_id = ?", (session,))
            raw.commit()
        merged = mine.merge(other)
        ((old, renamed),) = merged.renamed
        assert old == session != renamed
        assert mine.session(session).recipe_digest == "unrelated"
        assert mine.session(renamed).trials_done == 3
        assert mine.merge(other).nothing
        assert mine.check() == []


def test_a_session_that_runs_here_is_not_changed(
    catalogue: Catalogue, other: Catalogue, new: Examples
) -> None:
    running = catalogue.begin_session(new.session())
    (task,) = catalogue.ensure_tasks(running.id, new.tasks(1))
    other.merge(catalogue)
    (copied,) = other.ensure_tasks(running.id, new.tasks(1))
    other.add_trials(running.id, [new.trial(copied)])
    with pytest.raises(CatalogueError, match="is being run by process"):
        catalogue.merge(other)
    assert catalogue.session(running.id).trials_done == 0
    catalogue.add_trials(running.id, [new.trial(task, 5e-3)])
    catalogue.close_session(running.id, "finished")
    assert catalogue.merge(other).trials == 1
    assert catalogue.check() == []


def test_a_catalogue_is_not_merged_into_itself(tmp_path: Path, other: Catalogue) -> None:
    with (
        Catalogue.open(tmp_path / "other.db") as same,
        pytest.raises(CatalogueError, match="itself"),
    ):
        other.merge(same)


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
        acknowledged = other.facts().records
        other.backup(tmp_path / "copy.db")
        process.kill()
    with Catalogue.open(tmp_path / "copy.db", create=False) as copy:
        assert copy.check() == []
        assert copy.facts().records >= acknowledged
        # A multiple of what is written at a time, besides the two that were there before.
        assert (copy.facts().records - 2) % 5 == 0
    assert other.check() == []


def test_a_backup_replaces_a_file_only_by_force(
    other: Catalogue, tmp_path: Path, new: Examples
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CatalogueError, match="exists already"):
        other.backup(tmp_path / "mine.txt")
    with pytest.raises(CatalogueError, match="is the catalogue itself"):
        other.backup(tmp_path / "other.db", force=True)
    with pytest.raises(CatalogueError, match="is a folder"):
        other.backup(tmp_path, force=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    fill(other, new)
    size = other.backup(tmp_path / "mine.txt", force=True)
    assert (tmp_path / "mine.txt").stat().st_size == size
    with Catalogue.open(tmp_path / "mine.txt", create=False) as copy:
        assert copy.facts().rows == other.facts().rows
    assert not list(tmp_path.glob(".tunekit*"))


def test_vacuum_removes_what_nothing_refers_to(catalogue: Catalogue, new: Examples) -> None:
    fill(catalogue, new)
    assert catalogue.vacuum() == {}
    session = catalogue.begin_session(
        new.session(origin="import", model_digest=None, host_fingerprint="elsewhere")
    )
    (task,) = catalogue.ensure_tasks(session.id, [new.task("gone", "x" * 100_000)])
    catalogue.add_trials(session.id, [new.trial(task, measure_options={"repeat": 99})])
    catalogue.close_session(session.id, "finished")
    catalogue.remove_records(RecordFilter(session=session.id))
    assert catalogue.vacuum() == {"workloads": 1, "measure_options": 1, "hosts": 1}
    assert catalogue.check() == []
    assert catalogue.facts().free_bytes == 0
