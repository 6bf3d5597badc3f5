"""Objects and the copies that a process keeps of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from postgres_server import Cluster

from naiad.errors import DamagedData
from naiad.ids import new_uid
from naiad.storage.postgres import objects as postgres_objects
from naiad.storage.postgres.objects import Objects


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """Objects in a folder, with room for two copies of 1,000 bytes."""
    monkeypatch.setenv("NAIAD_SERVER_CACHE_BYTES", "2500")
    found = Objects((tmp_path / "objects").as_uri())
    for name in "abc":
        found.put(name, name.encode() * 1000)
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_copy_that_was_read_least_recently_goes_first(objects: Objects, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    for name in "abac":
        objects.fetch(name, copies / name)

    assert {"a", "c"} == names(copies)
    assert b"c" * 1000 == (copies / "c").read_bytes()


def test_copy_that_went_is_made_again_and_an_open_one_stays_readable(objects: Objects, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    objects.fetch("a", copies / "a")
    with (copies / "a").open("rb") as stream:
        for name in "bc":
            objects.fetch(name, copies / name)
        assert "a" not in names(copies)
        assert b"a" * 1000 == stream.read()
    objects.fetch("a", copies / "a")

    assert b"a" * 1000 == (copies / "a").read_bytes()
    assert {"a", "c"} == names(copies)


def test_content_larger_than_all_room_is_copied_alone(objects: Objects, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    objects.put("large", b"x" * 5000)
    for name in ("a", "large"):
        objects.fetch(name, copies / name)

    assert {"large"} == names(copies)


def test_missing_object_leaves_no_copy(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(DamagedData, match="The object z is missing"):
        objects.fetch("z", tmp_path / "copies/z")

    assert set() == names(tmp_path / "copies")


def test_part_of_an_object_that_was_cut_is_damage(objects: Objects, tmp_path: Path) -> None:
    """It never becomes readable, so that to try again would be of no use."""
    for start in (900, 5000):
        with pytest.raises(DamagedData, match="less than"):
            objects.get("a", start, 200)

    assert [b"a" * 10] == objects.read("a", [(990, 10)])


def test_part_is_read_where_no_copy_can_be_kept(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server whose disk of temporary files is full."""

    def refuse(_path: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", refuse)

    assert [b"b" * 10] == objects.read("b", [(990, 10)])


def test_object_in_a_folder_is_on_the_disk_before_rows_refer_to_it(tmp_path: Path) -> None:
    """With the names of its folders: the rows, which the database syncs, outlive a power cut."""
    synced: list[str] = []
    sync = os.fsync

    def noted(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        sync(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        Objects(tmp_path.as_uri()).put("runs/uid/a.pack", b"a")

    assert [str(tmp_path / each) for each in ("runs/uid/a.pack", "runs/uid", "runs", ".")] == synced


def test_file_goes_in_as_many_requests_as_s3_permits(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.objects.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(postgres_objects, "MOST_PIECES", 3)
    content = os.urandom(1024) * 30 * 1024
    (tmp_path / "large").write_bytes(content)
    found, name = Objects(cluster.objects.url), f"blobs/{new_uid()}"
    found.put(name, tmp_path / "large")
    head = cluster.objects.client().head_object(Bucket=cluster.objects.bucket, Key=f"test/{name}")

    assert "3" == head["ETag"].strip('"').partition("-")[2]
    assert content == found.get(name)


def test_pieces_of_the_largest_object_of_s3_are_as_it_permits() -> None:
    sizes = [0, 48 * 1024**3, 5 * 1024**4]
    pieces = [postgres_objects._piece_of(size) for size in sizes]

    assert all(5 * 1024**2 <= piece <= 5 * 1024**3 for piece in pieces)
    assert all(-(-size // piece) <= 10_000 for size, piece in zip(sizes, pieces, strict=True))
