"""Catalogues of older versions come along with everything in them, or stay as they were.

assets/catalogue-0001.sql was dumped from a catalogue that the first version wrote: the sessions
"first" (finished), "second" (interrupted) and "both" (its process died), with failures, reuses,
winners, a library and a benchmark. The kernel that "first" calls matmul_relu is there in two texts,
by other names in "second", and both in "both".
"""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from tunekit.catalogue import Catalogue, FailureKind, UpgradeResult, upgrade
from tunekit.catalogue.db import migrate
from tunekit.catalogue.process_owner import this_process
from tunekit.errors import CatalogueError

DUMP = Path(__file__).parent / "assets" / "catalogue-0001.sql"
PROGRAM = """\
import sys
from tunekit.catalogue import upgrade
from tunekit.errors import CatalogueError
try:
    done = upgrade(sys.argv[1], backed_up=True)
except CatalogueError as error:
    sys.exit(f"error: {error.message}")
print(done.from_revision, done.to_revision, done.backup or "")
"""
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A catalogue of the first revision, on SQLite."""
    return restored(tmp_path / "catalogue.db")


@pytest.fixture
def old_url(url: str) -> str:
    """A catalogue of the first revision, on either database."""
    if "://" not in url:
        return str(restored(Path(url)))
    source = sqlalchemy.create_engine("sqlite://")
    target = sqlalchemy.create_engine(url)
    with source.connect() as reader, target.begin() as writer:
        reader.connection.driver_connection.executescript(DUMP.read_text())  # type: ignore[union-attr]
        migrate.upgrade(writer, "0001")
        tables = sqlalchemy.MetaData()
        tables.reflect(reader)
        for table in tables.sorted_tables:
            rows = [dict(row) for row in reader.execute(table.select()).mappings()]
            if table.name != "catalogue_version":
                writer.execute(table.insert(), rows)
                writer.execute(
                    text(f"SELECT setval('{table.name}_id_seq', max(id)) FROM {table.name}")
                )
    source.dispose()
    target.dispose()
    return url


def restored(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text())
    return path


def contents(url: str | Path) -> Rows:
    """Every row of every table, by id."""
    engine = sqlalchemy.create_engine(str(url) if "://" in str(url) else f"sqlite:///{url}")
    tables = sqlalchemy.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        rows: Rows = {
            table.name: [
                dict(row)
                for row in connection.execute(
                    table.select().order_by(next(iter(table.columns)))
                ).mappings()
            ]
            for table in tables.sorted_tables
        }
    engine.dispose()
    return rows


def in_a_process(path: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_old_catalogue_is_not_opened_but_says_how_to_upgrade_it(old_url: str) -> None:
    before = contents(old_url)
    with pytest.raises(CatalogueError, match=r"older tunekit \(revision 0001") as caught:
        Catalogue.open(old_url)
    assert "`tunekit catalogue upgrade`" in (caught.value.hint or "")
    assert contents(old_url) == before


def test_an_upgrade_loses_nothing(old_url: str) -> None:
    before = contents(old_url)

    done = upgrade(old_url, backed_up=True)

    assert (done.from_revision, done.to_revision) == ("0001", migrate.CURRENT)
    after = contents(old_url)
    for table in ("hosts", "toolchains", "models", "targets", "measure_options"):
        assert after[table] == before[table]
    for table in ("sessions", "trials", "winners", "libraries", "bench_runs"):
        changed = {"task_id", "workload_id"}
        assert [
            {name: row[name] for name in old_row if name not in changed}
            for old_row, row in zip(before[table], after[table], strict=True)
        ] == [
            {name: value for name, value in row.items() if name not in changed}
            for row in before[table]
        ]
    with Catalogue.open(old_url, create=False) as catalogue:
        assert catalogue.maintenance.check() == []
        assert [session.name for session in catalogue.sessions.list()] == [
            "both",
            "second",
            "first",
        ]
        assert len(list(catalogue.trials.read())) == 11


def test_two_texts_of_one_kernel_become_one_workload_with_the_trials_of_both(old_url: str) -> None:
    upgrade(old_url, backed_up=True)

    with Catalogue.open(old_url, create=False) as catalogue:
        first, second, both = (s.id for s in reversed(catalogue.sessions.list()))
        kernel, other = catalogue.trials.summaries(first)
        target = catalogue.sessions.get(first).target_json
        (best,) = catalogue.records.best(
            structural_hashes=[kernel.structural_hash], target_json=target, top_k=1
        )
        assert best.samples_s == (1.5e-3, 1.6e-3)  # measured under the other text
        known = catalogue.trials.known(kernel.task_id, ["candidate 2 of lv", "candidate 8 of lv"])
        assert set(known) == {"candidate 2 of lv"}
        # A model that had both runs the one as often as the two together.
        (merged,) = catalogue.trials.summaries(both)
        assert (merged.weight, merged.trials, merged.best_s) == (4.0, 3, 3.5e-3)
        assert merged.failures == {FailureKind.OUT_OF_MEMORY: 1}
        assert catalogue.sessions.get(both).reused == 3  # one of four was taken by both tasks
        assert [task.trials for task in catalogue.trials.summaries(second)] == [3, 0]
        assert other.failures == {FailureKind.BUILD_ERROR: 1}


def test_the_backup_is_the_old_catalogue_with_what_its_log_still_held(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE sessions SET name = 'in the log' WHERE id = 1")
        connection.commit()
        assert b"in the log" not in old.read_bytes()
        before = contents(old)

        done = upgrade(old)

    assert done.backup is not None
    assert done.backup.parent == old.parent
    assert done.backup.match("catalogue.db.0001-*Z.bak")
    assert contents(done.backup) == before
    assert "in the log" in {row["name"] for row in before["sessions"]}
    # And it can be brought back: it is a catalogue like any other of its revision.
    assert upgrade(done.backup).from_revision == "0001"


def test_what_is_up_to_date_stays_as_it_is_without_a_backup(old: Path) -> None:
    upgrade(old)
    before = contents(old)
    files = sorted(old.parent.iterdir())

    assert upgrade(old) == UpgradeResult(str(old), migrate.CURRENT, migrate.CURRENT, None)

    assert contents(old) == before
    assert sorted(old.parent.iterdir()) == files


def test_several_upgrades_at_once_upgrade_once(old_url: str, tmp_path: Path) -> None:
    processes = [in_a_process(old_url) for _ in range(3)]
    answers = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], answers
    revisions = sorted(" ".join(answer.split()[:2]) for answer, _ in answers)
    assert revisions == [f"0001 {migrate.CURRENT}", *[f"{migrate.CURRENT} {migrate.CURRENT}"] * 2]
    assert len(list(tmp_path.glob("*.bak"))) == ("://" not in old_url)
    with Catalogue.open(old_url, create=False) as catalogue:
        assert catalogue.maintenance.check() == []


def test_a_migration_that_fails_leaves_the_old_catalogue_as_it_was(old_url: str) -> None:
    engine = sqlalchemy.create_engine(old_url if "://" in old_url else f"sqlite:///{old_url}")
    with engine.begin() as connection:  # the migration's second step trips over this
        connection.execute(text("ALTER TABLE trials ADD COLUMN slowdown FLOAT"))
    engine.dispose()
    before = contents(old_url)

    with pytest.raises(sqlalchemy.exc.DatabaseError, match="slowdown"):
        upgrade(old_url, backed_up=True)

    assert contents(old_url) == before


def test_an_upgrade_killed_on_the_way_leaves_the_old_catalogue_or_the_new(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection, connection:
        # So that the migration takes a while: workloads.
        connection.executemany(
            "INSERT INTO workloads (structural_hash, content_digest, name, preparation,"
            " module_json) SELECT ?, content_digest, name, preparation, module_json"
            " FROM workloads WHERE id = 1",
            [(f"hash {number}",) for number in range(250)],
        )
    before = contents(old)
    process = in_a_process(old)
    deadline = time.monotonic() + 60
    while not list(old.parent.glob("*.bak")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    (backup,) = old.parent.glob("*.bak")
    assert contents(backup) == before
    if process.returncode == -signal.SIGKILL:  # it may have been quicker
        assert contents(old) == before
    upgrade(old)
    with Catalogue.open(old, create=False) as catalogue:
        assert catalogue.maintenance.check() == []
        assert len(list(catalogue.trials.read())) == 11


def test_without_room_for_the_backup_nothing_is_upgraded(old: Path) -> None:
    before = contents(old)
    limit = 50_000  # bytes in one file: less than the catalogue has
    assert old.stat().st_size > limit
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(old)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert ran.returncode == 1
    assert "was not upgraded, because its backup" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert contents(old) == before
    assert not [file for file in old.parent.iterdir() if "bak" in file.name]


def test_a_catalogue_in_use_is_not_upgraded(old_url: str, tmp_path: Path) -> None:
    me = this_process()
    engine = sqlalchemy.create_engine(old_url if "://" in old_url else f"sqlite:///{old_url}")
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE sessions SET state = 'running', owner_pid = :pid, owner_started = :started,"
                " owner_machine = :machine WHERE id = 2"
            ),
            {"pid": me.pid, "started": me.started, "machine": me.machine},
        )
    engine.dispose()
    before = contents(old_url)

    with pytest.raises(CatalogueError, match=f"process {me.pid} runs session 00000002") as caught:
        upgrade(old_url, backed_up=True)

    assert "Ctrl-C" in (caught.value.hint or "")
    assert contents(old_url) == before
    assert not list(tmp_path.glob("*.bak"))


def test_a_server_is_upgraded_only_after_its_owner_backed_it_up(old_url: str) -> None:
    if "://" not in old_url:
        assert upgrade(old_url).backup is not None
        return
    before = contents(old_url)
    with pytest.raises(CatalogueError, match="does not back up") as caught:
        upgrade(old_url)
    assert "pg_dump" in (caught.value.hint or "")
    assert contents(old_url) == before
    assert upgrade(old_url, backed_up=True).backup is None


def test_a_damaged_module_comes_along_and_is_named_by_the_check(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE workloads SET module_json = x'00' WHERE id = 2")
    upgrade(old)
    with Catalogue.open(old, create=False) as catalogue:
        assert catalogue.maintenance.check() == ["workload 2 has a damaged module"]


def missing(path: Path) -> None: ...


def newer(path: Path) -> None:
    Catalogue.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE catalogue_version SET version_num = '9999'")


def photos(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE photos (id INTEGER)")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "there is no catalogue"),
        (Path.touch, "empty database"),
        (newer, r"newer tunekit \(schema revision 9999"),
        (photos, "not a catalogue"),
    ],
)
def test_what_cannot_be_upgraded_is_refused_with_the_reason(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "some.db"
    make(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(CatalogueError, match=reason):
        upgrade(path)
    assert (path.read_bytes() if path.exists() else None) == before
    assert not list(tmp_path.glob("*.bak*"))


def test_the_command_upgrades_and_says_where_the_backup_is(old: Path) -> None:
    command = [sys.executable, "-m", "tunekit", "catalogue", "upgrade", "--catalogue", str(old)]
    first, second = (subprocess.run(command, capture_output=True, text=True) for _ in range(2))

    (backup,) = old.parent.glob("*.bak")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == f"{old}: schema revision 0001, now {migrate.CURRENT}\n"
    assert str(backup) in first.stderr.replace("\n", "")
    assert "up to date" in second.stdout
