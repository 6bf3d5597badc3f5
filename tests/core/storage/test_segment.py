"""Segments: fixed records in an allocated file, and what a reader may believe of them."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from naiad.disk import save
from naiad.slots import DEAD_SLOT, FLOAT_STEP, RECORD, SEGMENT_HEADER, pack_float, pack_int
from naiad.storage.local.journal.files import journal_file
from naiad.storage.local.journal.records import RECORD_TYPE, read_header, read_records
from naiad.storage.local.journal.segment import Segment, whole_records

SIZE = SEGMENT_HEADER + 10 * RECORD


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def put(segment: Segment, *steps: int) -> None:
    offsets, page = segment.slot
    for step in steps:
        at = next(offsets)
        pack_int(page, at, step, step / 3, 1.0, 7, at)


def steps_in(path: Path) -> list[int]:
    records, _upto, damages = read_records(journal_file("1-a", 1, "seg", path), SEGMENT_HEADER)
    assert [] == damages
    steps: list[int] = records["step"].tolist()
    return steps


def test_a_packed_record_is_in_the_file_at_once(directory: int, tmp_path: Path) -> None:
    segment = Segment.create(directory, "1-a.000001.seg", SIZE)
    put(segment, 5, 6)

    assert [5, 6] == steps_in(tmp_path / segment.name)
    assert SEGMENT_HEADER + 2 * RECORD == segment.used()
    segment.rest()


def test_its_blocks_are_allocated(directory: int, tmp_path: Path) -> None:
    """A sparse file would end the process by SIGBUS on a full disk."""
    segment = Segment.create(directory, "1-a.000001.seg", 1 << 20)

    assert (1 << 20) <= (tmp_path / segment.name).stat().st_blocks * 512
    segment.rest()


def test_record_is_as_the_format_says(directory: int, tmp_path: Path) -> None:
    segment = Segment.create(directory, "1-a.000001.seg", SIZE)
    offsets, page = segment.slot
    pack_int(page, at := next(offsets), -(2**63), 0.5, 1.25, 3, at)
    pack_float(page, at := next(offsets), 2.5, 0.5, 1.25, 3 | FLOAT_STEP, at)
    data = (tmp_path / segment.name).read_bytes()

    assert 32 == RECORD_TYPE.itemsize
    assert b"NAIADSEG" == data[:8]
    assert (-(2**63), 0.5, 1.25, 3, 64) == struct.unpack("<qddII", data[64:96])
    assert (2.5, 0.5, 1.25, 3 | 1 << 31, 96) == struct.unpack("<dddII", data[96:128])
    segment.rest()


def test_full_page_refuses_more(directory: int) -> None:
    segment = Segment.create(directory, "1-a.000001.seg", SIZE)
    put(segment, *range(10))

    with pytest.raises(struct.error):
        put(segment, 10)
    assert segment.used() == SIZE
    segment.rest()


def test_shut_page_refuses_a_slot_that_was_reserved_before(directory: int, tmp_path: Path) -> None:
    segment = Segment.create(directory, "1-a.000001.seg", SIZE)
    put(segment, 1)
    offsets, page = segment.slot
    at = next(offsets)
    segment.shut()

    with pytest.raises((TypeError, ValueError)):  # which one depends on the Python
        pack_int(page, at, 2, 0.0, 0.0, 7, at)
    assert [1] == steps_in(tmp_path / segment.name)
    segment.close()


def test_a_record_without_its_commit_word_does_not_exist(directory: int, tmp_path: Path) -> None:
    """The kill comes in the middle of packing, or between reserving and packing."""
    segment = Segment.create(directory, "1-a.000001.seg", SIZE)
    put(segment, 1)
    at = next(segment.slot[0])
    segment.slot[1][at : at + 28] = struct.pack("<qddI", 2, 0.5, 0.5, 7)
    put(segment, 3)
    records, upto, _damages = read_records(journal_file("1-a", 1, "seg", tmp_path / segment.name), SEGMENT_HEADER)

    assert [1, 3] == records["step"].tolist()
    assert SEGMENT_HEADER + RECORD == upto
    segment.rest()


def test_dead_slot_refuses_every_pack() -> None:
    offsets, page = DEAD_SLOT

    with pytest.raises(struct.error):
        pack_int(page, at := next(offsets), 1, 1.0, 1.0, 1, at)


def test_sealed_segment_is_cut_and_says_what_it_holds(directory: int, tmp_path: Path) -> None:
    segment = Segment.create(directory, "1-a.000001.seg", 1 << 16)
    put(segment, *range(5))
    segment.shut()
    segment.seal(directory)
    data = (tmp_path / segment.name).read_bytes()

    assert SEGMENT_HEADER + 5 * RECORD == len(data)
    assert (1, len(data), zlib.crc32(data[SEGMENT_HEADER:])) == read_header(data)
    segment.close()


def test_rested_segment_can_still_be_sealed(directory: int, tmp_path: Path) -> None:
    segment = Segment.create(directory, "1-a.000001.seg", SIZE)
    put(segment, 1, 2)
    segment.rest()
    segment.seal(directory)

    assert [1, 2] == steps_in(tmp_path / segment.name)
    segment.close()


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_segment_in_memory_is_stored_later(
    has_descriptors: bool, directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_descriptors:

        def refuse(*_: object) -> int:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(os, "memfd_create", refuse)  # no test may use up the descriptors of its own process
    segment = Segment.in_memory("1-a.000001.seg", SIZE)
    put(segment, 1, 2, 3)
    assert not segment.is_stored
    segment.shut()
    segment.store(directory)

    assert segment.is_stored
    assert [1, 2, 3] == steps_in(tmp_path / segment.name)
    segment.close()


def test_file_that_cannot_be_allocated_leaves_nothing_behind(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)  # a full disk is tried in tests/crash
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0

    with pytest.raises(OSError, match="No space"):
        Segment.create(directory, "1-a.000001.seg", SIZE)
    assert [] == list(tmp_path.iterdir())
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


def test_saved_file_appears_whole_or_not_at_all(directory: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    os.close(save(directory, "a", b"new"))
    assert "new" == (tmp_path / "a").read_text()
    (tmp_path / "d").mkdir()

    with pytest.raises(IsADirectoryError):
        save(directory, "d", b"new")
    assert ["a", "d"] == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize(("size", "expected"), [(0, 96), (95, 96), (97, 96), (128, 128), (1000, 992), (65536, 65536)])
def test_sizes_hold_whole_records(size: int, expected: int) -> None:
    assert expected == whole_records(size)


@pytest.mark.parametrize("data", [b"", b"NAIADSEG", b"x" * 64, bytes(64)])
def test_header_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_header(data)
