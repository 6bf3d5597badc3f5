"""Records that are stored while a read copies their segment: it has those of before, and none half."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from naiad.slots import RECORD, SEGMENT_HEADER, pack_int
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.short_tail import read_short_tail
from naiad.storage.local.journal.files import JournalFile, journal_file
from naiad.storage.local.journal.parts import Source, read_part
from naiad.storage.local.journal.records import RECORD_TYPE, read_records
from naiad.storage.local.journal.segment import Segment

TORN_AT = [12, 28, RECORD]
"""Bytes of the third record that are copied before it and those behind it are stored."""


class TornReads(FileIO):
    """A file whose first read across a byte copies what is before it, lets others write, and copies the rest."""

    # A kernel copies a mapped page while threads store to it, and the moment in between cannot be chosen.
    def __init__(self, path: Path, at: int, write: Callable[[], None]) -> None:
        super().__init__(path)
        self._at, self._waiting = at, [write]

    def read(self, size: int | None = -1, /) -> bytes:
        place, size = self.tell(), -1 if size is None else size
        if not self._waiting or place > self._at or 0 <= size < self._at - place:
            return super().read(size)
        first = super().read(self._at - place)
        self._waiting.pop()()
        return first + super().read(size - len(first) if size >= 0 else -1)


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    """Two records, and room for eight."""
    fd = os.open(tmp_path, os.O_RDONLY)
    segment = Segment.create(fd, "1-a.000001.seg", SEGMENT_HEADER + 10 * RECORD)
    put(segment, 1, 2)
    yield segment
    segment.rest()
    os.close(fd)


def put(segment: Segment, *steps: int) -> None:
    offsets, page = segment.slot
    for step in steps:
        at = next(offsets)
        pack_int(page, at, step, step / 3, 1.0, 7, at)


def torn(segment: Segment, folder: Path, at: int) -> JournalFile:
    """Return the segment as a file that gets three records while its third one is read."""
    file = journal_file("1-a", 1, "seg", folder / segment.name)
    place = SEGMENT_HEADER + 2 * RECORD + at
    return file._replace(open=partial(TornReads, file.path, place, lambda: put(segment, 3, 4, 5)))


@pytest.mark.parametrize("at", TORN_AT)
def test_reader_sees_them_without_a_hole(segment: Segment, tmp_path: Path, at: int) -> None:
    records, upto, damages = read_records(torn(segment, tmp_path, at), SEGMENT_HEADER)

    assert [] == damages
    assert [1, 2, 3, 4, 5] == records["step"].tolist()
    assert SEGMENT_HEADER + 5 * RECORD == upto


@pytest.mark.parametrize("at", TORN_AT)
def test_short_tail_leaves_them_to_the_one_that_reads_everything(segment: Segment, tmp_path: Path, at: int) -> None:
    assert read_short_tail([torn(segment, tmp_path, at)], {}, {}, Projection()) is None


@pytest.mark.parametrize("at", TORN_AT)
def test_shipped_records_are_whole(segment: Segment, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = torn(segment, tmp_path, at)
    stream = file.open()
    reads = iter([stream])

    def torn_pread(fd: int, size: int, start: int) -> bytes:
        if next(reads, None) is None:
            return pread(fd, size, start)
        stream.seek(start)
        return stream.read(size)

    pread = os.pread
    monkeypatch.setattr(os, "pread", torn_pread)  # the same as for `TornReads`
    part = read_part(Source(file, is_retired=False), 0, 1 << 16, is_final=False)
    stream.close()

    steps = np.frombuffer(part.data, RECORD_TYPE)["step"].tolist()
    assert [1, 2] == steps[:2]
    assert steps == [*range(1, len(steps) + 1)]
