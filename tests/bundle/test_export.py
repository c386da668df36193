"""A bundle is whole and right, or it is not there and the message says why."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from shell import shell

import tunekit
from tunekit.bundle import Bundle, export_library
from tunekit.cli.app import VERBS, load_verb
from tunekit.errors import CompileError, TargetError, TunekitError, UsageError, VerificationFailed
from tunekit.library import Library
from tunekit.machine.host import detect_host

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own(library: Library, tmp_path: Path) -> Library:
    """The library in a folder of the test's own, which may damage it."""
    folder = tmp_path / "library"
    folder.mkdir()
    for file in library.folder.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return Library.open(folder)


def _with(library: Library, **changes: object) -> Library:
    return replace(library, manifest=library.manifest.model_copy(update=changes))


def _names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_every_file_has_its_checksum(exported: Bundle) -> None:
    folder, files = exported.folder, exported.manifest.files
    assert set(files) | {"manifest.json", "SHA256SUMS"} == _names(folder)
    for name, entry in files.items():
        content = (folder / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (
            entry.sha256,
            entry.size_bytes,
        )
    shell("sha256sum", "-c", "SHA256SUMS", cwd=folder)
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_text_for_people_leaves_no_place_unfilled(exported: Bundle) -> None:
    for name in exported.manifest.files:
        if not name.startswith(("lib/lib", "samples/")):
            text = (exported.folder / name).read_text()
            assert "@NAME@" not in text
            assert str(exported.folder.parent) not in text
    text = (exported.folder / "README.md").read_text()
    assert "tiny_net_open(&model, NULL)" in text
    assert f"glibc {exported.manifest.glibc} or newer" in text


def test_the_library_beside_the_manifest_is_the_one_that_ships(
    exported: Bundle, library: Library
) -> None:
    standalone = library.manifest.standalone
    assert standalone is not None
    assert exported.manifest.files["lib/libtiny_net.so"].sha256 == standalone.sha256
    assert exported.manifest.library_sha256 == library.manifest.sha256


def test_a_recipe_is_exported_from_its_folder_without_compiling(
    own: Library, library: Library, tmp_path: Path
) -> None:
    said: list[str] = []

    class Reporter:
        def say(self, line: str) -> None:
            said.append(line)

        def update(self, progress: object) -> None:
            pass

    recipe = tunekit.load_recipe(library.folder / "recipe.yaml", output=library.folder.parent)
    bundle = tunekit.export(recipe, folder=tmp_path / "of recipe", reporter=Reporter())
    assert not [line for line in said if "compiling" in line]
    again = tunekit.export(own.folder, reporter=Reporter())
    assert again.folder == own.folder / "bundle"
    assert again.manifest.files == bundle.manifest.files | {
        name: again.manifest.files[name] for name in ("README.md",)
    }


def test_a_bundle_replaces_a_bundle_but_no_work(own: Library) -> None:
    folder = export_library(own).folder
    (folder / "build").mkdir()
    (folder / "build/main").touch()
    export_library(own)
    assert not (folder / "build").exists()
    example = folder / "example/main.c"
    example.write_text("int main(void) { return 0; }\n")
    (folder / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"changed or added: example/main.c, notes.txt") as caught:
        export_library(own)
    assert "--force" in (caught.value.hint or "")
    assert example.read_text().startswith("int main")
    export_library(own, force=True)
    assert "tiny_net" in example.read_text()
    assert not (folder / "notes.txt").exists()


def test_folders_of_others_are_left_alone(own: Library, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/main.c").touch()
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for place, reason in (
        (tmp_path / "work", "is there, and is no bundle"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file/below", "cannot write"),
        (own.folder, "is there, and is no bundle"),
        (Path("/proc/bundle"), "cannot write"),
        (Path("/proc"), "is a mount point"),
        (tmp_path / ("long" * 100), "cannot write .*: File name too long"),
        (tmp_path / "circle", "links lead in a circle"),
    ):
        with pytest.raises(UsageError, match=reason):
            export_library(own, folder=place, force=True)
    assert _names(tmp_path / "work") == {"main.c"}
    (tmp_path / "empty").mkdir()
    assert export_library(own, folder=tmp_path / "empty").manifest.kind == "standalone"


_MOUNTED = """\
import sys
from pathlib import Path

from tunekit.bundle.place import whole_folder
from tunekit.errors import TunekitError

try:
    with whole_folder(Path(sys.argv[1])) as new:
        (new / "file").touch()
except TunekitError as error:
    print(f"{error.message}; {error.hint}")
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_folder_that_cannot_be_moved_is_told_and_left_alone(tmp_path: Path) -> None:
    """What is mounted from the same disk looks like any folder until it is to be moved."""
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    script = 'mount --bind "$1" "$2" && echo mounted && exec "$3" -c "$4" "$2"'
    apart = ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    done = subprocess.run(
        [*apart, other, place, sys.executable, _MOUNTED],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if "mounted" not in done.stdout:
        pytest.skip(f"needs the right to mount: {done.stderr}")
    assert f"{place} cannot be replaced: Device or resource busy" in done.stdout, done.stderr
    assert "name a folder inside of it" in done.stdout
    assert sorted(tmp_path.rglob("*")) == [other, place]


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Files may not become larger, as on a disk that is full; Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_behind(own: Library, tmp_path: Path) -> None:
    before = _names(tmp_path)
    with _largest_file(20_000), pytest.raises(TunekitError, match="could not be written") as caught:
        export_library(own, folder=tmp_path / "new/bundle")
    assert caught.value.exit_code == 1
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert _names(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_a_changed_byte_is_refused(own: Library) -> None:
    assert own.manifest.standalone is not None
    path = own.folder / own.manifest.standalone.library
    original = path.read_bytes()
    content = bytearray(original)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"libtiny_net\.so is not the file that the manifest"):
        export_library(own)
    path.unlink()
    with pytest.raises(UsageError, match=r"libtiny_net\.so cannot be read"):
        export_library(own)
    path.write_bytes(original)
    own.path.write_bytes(own.path.read_bytes() + b"\0")
    for how in ({"vm": True}, {"static": True}):
        with pytest.raises(UsageError, match=r"model\.so is not the file"):
            export_library(own, **how)
    assert not (own.folder / "bundle").exists()


def test_a_model_that_is_not_standalone_is_refused_with_its_reason(own: Library) -> None:
    reason = "kernel scan calls tvm.contrib.scan of TVM's runtime"
    needy = _with(own, standalone=None, not_standalone=reason)
    with pytest.raises(CompileError, match=r"calls tvm\.contrib\.scan of TVM") as caught:
        export_library(needy)
    assert "--vm" in (caught.value.hint or "")
    with pytest.raises(CompileError, match="an older tunekit compiled it") as caught:
        export_library(_with(own, standalone=None))
    assert "tunekit compile" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="--static and --vm"):
        export_library(own, static=True, vm=True)


def test_a_model_that_has_changed_since_is_refused(own: Library) -> None:
    recipe = dict(own.manifest.recipe)
    recipe["model"] = {**recipe["model"], "seed": 7}
    with pytest.raises(VerificationFailed, match="the library's outputs differ from the model's"):
        export_library(_with(own, recipe=recipe))
    assert not (own.folder / "bundle").exists()


def test_what_is_no_library_is_said(exported: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a bundle already"):
        tunekit.export(exported.folder)
    with pytest.raises(UsageError, match="has no manifest"):
        tunekit.export(tmp_path)
    with pytest.raises(UsageError, match="is compiled already"):
        tunekit.export(exported.folder.parent, settings={"layout": "NCHW"})


def test_a_bundle_that_brings_tvms_runtime_runs_with_it(sorting: Library, tmp_path: Path) -> None:
    bundle = export_library(sorting, vm=True)
    names = _names(bundle.folder)
    assert bundle.folder.name == "vm-bundle"
    assert {name for name in names if name.startswith("lib/")} == {
        "lib/model.so",
        "lib/libtvm_ffi.so",
        "lib/libtvm_runtime.so",
        "lib/libtvm_runtime_extra.so",
    }
    headers = {name for name in names if name.startswith("include/")}
    assert all(name.startswith(("include/tvm/ffi/", "include/dlpack/")) for name in headers)
    assert len(headers) < 40
    moved = bundle.folder.rename(tmp_path / "a folder elsewhere")
    said = shell("make", "CXXFLAGS=-O0", "check", cwd=moved).stdout
    assert said.count("within 0.001") == 2
    assert "sorting is right on this machine" in said


def test_tvms_runtime_is_of_this_machine(own: Library) -> None:
    other = "aarch64" if detect_host().architecture == "x86_64" else "x86_64"
    target = {"kind": "llvm", "mtriple": f"{other}-linux-gnu"}
    with pytest.raises(TargetError, match=f"the library is for {other}"):
        export_library(_with(own, target=target), vm=True)


def test_what_would_change_a_compiled_library_is_refused(own: Library) -> None:
    command = load_verb("export", VERBS["export"])
    arguments = [str(own.folder), "--target", "native", "--set", "layout=NCHW"]
    with pytest.raises(UsageError, match=r"--set, --target: .* is compiled already") as caught:
        command.main(arguments, standalone_mode=False)
    assert "its recipe in place of the folder" in (caught.value.hint or "")


def test_a_folder_is_exported_where_a_compiler_is_set_for_all_recipes(
    own: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEKIT_CC", "clang")
    command = load_verb("export", VERBS["export"])
    command.main([str(own.folder), "-o", str(tmp_path / "there")], standalone_mode=False)
    assert (tmp_path / "there" / "manifest.json").is_file()
