"""A library that was replaced is loaded anew in the same process."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from tunekit.standalone.reloading import path_to_load


def built(number: int, path: Path) -> None:
    """A library that stays loaded, as tunekit's own do; put in the place of another at once."""
    source, new = path.with_suffix(".c"), path.with_suffix(".new")
    source.write_text(f"int number(void) {{ return {number}; }}\n")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wl,-z,nodelete", "-o", str(new), str(source)], check=True
    )
    new.replace(path)


def test_the_file_that_is_there_now_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "libnumber.so"
    loaded = []
    for number in range(1, 4):
        built(number, path)
        loaded.append(ctypes.CDLL(path_to_load(path)))
        again = ctypes.CDLL(path_to_load(path))
        assert again.number() == number
        assert again._handle == loaded[-1]._handle
    assert [library.number() for library in loaded] == [1, 2, 3]


def test_what_is_not_there_keeps_its_path(tmp_path: Path) -> None:
    assert path_to_load(tmp_path / "nothing.so") == os.fspath(tmp_path / "nothing.so")
