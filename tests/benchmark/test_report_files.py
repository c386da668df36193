"""A report's file is refused before the work, and is whole or not there."""

from __future__ import annotations

import os
import stat

import pytest

from tunekit.errors import UsageError
from tunekit.files import check_writable, write_atomically


def test_a_file_that_can_be_written_passes_and_nothing_is_left(tmp_path):
    check_writable(tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file or directory"):
        check_writable(tmp_path / "nowhere" / "report.json")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        check_writable(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Not a directory"):
        check_writable(tmp_path / "file" / "report.json")


def test_a_written_file_replaces_the_old_one_and_others_may_read_it(tmp_path):
    file = tmp_path / "report.json"
    file.write_text("old")
    write_atomically(file, "nöw")
    assert file.read_text(encoding="utf-8") == "nöw"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    assert list(tmp_path.iterdir()) == [file]


def test_a_text_that_cannot_be_written_leaves_the_old_file(tmp_path):
    file = tmp_path / "report.json"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
