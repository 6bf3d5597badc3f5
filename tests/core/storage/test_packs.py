"""Packs: many small files come in as one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from naiad.errors import DamagedData, FileNotFound
from naiad.storage.local import packs
from naiad.storage.local.blobs import Blobs, Incoming
from naiad.storage.local.gc import census
from naiad.storage.local.packs import SMALL, Slice, read_slice, take_all


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / ".naiad" / "blobs")


def files(folder: Path, contents: list[bytes]) -> list[Path]:
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    return [folder / str(number) for number in range(len(contents))]


def content(blobs: Blobs, taken: packs.Taken) -> bytes:
    if isinstance(taken, Slice):
        return read_slice(blobs, taken)
    return blobs.read(taken.name) if isinstance(taken, Incoming) else taken


def test_few_small_files_come_back_as_bytes(blobs: Blobs, tmp_path: Path) -> None:
    assert [b"a", b"", b"c"] == take_all(blobs, files(tmp_path, [b"a", b"", b"c"]), "1-a")
    assert not blobs.root.exists()


def test_small_files_share_packs_and_large_ones_stand_alone(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "LARGEST_PACK", 100_000)
    contents = [os.urandom(2 * SMALL if number % 10 == 5 else number * 100) for number in range(100)]
    told: list[int] = []

    taken = take_all(blobs, files(tmp_path, contents), "1-a", told.append)

    assert contents == [content(blobs, one) for one in taken]
    assert sum(map(len, contents)) == sum(told)
    assert 10 == sum(isinstance(one, Incoming) for one in taken)
    assert 1 < len({one.pack for one in taken if isinstance(one, Slice)}) < 10


def test_slices_stay_readable_when_the_pack_is_settled(blobs: Blobs, tmp_path: Path) -> None:
    contents = [bytes([number]) * 5000 for number in range(10)]
    taken = take_all(blobs, files(tmp_path, contents), "1-a")
    parts = [one for one in taken if isinstance(one, Slice)]

    sha256 = blobs.settle(parts[0].pack).sha256
    blobs.release(parts[0].pack)
    parts = [msgspec.structs.replace(part, pack=sha256) for part in parts]

    assert contents == [read_slice(blobs, part) for part in parts]


def test_one_absent_file_and_nothing_is_taken(blobs: Blobs, tmp_path: Path) -> None:
    sources = files(tmp_path, [os.urandom(2 * SMALL), os.urandom(2 * SMALL)])

    with pytest.raises(FileNotFound):
        take_all(blobs, [*sources, tmp_path / "absent"], "1-a")

    assert () == census(blobs).files


def test_damage_inside_a_pack_names_the_place(blobs: Blobs, tmp_path: Path) -> None:
    taken = take_all(blobs, files(tmp_path, [b"a" * 10_000, b"b" * 10_000]), "1-a")
    one, two = (part for part in taken if isinstance(part, Slice))
    path = blobs.path(two.pack)
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(15_000)
        stream.write(b"!")

    assert b"a" * 10_000 == read_slice(blobs, one)
    with pytest.raises(DamagedData) as caught:
        read_slice(blobs, two)
    assert 10_000 == caught.value.offset
