from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from tunekit.cache import ContentCache, content_key, default_root
from tunekit.errors import UsageError

KEY = content_key("a model", {"shape": [1, 3]})


def write_entry(cache: ContentCache, text: str = "weights") -> None:
    with cache.put("models", KEY) as folder:
        (folder / "graph.json").write_text(text)
        (folder / "more").mkdir()
        (folder / "more" / "data.bin").write_bytes(bytes(range(256)))


def entry_files(cache: ContentCache) -> list[str]:
    folder = cache.get("models", KEY)
    assert folder is not None
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_an_entry_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    assert cache.get("models", KEY) is None
    write_entry(cache)
    folder = cache.get("models", KEY)
    assert folder is not None
    assert (folder / "graph.json").read_text() == "weights"
    assert (folder / "more" / "data.bin").read_bytes() == bytes(range(256))
    assert cache.get("libraries", KEY) is None


@pytest.mark.parametrize("victim", ["graph.json", "more/data.bin", "checksums.json"])
def test_an_entry_with_one_flipped_bit_is_removed_and_can_be_made_again(
    tmp_path: Path, victim: str
) -> None:
    cache = ContentCache(tmp_path)
    write_entry(cache)
    path = tmp_path / "models" / KEY / victim
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)
    assert cache.get("models", KEY) is None
    assert not (tmp_path / "models" / KEY).exists()
    write_entry(cache)
    assert entry_files(cache) == ["checksums.json", "data.bin", "graph.json"]


@pytest.mark.parametrize("victim", ["graph.json", "checksums.json"])
def test_an_entry_that_lost_a_file_is_not_trusted(tmp_path: Path, victim: str) -> None:
    cache = ContentCache(tmp_path)
    write_entry(cache)
    (tmp_path / "models" / KEY / victim).unlink()
    assert cache.get("models", KEY) is None


def test_an_entry_that_gained_a_file_is_not_trusted(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    write_entry(cache)
    (tmp_path / "models" / KEY / "stray").write_text("?")
    assert cache.get("models", KEY) is None


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)

    def write_half() -> None:
        with cache.put("models", KEY) as folder:
            (folder / "half").write_text("written")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert cache.get("models", KEY) is None
    assert list((tmp_path / "models").iterdir()) == []


def test_writing_a_key_twice_keeps_one_whole_entry(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    write_entry(cache, "first")
    write_entry(cache, "second")
    folder = cache.get("models", KEY)
    assert folder is not None
    assert (folder / "graph.json").read_text() == "first"
    assert [path.name for path in (tmp_path / "models").iterdir()] == [KEY]


def test_a_damaged_entry_is_replaced_by_the_next_writer(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    write_entry(cache, "first")
    (tmp_path / "models" / KEY / "graph.json").write_text("damaged")
    write_entry(cache, "second")
    folder = cache.get("models", KEY)
    assert folder is not None
    assert (folder / "graph.json").read_text() == "second"


def _write_slowly(root: str, start: float) -> None:
    with ContentCache(Path(root)).put("models", KEY) as folder:
        (folder / "graph.json").write_text("same")
        time.sleep(max(0.0, start - time.time()))


def test_many_processes_may_write_one_key_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = time.time() + 1.5
    writers = [context.Process(target=_write_slowly, args=(str(tmp_path), start)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(300)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert entry_files(ContentCache(tmp_path)) == ["checksums.json", "graph.json"]
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_what_a_killed_writer_left_is_removed_after_a_day(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    old, new = tmp_path / "models" / ".unfinished-old", tmp_path / "models" / ".unfinished-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    two_days_ago = time.time() - 2 * 86400
    os.utime(old, (two_days_ago, two_days_ago))
    write_entry(cache)
    assert not old.exists()
    assert new.exists()


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(UsageError, match="cannot write the cache folder") as caught:
        write_entry(ContentCache(occupied))
    assert "TUNEKIT_CACHE" in str(caught.value.hint)


def test_keys_follow_from_content_alone() -> None:
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key((1, 2)) == content_key([1, 2])
    different = [
        content_key("a", "b"),
        content_key("ab"),
        content_key(["a", "b"]),
        content_key("b", "a"),
        content_key(b"ab"),
        content_key({"a": "b"}),
        content_key("1"),
        content_key(1),
        content_key(None),
    ]
    assert len(set(different)) == len(different)
    with pytest.raises(TypeError):
        content_key(object())  # type: ignore[arg-type]


def test_the_environment_chooses_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEKIT_CACHE", str(tmp_path / "here"))
    assert default_root() == tmp_path / "here"
    monkeypatch.delenv("TUNEKIT_CACHE")
    assert default_root().is_absolute()


def _checksums(cache: ContentCache, key: str) -> Path:
    return cache.root / "models" / key / "checksums.json"


def _write_of(cache: ContentCache, key: str, size: int, *, unused_for_h: float) -> None:
    with cache.put("models", key) as folder:
        (folder / "weights").write_bytes(bytes(size))
    unused_since = time.time() - unused_for_h * 3600
    os.utime(_checksums(cache, key), (unused_since, unused_since))


def test_what_was_not_used_for_longest_goes_when_the_limit_is_passed(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, limit_bytes=4000)
    _write_of(cache, "oldest", 1500, unused_for_h=100)
    _write_of(cache, "read", 1500, unused_for_h=90)
    assert cache.get("models", "read") is not None
    _write_of(cache, "old", 500, unused_for_h=80)
    assert cache.get("models", "oldest") is not None  # all fits; and is the latest used now
    os.utime(_checksums(cache, "oldest"), (0, 0))
    _write_of(cache, "new", 1500, unused_for_h=0)
    left = {folder.name for folder in (tmp_path / "models").iterdir()}
    assert left == {"read", "old", "new"}
    assert cache.used_bytes() <= 4000


def test_what_somebody_may_have_open_stays_beyond_the_limit(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, limit_bytes=0)
    _write_of(cache, "this morning", 100, unused_for_h=5)
    _write_of(cache, "yesterday", 100, unused_for_h=30)
    _write_of(cache, "now", 100, unused_for_h=0)
    left = {folder.name for folder in (tmp_path / "models").iterdir()}
    assert left == {"this morning", "now"}


def test_other_things_in_the_cache_folder_are_left_alone(tmp_path: Path) -> None:
    stranger = tmp_path / "models" / "mine" / "file"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(bytes(1000))
    os.utime(stranger, (0, 0))
    write_entry(ContentCache(tmp_path, limit_bytes=0))
    assert stranger.exists()


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TUNEKIT_CACHE_GB", text)
    with pytest.raises(UsageError, match="which is no size") as caught:
        ContentCache()
    assert "20 if it is not set" in str(caught.value.hint)


def test_the_limit_is_chosen_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEKIT_CACHE_GB", "1.5")
    assert ContentCache().limit_bytes == 1.5e9
    monkeypatch.setenv("TUNEKIT_CACHE_GB", "inf")
    assert ContentCache().limit_bytes == float("inf")
    monkeypatch.delenv("TUNEKIT_CACHE_GB")
    assert ContentCache().limit_bytes == 20e9
