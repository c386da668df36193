"""What can be opened as a catalogue, and how everything else is refused."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunekit.catalogue import Catalogue
from tunekit.catalogue.db import migrate
from tunekit.errors import CatalogueError

if TYPE_CHECKING:
    from tests.catalogue.conftest import Examples


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_new_catalogue_is_made_with_its_folders_and_opened_again(
    tmp_path: Path, new: Examples
) -> None:
    path = tmp_path / "tuning logs" / "100 %" / "catalogue?.db"
    with Catalogue.open(path) as catalogue:
        session = catalogue.sessions.begin(new.session())
    with Catalogue.open(f"{path}", create=False) as catalogue:
        assert catalogue.sessions.get(session.id).name == "small"
        assert catalogue.location == str(path)


def test_an_sqlalchemy_url_names_the_same_file_as_its_path(tmp_path: Path, new: Examples) -> None:
    path = tmp_path / "catalogue.db"
    with Catalogue.open(f"sqlite:///{path}") as catalogue:
        catalogue.sessions.begin(new.session())
    with Catalogue.open(path, create=False) as catalogue:
        assert len(catalogue.sessions.list()) == 1


def test_an_empty_file_becomes_a_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    path.touch()
    with Catalogue.open(path) as catalogue:
        assert catalogue.maintenance.check() == []


def test_a_catalogue_in_memory_works_while_it_is_open(new: Examples) -> None:
    with Catalogue.open("sqlite://") as catalogue:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        catalogue.trials.add(session.id, [new.trial(task)])
        assert len(list(catalogue.trials.read())) == 1


def test_without_permission_to_make_one_a_missing_catalogue_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "catalogue.db"
    with pytest.raises(CatalogueError, match="no catalogue at"):
        Catalogue.open(path, create=False)
    assert not path.parent.exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(CatalogueError, match="empty"):
        Catalogue.open(tmp_path / "empty.db", create=False)


class TestRefusedFilesStayAsTheyWere:
    def refused(self, path: Path, reason: str) -> CatalogueError:
        before = path.read_bytes()
        with pytest.raises(CatalogueError, match=reason) as caught:
            Catalogue.open(path)
        assert path.read_bytes() == before
        assert str(path) in caught.value.message
        assert caught.value.hint
        assert caught.value.exit_code == 2
        return caught.value

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not a database, and dear to somebody")
        self.refused(path, "not an SQLite database")
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("journal", ["DELETE", "WAL"])
    def test_another_applications_database(self, tmp_path: Path, journal: str) -> None:
        path = tmp_path / "photos.db"
        execute(path, f"PRAGMA journal_mode = {journal}", "CREATE TABLE photos (id INTEGER)")
        self.refused(path, "not a catalogue .it holds photos")

    def test_a_damaged_database(self, tmp_path: Path) -> None:
        path = tmp_path / "catalogue.db"
        path.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
        self.refused(path, "cannot be used")

    def test_a_catalogue_of_a_newer_version(self, tmp_path: Path, new: Examples) -> None:
        path = tmp_path / "catalogue.db"
        with Catalogue.open(path) as catalogue:
            catalogue.sessions.begin(new.session())
        execute(path, "UPDATE catalogue_version SET version_num = '9999'")
        error = self.refused(
            path, f"newer tunekit .schema revision 9999, this one knows up to {migrate.CURRENT}"
        )
        assert error.hint is not None
        assert "upgrade tunekit" in error.hint

    def test_a_catalogue_without_a_revision(self, tmp_path: Path) -> None:
        path = tmp_path / "catalogue.db"
        Catalogue.open(path).close()
        execute(path, "DELETE FROM catalogue_version")
        self.refused(path, "which revision")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("", "empty"),
        ("/proc/catalogue.db", "cannot be"),
        ("/dev/null/catalogue.db", "cannot be"),
        ("/proc/folder/catalogue.db", "cannot be"),
        ("/tmp", "is a folder"),
        ("nonsense://host/database", "not understood"),
        ("sqlite:////tmp", "is a folder"),
        ("://", "not understood"),
        ("mysql://user:secret@host/database", "mysql"),
        ("oracle://user:secret@host/database", "oracle"),
    ],
)
def test_a_place_that_cannot_be_one_is_refused_with_the_reason(place: str, reason: str) -> None:
    with pytest.raises(CatalogueError, match=reason) as caught:
        Catalogue.open(place)
    assert caught.value.hint
    assert "secret" not in caught.value.message


def test_a_server_that_cannot_be_reached_is_named_without_its_password() -> None:
    url = "postgresql+psycopg://user:secret@127.0.0.1:1/tunekit"
    with pytest.raises(CatalogueError) as caught:
        Catalogue.open(url)
    if importlib.util.find_spec("psycopg") is None:
        assert "not installed" in caught.value.message
    assert "127.0.0.1:1" in caught.value.message
    assert "secret" not in caught.value.message


def test_writing_to_a_read_only_catalogue_says_so_and_reading_works(
    tmp_path: Path, new: Examples
) -> None:
    path = tmp_path / "catalogue.db"
    with Catalogue.open(path) as catalogue:
        catalogue.sessions.begin(new.session())
    with Catalogue.open(f"sqlite:///file:{path}?mode=ro&uri=true") as catalogue:
        assert len(catalogue.sessions.list()) == 1
        with pytest.raises(CatalogueError, match="read-only"):
            catalogue.sessions.begin(new.session())


def test_a_forked_child_cannot_use_its_parents_catalogue(tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "catalogue.db") as catalogue:
        child = os.fork()
        if child == 0:
            try:
                catalogue.sessions.list()
            except RuntimeError:
                os._exit(7)
            finally:
                os._exit(8)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert catalogue.sessions.list() == []


def test_the_catalogue_needs_neither_tvm_nor_torch_nor_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from tunekit.catalogue import Catalogue;"
        f"Catalogue.open({str(tmp_path / 'catalogue.db')!r}).close();"
        "print(*{'tvm', 'torch', 'numpy', 'alembic'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip()) == (0, ""), ran.stderr
