"""The cache of content hashes: it saves reading, never gives an old hash, and may vanish."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from naiad.files import hashes
from naiad.files.hashes import HashCache, Measured, measure

OLD = 1_700_000_000


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was not changed just now, as far as the cache can tell."""
    monkeypatch.setattr(hashes, "FRESH_NS", -(10**12))
    path = tmp_path / "file"
    path.write_text("content")
    os.utime(path, (OLD, OLD))
    return path


def measured(path: Path) -> Measured:
    return measure(str(path), lambda _count: None)


def test_unchanged_file_is_known(cache: Path, file: Path) -> None:
    HashCache.of_user().remember([measured(file)])

    assert {str(file): measured(file)} == HashCache.of_user().known([str(file), str(file) + "2"])
    assert cache.exists()


@pytest.mark.parametrize("change", ["size", "modified", "inode", "content", "gone"])
def test_changed_file_is_not(cache: Path, file: Path, change: str) -> None:
    HashCache(cache).remember([measured(file)])
    if change == "size":
        file.write_text("longer content")
    elif change == "modified":
        file.touch()
    elif change == "inode":
        file.rename(file.with_name("2"))
        file.write_text("content")
    elif change == "content":
        file.write_text("CONTENT")
    else:
        file.unlink()
    if change not in ("modified", "gone"):
        os.utime(file, (OLD, OLD))

    assert {} == HashCache(cache).known([str(file)])


def test_file_changed_just_now_is_not_remembered(cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "FRESH_NS", 2_000_000_000)

    HashCache(cache).remember([measured(file)])

    assert not cache.exists()


def test_hash_made_again_takes_the_place_of_the_old_one(cache: Path, file: Path) -> None:
    HashCache(cache).remember([measured(file)])
    file.write_text("another")
    HashCache(cache).remember([measured(file)])

    assert {str(file): measured(file)} == HashCache(cache).known([str(file)])


def test_many_files_are_asked_for_at_once(cache: Path, file: Path) -> None:
    paths = [str(file.with_name(f"f{number}")) for number in range(1200)]
    for path in paths:
        Path(path).touch()
    found = [measured(Path(path)) for path in paths]

    HashCache(cache).remember(found)

    assert {one.path: one for one in found} == HashCache(cache).known(paths)


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_damaged_cache_is_begun_anew(cache: Path, file: Path, damage: bytes) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(damage)

    assert {} == HashCache(cache).known([str(file)])
    HashCache(cache).remember([measured(file)])

    assert {str(file): measured(file)} == HashCache(cache).known([str(file)])


def test_cache_with_other_columns_is_begun_anew_or_left(cache: Path, file: Path) -> None:
    cache.parent.mkdir(parents=True)
    with sqlite3.connect(cache) as connection:
        connection.execute("create table content (other text)")
    connection.close()

    HashCache(cache).remember([measured(file)])

    assert {} == HashCache(cache).known([str(file)])


def test_folder_that_takes_no_cache_is_no_trouble(tmp_path: Path, file: Path) -> None:
    (tmp_path / "blocked").touch()
    cache = HashCache(tmp_path / "blocked" / "naiad" / "hashes.db")

    cache.remember([measured(file)])

    assert {} == cache.known([str(file)])


def test_user_without_a_home_has_no_cache(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)

    HashCache.of_user().remember([measured(file)])

    assert {} == HashCache.of_user().known([str(file)])
    assert ["file"] == os.listdir(tmp_path)
