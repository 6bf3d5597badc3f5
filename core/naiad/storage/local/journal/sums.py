"""Sums: checksums of a writer's journal, by which a killed run can be verified like a sealed one.

One file per writer, `journal/<writer>.sums`, written by the background threads and never by the caller of `append`:

    segment   |header|rec|rec|rec|hole|rec|rec|zeros ...        ops file  |header|frame|frame|frame| torn end
              '-0..32'---range---'    '-range-' not yet covered           '------- size noted ----'
    sums      |header|entry|entry|entry| ...                    one entry means: these bytes have this crc32,
                                                                or: so many bytes are frames; so often was folded

Every entry is true for ever: ranges and sizes only grow, a record is never changed once its commit word is there. So
the order of entries does not matter, and a reader that reads the sums first and the journal afterwards finds all of it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import operator
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from naiad.disk import new_file, write_all
from naiad.ids import boot_id, new_writer_id
from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_HEADER

SUFFIX = ".sums"
MAGIC = b"NAIADSUM"
VERSION = 1
SUMS_HEADER = 32
ENTRY = 32
HAS_BASE = 1
"""Flag: the run was sealed when this writer came, and that seal lies beside the sums."""

RANGE, FRAMES, INDEX, FOLDED_SEGMENT, FOLDED_OPS, SYNCED = range(1, 7)

FIXED = 32
"""Bytes of a segment's header that never change: what comes after them is written when it is sealed."""
SMALL = 4096
LARGE = 1 << 20
"""Longest range, by how much came since the last look. Releasing the interpreter's lock beside a busy loop costs 5 ms
each time, and that is what each crc32 of more than 5,120 bytes does: many points are summed in few large ranges."""
ANY = FLOAT_STEP - 1
MOST_BYTES = 64 * 1024

_header = struct.Struct("<8sIIB11xI")
_entry = struct.Struct("<B3xIIIIII")
_crc = struct.Struct("<I")


class Entry(NamedTuple):
    """One entry; `number` is that of a journal file, other members depend on the kind.

    `RANGE`: bytes `start` to `end` of a segment have this `crc`; its records have field numbers from `low` to `high`.
    `FRAMES`: the first `end` bytes of an ops file are frames, the last of them with the sequence `high << 32 | low`.
    `INDEX`: the index has been changed `number` times and had `start` fields and `high << 32 | low` points.
    `FOLDED_SEGMENT`, `FOLDED_OPS`: this file is in the index and was removed.
    `SYNCED`: the bytes covered by the first `number` entries of this file are on the disk itself.
    """

    kind: int
    number: int
    start: int = 0
    end: int = 0
    crc: int = 0
    low: int = 0
    high: int = 0

    def encode(self) -> bytes:
        """The entry as 32 bytes, the last of them their crc32."""
        data = _entry.pack(*self)
        return data + _crc.pack(zlib.crc32(data))


class Range(NamedTuple):
    """Bytes of a segment with a known crc32, and the field numbers that their records may have."""

    start: int
    end: int
    crc: int
    low: int = 0
    high: int = FLOAT_STEP - 1

    @property
    def points(self) -> int:
        """How many records it has."""
        return max(0, self.end - max(self.start, SEGMENT_HEADER)) // RECORD


class FileCover(msgspec.Struct):
    """The coverage of one journal file: least size, last sequence of an ops file, ranges of a segment."""

    size: int = 0
    sequence: int = 0
    ranges: dict[int, Range] = msgspec.field(default_factory=dict)  # by start

    def add(self, new: Range) -> None:
        """Take in a range; of two with one start the longer is the later."""
        known = self.ranges.get(new.start)
        if known is None or known.end < new.end:
            self.ranges[new.start] = new
        self.size = max(self.size, new.end)

    def points_from(self, start: int) -> int:
        """How many points are known to lie behind an offset."""
        return sum(min(one.points, max(0, one.end - start) // RECORD) for one in self.ranges.values())


class SumsRead(NamedTuple):
    """A file of sums, read: `problem` is that of its header, and `entries` have None for each damaged one."""

    version: int
    is_same_boot: bool
    """Whether the machine has not been booted since."""
    has_base: bool
    problem: str
    entries: list[Entry | None]


def read_sums(data: bytes) -> SumsRead:
    """Decode the content of a file of sums."""
    entries = [_decoded(data[at : at + ENTRY]) for at in range(SUMS_HEADER, len(data), ENTRY)]
    if len(data) < SUMS_HEADER or data[:8] != MAGIC or zlib.crc32(data[:28]) != _crc.unpack_from(data, 28)[0]:
        return SumsRead(VERSION, True, False, "its header is not that of a file of sums", entries)
    _magic, version, boot, flags, _own = _header.unpack_from(data)
    return SumsRead(version, boot == boot_number(), bool(flags & HAS_BASE), "", entries)


def _decoded(data: bytes) -> Entry | None:
    """The entry in 32 bytes; None where they are not as they were written."""
    if len(data) < ENTRY or _crc.unpack_from(data, ENTRY - 4)[0] != zlib.crc32(data[: ENTRY - 4]):
        return None
    return Entry(*_entry.unpack_from(data))


def add_covers(covers: dict[str, FileCover], writer: str, entries: Iterable[Entry | None]) -> None:
    """Add the coverage of the journal files of a writer by its entries, as far as they are not folded."""
    folded = set()
    for entry in filter(None, entries):
        name = f"{writer}.{entry.number:06d}.{'seg' if entry.kind in (RANGE, FOLDED_SEGMENT) else 'ops'}"
        if entry.kind == RANGE:
            covers.setdefault(name, FileCover()).add(Range(entry.start, entry.end, entry.crc, entry.low, entry.high))
        elif entry.kind == FRAMES:
            cover = covers.setdefault(name, FileCover())
            cover.size = max(cover.size, entry.end)
            cover.sequence = max(cover.sequence, entry.high << 32 | entry.low)
        elif entry.kind in (FOLDED_SEGMENT, FOLDED_OPS):
            folded.add(name)
    for name in folded:
        covers.pop(name, None)


def boot_number() -> int:
    """This boot of the machine, shortened."""
    return zlib.crc32(boot_id().encode())


class GrowingSegment(Protocol):
    """A segment of this process, as far as its sums need it."""

    name: str

    @property
    def is_shut(self) -> bool:
        """Whether nothing is written to it any more."""

    def used(self) -> int:
        """Return the end of the bytes handed out so far."""


class Sums:
    """The sums of one writer, in memory and in their file, which is made when the first are written."""

    def __init__(self, directory: int, writer: str) -> None:
        self.writer = writer
        self.name = writer + SUFFIX
        self.has_base = False
        self.is_marked = False
        """Whether new ops files say in their headers that there are sums: these are on the disk itself."""
        self._directory = directory
        self._fd = -1
        self._size = 0
        self._makes = 0
        self._sure = 0  # entries that are known to be on the disk
        self._covers: dict[str, _Cover] = {}
        self._ops: dict[str, int] = {}
        self._entries: dict[tuple[int, ...], Entry] = {}  # those that hold now, each in its latest form
        self._new: deque[Entry] = deque()
        # By other threads, and of which file, if it says something of its entries; `_new` is of the one in the lock.
        self._noted: deque[tuple[Entry, int | None]] = deque()
        self._gone: deque[str] = deque()
        self._lock = threading.RLock()
        self._is_busy = False

    @property
    def is_made(self) -> bool:
        """Whether the file is there."""
        return self._fd >= 0

    def note_index(self, folds: int, points: int, fields: int) -> None:
        """Note the counts of the index after a fold; written with the next sums."""
        self._noted.append((Entry(INDEX, folds, fields, low=points & 0xFFFFFFFF, high=points >> 32), None))

    def note_folded(self, name: str) -> None:
        """Note that a journal file is in the index; written with the next sums."""
        self._gone.append(name)

    def cover(self, segments: Iterable[GrowingSegment], ops: Iterable[tuple[str, int, int]]) -> None:
        """Checksum the bytes added since the last call, and write an entry for each file.

        `ops` are `(name, bytes, last sequence)`.

        Raises:
            OSError: the disk reports an error; it is tried again the next time.
        """
        with self._lock:
            if self._is_busy:
                return  # a signal handler, whose thread is inside
            self._is_busy = True
            try:
                for segment in segments:
                    self._look(segment)
                for name, size, sequence in ops:
                    if self._ops.get(name) == size:
                        continue  # no block below `if`: see tests/core/storage/test_locks.py
                    self._ops[name] = size
                    low, high = sequence & 0xFFFFFFFF, sequence >> 32
                    self._new.append(Entry(FRAMES, _number(name), end=size, low=low, high=high))
                self._drop_folded()
                self._write()
            finally:
                self._is_busy = False

    def position(self) -> tuple[int, int]:
        """How often the file was made and how many entries it has, for `note_synced`."""
        return self._makes, (self._size - SUMS_HEADER) // ENTRY if self.is_made else 0

    def note_synced(self, position: tuple[int, int]) -> None:
        """Note that all that the entries before `position` are about is on the disk: no power cut has changed it."""
        makes, count = position
        # The file may have been written anew since the position was taken, and counts of the old one mean nothing in
        # the new.
        if makes == self._makes and count > self._sure:
            self._noted.append((Entry(SYNCED, count), makes))
            self._sure = count + 1  # with this entry; nothing needs to be said of it

    def mark(self, ops_files: Callable[[], object]) -> None:
        """Flag the ops files as having sums by a call, once these are on the disk, so that a loss is noticed.

        Raises:
            OSError: the disk reports an error.
        """
        with self._lock:
            if self.is_marked or not self.is_made:
                return
            # The sums are on the disk before any ops file says that they exist. In the other order a power cut would
            # leave a flag without its file, which is reported as damage.
            os.fsync(self._fd)
            os.fsync(self._directory)
            ops_files()
            self.is_marked = True

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _look(self, segment: GrowingSegment) -> None:
        cover = self._covers.get(segment.name)
        if cover is None:
            cover = self._covers[segment.name] = _Cover(_number(segment.name))
        is_shut, used = segment.is_shut, segment.used()  # in this order: nothing is written to a shut one any more
        if cover.is_done or (cover.upto == used and not cover.holes and not is_shut):
            return
        try:
            fd = os.open(segment.name, os.O_RDONLY, dir_fd=self._directory)
        except FileNotFoundError:
            return  # folded, or not stored yet
        try:
            self._new.extend(cover.look(fd, used))
        finally:
            os.close(fd)
        cover.is_done = is_shut

    def _drop_folded(self) -> None:
        """Take in the noted entries, and drop those of files that are in the index."""
        # One by one, since other threads add to both meanwhile; and the names are counted first, so that the counts of
        # the index that has a file, which are noted before its name, are written with it.
        gone = len(self._gone)
        for _ in range(len(self._noted)):
            entry, makes = self._noted.popleft()
            if makes in (None, self._makes):
                self._new.append(entry)
        for _ in range(gone):
            name = self._gone.popleft()
            is_segment = name.endswith(".seg")
            self._covers.pop(name, None)
            self._ops.pop(name, None)
            kind, number = RANGE if is_segment else FRAMES, _number(name)
            for key in [key for key in self._entries if key[:2] == (kind, number)]:
                del self._entries[key]
            self._new = deque(entry for entry in self._new if entry[:2] != (kind, number))
            self._new.append(Entry(FOLDED_SEGMENT if is_segment else FOLDED_OPS, number))

    def _write(self) -> None:
        for entry in self._new:
            if entry.kind in (RANGE, FRAMES):
                self._entries[entry.kind, entry.number, entry.start] = entry
            elif entry.kind == INDEX:
                self._entries[entry.kind,] = entry
        is_lost = self.is_made and os.fstat(self._fd).st_nlink == 0
        # Mostly entries of files that are folded by now: the file is written anew with those that still hold, instead
        # of growing with the run.
        is_long = self._size > MOST_BYTES and self._size > 4 * ENTRY * len(self._entries)
        if is_lost or is_long or not self.is_made:
            self._make()
        elif self._new:
            data = b"".join(entry.encode() for entry in self._new)
            if os.pwrite(self._fd, data, self._size) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
            self._size += len(data)
        self._new.clear()

    def _make(self) -> None:
        data = _header.pack(MAGIC, VERSION, boot_number(), HAS_BASE * self.has_base, 0)[:28]
        data += _crc.pack(zlib.crc32(data)) + b"".join(entry.encode() for entry in self._entries.values())
        with new_file(self._directory, self.name) as fd:
            write_all(fd, data)
        self.close()
        self._fd, self._size, self._sure = fd, len(data), 0
        self._makes += 1


@contextlib.contextmanager
def lone_sums(journal: Path, *, has_base: bool = False) -> Iterator[Sums]:
    """Sums of a process that changes the index and has no journal of its own; their file is there in the block.

    `has_base`: the run was sealed, and the block lays its seal beside the sums.

    Raises:
        OSError: the disk reports an error.
    """
    directory = os.open(journal, os.O_RDONLY | os.O_DIRECTORY)
    sums = Sums(directory, new_writer_id())
    sums.has_base = has_base
    try:
        sums.cover((), ())
        yield sums
    finally:
        sums.close()
        os.close(directory)


class _Cover:
    """How far one segment is summed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.upto = SEGMENT_HEADER
        self.holes: list[int] = []
        """Records that were reserved and not written, or not written yet."""
        self.is_done = False
        self._last: Entry | None = None  # the range that may still grow

    def look(self, fd: int, used: int) -> Iterator[Entry]:
        """The ranges that are new or have grown since the last look."""
        if self.upto == SEGMENT_HEADER:
            yield self._range(0, os.pread(fd, FIXED, 0), 0, 0)
        waiting = self._read_holes(fd) if self.holes else []
        size = (used - self.upto) // RECORD * RECORD
        seen = os.pread(fd, size, self.upto)
        # Read twice: on some processors a commit word can be seen before the rest of its record. Taking the lock of
        # the interpreter in between is a barrier, so records that were there the first time are whole the second.
        data = os.pread(fd, len(seen) // RECORD * RECORD, self.upto)
        self.holes = []  # not before all was read, which may fail
        for start, first, second in (*waiting, (self.upto, seen, data)):
            limit = LARGE if len(second) > 16 * SMALL else SMALL
            for at in range(0, len(second), limit):
                yield from self._runs(first[at : at + limit], second[at : at + limit], start + at, limit)
        self.upto += len(data)

    def _read_holes(self, fd: int) -> list[tuple[int, bytes, bytes]]:
        """Read the holes again, twice too, and neighbours together, with the offset of the first of them.

        A dict of 100,000 floats reserves as many records before it packs them.
        """
        found = []
        for _, group in itertools.groupby(enumerate(self.holes), lambda item: item[1] - item[0] * RECORD):
            places = [at for _number, at in group]
            size = len(places) * RECORD
            found.append((places[0], os.pread(fd, size, places[0]), os.pread(fd, size, places[0])))
        return found

    def _runs(self, seen: bytes, data: bytes, start: int, limit: int) -> Iterator[Entry]:
        at = 0
        for hole in [*holes(seen[: len(data)]), len(data)]:
            if hole > at:
                yield from self._grow(data[at:hole], start + at, limit)
            if hole < len(data):
                self.holes.append(start + hole)
            at = hole + RECORD

    def _grow(self, data: bytes, start: int, limit: int) -> Iterator[Entry]:
        last = self._last
        # The checksum is continued, so that a slow run has one range for 4 KiB and not one for each look.
        if limit == SMALL and last is not None and last.end == start and last.end - last.start < SMALL:
            part = data[: SMALL - (last.end - last.start)]
            low, high = _span(part)
            self._last = last._replace(
                end=start + len(part),
                crc=zlib.crc32(part, last.crc),
                low=min(low, last.low),
                high=max(high, last.high),
            )
            yield self._last
            start, data = start + len(part), data[len(part) :]
        if data:
            low, high = _span(data) if limit == SMALL else (0, ANY)
            self._last = self._range(start, data, low, high)
            yield self._last

    def _range(self, start: int, data: bytes, low: int, high: int) -> Entry:
        return Entry(RANGE, self.number, start, start + len(data), zlib.crc32(data), low, high)


def holes(records: bytes) -> list[int]:
    """Offsets of the records without a commit word. Planes of bytes are joined as long integers: no loop in Python."""
    # The four bytes of all commit words, a long integer for each place. Where their OR has a zero byte, the word is
    # zero.
    planes = [int.from_bytes(records[at::RECORD], "little") for at in range(RECORD - 4, RECORD)]
    words = functools.reduce(operator.or_, planes).to_bytes(len(records) // RECORD, "little")
    found, at = [], words.find(b"\0")
    while at >= 0:
        found.append(at * RECORD)
        at = words.find(b"\0", at + 1)
    return found


def _span(records: bytes) -> tuple[int, int]:
    """The lowest and the highest field number in records."""
    numbers = {number & ANY for number in set(memoryview(records).cast("I")[6::8].tolist())}
    return min(numbers), max(numbers)


def _number(name: str) -> int:
    return int(name.split(".")[1])
