"""Which session `tunekit resume` goes on with, and what it says where it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tunekit.catalogue import Catalogue, NewSession, SessionInfo
from tunekit.errors import CatalogueError, UsageError
from tunekit.machine.host import detect_host
from tunekit.recipe import dump_recipe, load_recipe
from tunekit.sessions.resume import (
    folder_of,
    folders_of_session,
    library_folder_of,
    recipe_of,
    session_to_resume,
)

WRITER = Path(__file__).parents[1] / "support" / "writer.py"
HOST = detect_host()

Begin = Callable[..., SessionInfo]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


@pytest.fixture
def catalogue(place: Path) -> Iterator[Catalogue]:
    with Catalogue.open(place) as opened:
        yield opened


@pytest.fixture
def begin(catalogue: Catalogue, recipe_file: Path) -> Begin:
    """Begins sessions and leaves them in a state."""
    folders = folders_of_session(recipe_file.parent, recipe_file.parent / "library")
    text = folders + dump_recipe(load_recipe(recipe_file))

    def begin(state: str = "interrupted", **changes: object) -> SessionInfo:
        new = NewSession(
            name="small",
            recipe_yaml=text,
            recipe_digest="recipe",
            model_digest="model",
            model_name="resnet18",
            target_json="{}",
            host=HOST.as_dict(),
            host_fingerprint=HOST.fingerprint,
            toolchain={},
            budget_trials=8,
            seed=0,
        )
        session = catalogue.sessions.begin(replace(new, **changes))  # type: ignore[arg-type]
        if state != "running":
            catalogue.sessions.close(session.id, state)  # type: ignore[arg-type]
        return session

    return begin


def test_a_session_knows_its_recipe_and_the_folder_it_was_begun_in(
    begin: Begin, recipe_file: Path
) -> None:
    session = begin()
    assert recipe_of(session) == load_recipe(recipe_file)
    assert folder_of(session) == recipe_file.parent
    assert library_folder_of(session) == recipe_file.parent / "library"
    older = replace(session, recipe_yaml="name: small\n")
    assert folder_of(older) is library_folder_of(older) is None


def test_a_folder_may_have_any_name() -> None:
    folder = Path('/a "b"\n#c: é')
    lines = folders_of_session(folder, folder / "é")
    assert lines.count("\n") == 2
    session: SessionInfo = object.__new__(SessionInfo)
    object.__setattr__(session, "recipe_yaml", lines + "name: small\n")
    assert folder_of(session) == folder
    assert library_folder_of(session) == folder / "é"


def test_the_newest_unfinished_session_of_this_machine_is_the_default(
    catalogue: Catalogue, begin: Begin
) -> None:
    begin()
    failed = begin("failed")
    begin("finished")
    begin(host_fingerprint="another machine")
    begin(origin="import")
    begin("running")
    assert session_to_resume(catalogue, None, HOST).id == failed.id


def test_an_id_or_its_beginning_names_a_session(catalogue: Catalogue, begin: Begin) -> None:
    older = begin()
    begin("finished")
    assert session_to_resume(catalogue, older.id, HOST).id == older.id
    assert session_to_resume(catalogue, older.id[:7], HOST).id == older.id
    with pytest.raises(CatalogueError, match="there is no session 'xyz'"):
        session_to_resume(catalogue, "xyz", HOST)


def test_where_nothing_is_unfinished_it_says_so(catalogue: Catalogue, begin: Begin) -> None:
    with pytest.raises(UsageError, match="has no unfinished session of this machine") as raised:
        session_to_resume(catalogue, None, HOST)
    assert "`tunekit tune RECIPE` begins one" in (raised.value.hint or "")
    begin("finished")
    with pytest.raises(UsageError, match="has no unfinished session"):
        session_to_resume(catalogue, None, HOST)


def test_a_finished_session_needs_a_larger_budget(catalogue: Catalogue, begin: Begin) -> None:
    done = begin("finished")
    with pytest.raises(UsageError, match=f"session {done.id} is finished: 0 of 8") as raised:
        session_to_resume(catalogue, done.id, HOST)
    assert f"tunekit resume {done.id} --trials N" in (raised.value.hint or "")
    assert session_to_resume(catalogue, done.id, HOST, more=True).id == done.id


def test_a_session_of_another_machine_stays_there(catalogue: Catalogue, begin: Begin) -> None:
    session = begin(host={"cpu_name": "Big Iron"}, host_fingerprint="another machine")
    with pytest.raises(UsageError, match="another kind of machine, Big Iron"):
        session_to_resume(catalogue, session.id, HOST)


def test_a_session_that_a_living_process_runs_is_left_to_it(
    catalogue: Catalogue, place: Path
) -> None:
    command = [sys.executable, str(WRITER), str(place), "recipe", "1000000", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        session_id = process.stdout.readline().split()[1]
        words = f"session {session_id} is being run by process {process.pid}"
        with pytest.raises(UsageError, match=words):
            session_to_resume(catalogue, session_id, HOST)
        process.kill()


def test_an_import_has_nothing_to_search(catalogue: Catalogue, begin: Begin) -> None:
    imported = begin(origin="import")
    with pytest.raises(UsageError, match="is an import, not a search"):
        recipe_of(imported)
