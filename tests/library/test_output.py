"""What a library's folder holds after another library was written there."""

from __future__ import annotations

import errno
import resource
import shutil
from pathlib import Path

import pytest

from tunekit.errors import TunekitError
from tunekit.library import Library, load_manifest
from tunekit.library.manifest import MANIFEST_FILE, SizeEntry
from tunekit.library.output import EXPLANATION_FILE, library_folder, replacing
from tunekit.recipe import Recipe, override


@pytest.fixture
def folder(compiled: tuple[Recipe, Library], tmp_path: Path) -> Path:
    """A copy of a library's folder, with a file of the user's."""
    folder = tmp_path / "library"
    shutil.copytree(compiled[1].folder, folder)
    (folder / "bench.json").write_text("mine")
    (folder / EXPLANATION_FILE).write_text("of the old library")
    return folder


def test_a_recipes_output_may_be_in_the_home_folder(
    compiled: tuple[Recipe, Library], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = override(compiled[0], {"output": "~/libraries"})
    assert library_folder(recipe) == tmp_path / "libraries" / recipe.name


def test_of_the_old_library_nothing_stays(folder: Path) -> None:
    manifest = load_manifest(folder)
    assert manifest.standalone is not None
    assert (folder / manifest.standalone.library).is_file()
    with replacing(folder) as new:
        (new / manifest.library).write_text("other code")
        manifest.model_copy(update={"standalone": None}).write(new)
    # A program that links against it would run the old model.
    assert not (folder / manifest.standalone.library).exists()
    assert not (folder / EXPLANATION_FILE).exists()
    assert (folder / manifest.library).read_text() == "other code"
    assert (folder / "bench.json").read_text() == "mine"
    assert load_manifest(folder).standalone is None


def test_an_explanation_goes_with_a_library_that_another_tunekit_wrote(folder: Path) -> None:
    manifest = load_manifest(folder)
    (folder / MANIFEST_FILE).write_text("{}")
    with replacing(folder) as new:
        (new / manifest.library).write_text("other code")
        manifest.write(new)
    assert not (folder / EXPLANATION_FILE).exists()


def test_of_its_sizes_explanations_go_with_them(folder: Path) -> None:
    manifest = load_manifest(folder)
    of_size = folder / "library-batch4"
    shutil.copytree(folder, of_size)
    entry = SizeEntry(size={"batch": 4}, folder=of_size.name, sha256=manifest.sha256)
    manifest.model_copy(update={"sizes": (entry,)}).write(folder)
    with replacing(folder) as new:
        (new / manifest.library).write_text("other code")
        manifest.write(new)
    assert not (of_size / EXPLANATION_FILE).exists()
    assert (of_size / "bench.json").read_text() == "mine"


def test_a_full_disk_is_said_and_the_old_library_stays(folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with (
            pytest.raises(TunekitError, match="could not be written: File too large") as caught,
            replacing(folder) as new,
        ):
            (new / "model.so").write_bytes(bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
