"""ZIPs of file sets: Neptune's names, the same bytes each time, nothing that could be written elsewhere."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from naiad.errors import DamagedData
from naiad.files.archive import Member, write_zip

NOW = 1_700_000_000


def member(name: str, content: bytes = b"x", modified: float = NOW) -> Member:
    return Member(name, len(content), modified, lambda: io.BytesIO(content))


def test_names_are_those_of_the_set_and_one_for_each_folder(tmp_path: Path) -> None:
    write_zip([member("data/sub/b.csv", b"b"), member("note.txt"), member("data/a.csv")], tmp_path / "set.zip")

    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert ["data/", "data/a.csv", "data/sub/", "data/sub/b.csv", "note.txt"] == archive.namelist()
        assert archive.testzip() is None
        assert b"b" == archive.read("data/sub/b.csv")
        assert (2023, 11, 14, 22, 13, 20) == archive.getinfo("note.txt").date_time


def test_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    members = [member(f"{number}.bin", os.urandom(1000)) for number in range(10)]

    write_zip(members, tmp_path / "1.zip")
    write_zip(reversed(members), tmp_path / "2.zip")

    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_empty_set_is_an_empty_archive(tmp_path: Path) -> None:
    write_zip([], tmp_path / "set.zip")

    assert [] == zipfile.ZipFile(tmp_path / "set.zip").namelist()


@pytest.mark.parametrize("modified", [-1e10, 0.0, 1e11])
def test_times_that_zip_cannot_tell_are_the_nearest_it_can(tmp_path: Path, modified: float) -> None:
    write_zip([member("a", modified=modified)], tmp_path / "set.zip")

    assert zipfile.ZipFile(tmp_path / "set.zip").getinfo("a").date_time[0] in (1980, 2107)


def test_hostile_names_stay_inside_whoever_extracts(tmp_path: Path) -> None:
    hostile = ["../up", "/etc/passwd", "a\0b", "a\nb", "a_b", "x" * 300, "C:\\x", "\udce9", "a", "a/b", "..", "A"]
    contents = {name: f"{number}".encode() for number, name in enumerate(hostile)}
    goal = tmp_path / "deep" / "goal"
    goal.mkdir(parents=True)

    write_zip([member(name, content) for name, content in contents.items()], tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        archive.extractall(goal)
        kinds = {stat.S_IFMT(entry.external_attr >> 16) for entry in archive.infolist()}

    assert {stat.S_IFREG, stat.S_IFDIR} == kinds
    assert sorted(contents.values()) == sorted(path.read_bytes() for path in goal.rglob("*") if path.is_file())
    assert ["deep", "set.zip"] == sorted(os.listdir(tmp_path))
    assert ["goal"] == os.listdir(tmp_path / "deep")


def test_missing_content_leaves_no_archive(tmp_path: Path) -> None:
    def missing() -> io.BytesIO:
        raise DamagedData("gone")

    with pytest.raises(DamagedData):
        write_zip([member("a"), Member("b", 1, NOW, missing)], tmp_path / "set.zip")

    assert [] == os.listdir(tmp_path)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[int] = []

    write_zip([member("a", b"12"), member("b", b"345")], tmp_path / "set.zip", told.append)

    assert 5 == sum(told)


LARGE = """
import io, os, resource, sys
from pathlib import Path
from naiad.files.archive import Member, write_zip
SIZE = 5 << 30
with open(sys.argv[1], "wb") as stream:
    stream.truncate(SIZE)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_zip([Member("large", SIZE, 0, lambda: open(sys.argv[1], "rb")), Member("after", 1, 0, lambda: io.BytesIO(b"x"))],
          Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_member_beyond_4_gib_takes_little_memory(tmp_path: Path) -> None:
    goal = tmp_path / "set.zip"
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path / "large"), str(goal)], capture_output=True, text=True, check=True
    )

    with zipfile.ZipFile(goal) as archive:
        assert 5 << 30 == archive.getinfo("large").file_size
        assert b"x" == archive.read("after")
    assert int(done.stdout) < 16 * 1024
