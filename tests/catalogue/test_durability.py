"""What has been acknowledged is there: after a kill at any moment, after the disk was full."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tunekit.catalogue import Catalogue

WRITER = Path(__file__).parents[1] / "support" / "writer.py"


def command(path: Path, recipe: str, calls: int) -> list[str]:
    return [sys.executable, str(WRITER), str(path), recipe, str(calls), "8"]


def acknowledged_ids(output: str) -> set[int]:
    """The ids in the writer's complete lines; what a kill tore off was not acknowledged."""
    complete = output[: output.rfind("\n") + 1].splitlines()
    return {int(word) for line in complete if line.startswith("ack") for word in line.split()[1:]}


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_moment_loses_nothing_that_was_acknowledged(
    tmp_path: Path, kills: int
) -> None:
    path = tmp_path / "catalogue.db"
    generator = random.Random(0)
    acknowledged: set[int] = set()
    for kill in range(kills):
        with subprocess.Popen(
            command(path, f"recipe{kill}", 1_000_000), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            started = process.stdout.readline()  # it takes most of a second to get there
            # At any moment from the first write on; every other time from the first trials on,
            # which a slow disk may be long in coming to.
            if kill % 2:
                started += process.stdout.readline()
            timer = threading.Timer(generator.uniform(0, 0.25), process.kill)
            timer.start()
            output = started + process.stdout.read()
            timer.join()
        assert process.returncode == -9
        acknowledged |= acknowledged_ids(output)

        with Catalogue.open(path, create=False) as catalogue:
            stored = {trial.trial_id for trial in catalogue.trials.read()}
            assert acknowledged <= stored
            # At most the call that was killed before it could say so.
            assert len(stored - acknowledged) <= 8 * (kill + 1)
            assert catalogue.maintenance.check() == []
            assert catalogue.sessions.list()[0].state == "interrupted"
    assert acknowledged


def test_a_process_killed_while_it_makes_a_catalogue_leaves_one_that_opens(tmp_path: Path) -> None:
    program = "import sys; from tunekit.catalogue import Catalogue;" + (
        "print('ready', flush=True);"
        "n = 0\nwhile True: Catalogue.open(f'{sys.argv[1]}/{n}.db').close(); n += 1"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 120
        while not (tmp_path / "3.db").exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(random.Random(1).uniform(0, 0.02))
        process.kill()
    made = sorted(tmp_path.glob("*.db"), key=lambda path: int(path.stem))
    assert len(made) > 3
    for path in made[-2:]:
        with Catalogue.open(path) as catalogue:
            assert catalogue.maintenance.check() == []


def test_what_a_killed_writer_left_half_done_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    program = (
        "import os, signal, sqlite3, sys;"
        "file = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "file.execute('PRAGMA user_version = 1');"
        "file.execute('PRAGMA cache_size = 1');"  # the pages reach the file before any commit
        "file.execute('BEGIN'); file.execute('CREATE TABLE half (done)');"
        "file.executemany('INSERT INTO half VALUES (zeroblob(4000))', [()] * 9);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert path.with_name("catalogue.db-journal").stat().st_size > 0

    with Catalogue.open(path) as catalogue:
        assert catalogue.maintenance.check() == []
        assert catalogue.sessions.list() == []


def test_a_full_disk_is_named_and_everything_before_it_kept(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    limit = 600_000  # bytes in one file, the closest to a full disk that needs no privileges

    ran = subprocess.run(
        command(path, "recipe", 1_000_000),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )

    assert ran.returncode == 1, ran.stderr
    assert "error: the catalogue" in ran.stderr
    assert "full" in ran.stderr
    assert "hint: free some space" in ran.stderr
    assert "Traceback" not in ran.stderr
    acknowledged = acknowledged_ids(ran.stdout)
    assert acknowledged
    with Catalogue.open(path, create=False) as catalogue:
        assert {trial.trial_id for trial in catalogue.trials.read()} == acknowledged
        assert catalogue.maintenance.check() == []
        (session,) = catalogue.sessions.list()
        assert catalogue.sessions.resume(session.id).trials_done == len(acknowledged)
