"""A segment: one file of fixed-size point records, written through a shared mapping without locks or system calls.

Header, 64 bytes, little-endian: magic `NAIADSEG`, u32 version, u32 record size, u64 pid, f64 created,
u64 sealed bytes (0 while open), u32 crc32 of the sealed records, 20 spare bytes.

Record, 32 bytes: step, f64 value, f64 unix seconds, u32 field number, u32 commit. The step is an int64, or a float64
when the top bit of the field number is set (`FLOAT_STEP`). The commit word is the record's own byte offset and is
stored last: a record whose commit word is anything else does not exist. `naiad.slots` packs it, for the handler and
for the journal alike. `struct.pack_into` zeroes the slot first, so a process killed in between leaves no half record
that could be taken for a whole one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import mmap
import operator
import os
import struct
import sys
import zlib
from collections.abc import Iterator

from naiad import clock
from naiad.disk import allocate, new_file, save, write_all
from naiad.slots import DEAD_SLOT, RECORD, SEGMENT_FORM, SEGMENT_HEADER, SEGMENT_MAGIC, SEGMENT_VERSION, Slot
from naiad.storage.local.journal.log_file import LogFile

COMMIT_AT = 28

_call = operator.methodcaller("__call__")
_beyond = itertools.repeat(1 << 40)
SEAL_AT = 32

HOLE_SECONDS = 0.2
"""How long a reserved record may stay unwritten before its segment is closed and its thread has to append elsewhere."""


class Segment(LogFile):
    """One segment of this process: a file, or memory (`is_stored` False) while the disk takes no file."""

    def __init__(self, name: str, size: int, fd: int, *, is_stored: bool = True, is_mapped: bool = True) -> None:
        super().__init__(name, fd, SEGMENT_HEADER)
        self.size = size
        self.is_stored = is_stored
        self._map = mmap.mmap(fd, size) if is_mapped else None
        self._kept = b""
        self.retired_at: float | None = None  # monotonic seconds when it stopped being the active one
        # A slot without a page uses up no record: packing into it fails, and the caller turns to `PointLog.append`.
        self.slot: Slot = (DEAD_SLOT[0], bytearray())
        self._window: tuple[Iterator[int], int] = (
            iter(()),
            SEGMENT_HEADER,
        )  # offsets not handed out yet, and where they end
        self.allot(size // RECORD)
        header = SEGMENT_FORM.pack(SEGMENT_MAGIC, SEGMENT_VERSION, RECORD, os.getpid(), clock.now(), 0, 0)
        if self._map is None:
            write_all(fd, header)
        else:
            self._map[: len(header)] = header

    def allot(self, records: int) -> bool:
        """Open the slot for more records; False if none is left.

        To be called when the slot is used up, or unused: no other thread hands out records meanwhile.
        """
        start = self.used()
        end = min(start + records * RECORD, self.size)
        if end <= start or self.is_shut:
            return False
        # A range's iterator is advanced in C, so that two threads never get one offset, and no lock is needed.
        offsets = iter(range(start, end, RECORD))
        self._window = offsets, end
        # Beyond its end it gives an offset outside any page, for which packing raises: cheaper for the caller than
        # StopIteration.
        self.offsets = itertools.chain(offsets, _beyond)
        """Offsets of records that no other caller gets; beyond the page when the slot is used up."""
        if self._map is not None:
            self.slot = (self.offsets, self._map)
        return True

    @classmethod
    def create(cls, directory: int, name: str, size: int, *, is_mapped: bool = True) -> Segment:
        """Make, allocate and map a new file in the directory behind the descriptor.

        The blocks are allocated now: a sparse file would kill the process with SIGBUS on a full disk. One that is not
        mapped takes its records by `pwrite()` alone, so that no state of the disk can do that.

        Raises:
            OSError: no room, no folder, no permission; nothing is left behind.
        """
        if sys.byteorder != "little":
            raise OSError("naiad writes its journal in native byte order and supports little-endian machines only")
        with new_file(directory, name) as fd:
            allocate(fd, size)
            return cls(name, size, fd, is_mapped=is_mapped)

    @classmethod
    def of_records(cls, directory: int, name: str, records: bytes) -> Segment:
        """Make a new file that these records fill, which have their commit words for it.

        Raises:
            OSError: no room, no folder, no permission; nothing is left behind.
        """
        with new_file(directory, name) as fd:
            segment = cls(name, SEGMENT_HEADER + len(records), fd, is_mapped=False)
            write_all(fd, records)
        segment._retire_full()
        return segment

    @classmethod
    def in_memory(cls, name: str, size: int) -> Segment:
        """The same without a file, for the time the disk takes none.

        Raises:
            OSError: there is no memory either.
        """
        try:
            # A file without a place on a disk, because it can be read with `pread` beside its mapping, as a stored
            # one.
            fd = os.memfd_create(name) if hasattr(os, "memfd_create") else _unlinked_file()
        except OSError:  # too many open files
            return cls(name, size, -1, is_stored=False)
        try:
            os.ftruncate(fd, size)
            return cls(name, size, fd, is_stored=False)
        except OSError:
            os.close(fd)
            return cls(name, size, -1, is_stored=False)

    def fill(self, records: bytes) -> None:
        """Fill a new segment in memory with records that have their commit words for it."""
        if self._map is not None:
            self._map[SEGMENT_HEADER:] = records
        self._retire_full()

    def _retire_full(self) -> None:
        """Hand nothing out: no thread has held a slot in it."""
        self._window = iter(()), self.size
        self.slot = (DEAD_SLOT[0], bytearray())
        self.retired_at = clock.monotonic()

    def warm(self) -> None:
        """Touch the pages of an unused segment, some 3 ms of the largest: in an append the first touch takes 1 to 4 us.

        One append of 128 comes to a new page, which would be all there is to see at the 99th percentile. Reading zeros
        into the mapping does it without holding the interpreter's lock.
        """
        with (
            contextlib.suppress(OSError),
            open("/dev/zero", "rb", buffering=0) as zeros,
            memoryview(self.slot[1]) as page,
            page[SEGMENT_HEADER:] as records,
        ):
            zeros.readinto(records)

    def used(self) -> int:
        """The end of the bytes handed out so far."""
        # `length_hint` is how many offsets are left: the count of records costs appending nothing.
        offsets, end = self._window
        return min(end - RECORD * operator.length_hint(offsets), self.size)

    def content(self, start: int, end: int) -> bytes:
        """The bytes as they are now, read beside the mapping, so that no export ever keeps it from closing."""
        return os.pread(self.fd, end - start, start) if self.fd >= 0 else self._kept[start:end]

    def shut(self) -> None:
        """Close the segment for writes. A thread with a reserved slot gets TypeError and appends elsewhere."""
        page = self._map
        if page is None:
            return
        if self.fd < 0 and not self.is_stored and not page.closed:
            # A copy and the close in one step of C code: between two lines another thread could still add a record.
            self._kept, _ = map(_call, (functools.partial(page.__getitem__, slice(None)), page.close))
        page.close()

    @property
    def is_shut(self) -> bool:
        """Whether nothing is written to it any more."""
        return self.fd < 0 if self._map is None else self._map.closed

    def take_back(self, at: int) -> None:
        """End before a record that could not be written, the last reserved one."""
        self.size = at

    def is_retired(self) -> bool:
        """Whether it was full long enough ago that every thread that holds a slot had its time to fill it."""
        return self.retired_at is not None and clock.monotonic() - self.retired_at > HOLE_SECONDS

    def rest(self) -> None:
        """Release the mapping and descriptor of a full segment that is safely on disk."""
        self.shut()
        self.close()

    def store(self, directory: int) -> None:
        """Write a closed segment in memory to a file of its name.

        Raises:
            OSError: the disk still reports an error; the segment stays in memory.
        """
        # Whole, under a hidden name: a reader sees no segment or all of it.
        fd = save(directory, self.name, self.content(0, self.used()))
        self.close()
        self.fd, self.is_stored, self._kept = fd, True, b""
        self.safe, self.safe_weight = self.progress()

    def seal(self, directory: int) -> None:
        """Cut the closed file after its last record and write its length and checksum into the header.

        Raises:
            OSError: the disk reports an error; the file is as good without.
        """
        if self.fd < 0:
            self.fd = os.open(self.name, os.O_RDWR, dir_fd=directory)
        end = self.used()
        crc = zlib.crc32(self.content(SEGMENT_HEADER, end))
        os.pwrite(self.fd, seal_fields(end, crc), SEAL_AT)
        # Length and checksum are written before the cut: a reader in between finds a file that is longer than its
        # seal, which is no damage.
        os.ftruncate(self.fd, end)

    def points(self) -> int:
        """How many it has taken."""
        return (self.used() - SEGMENT_HEADER) // RECORD

    def progress(self) -> tuple[int, int]:
        """End of the bytes handed out so far, and how many points are in them."""
        used = self.used()
        return used, (used - SEGMENT_HEADER) // RECORD


def whole_records(size: int) -> int:
    """The size of a segment near `size` that its records fill to the last byte; at least one fits."""
    return SEGMENT_HEADER + RECORD * max(1, (size - SEGMENT_HEADER) // RECORD)


def commit_of(record: bytes) -> int:
    """The commit word of one record."""
    return int.from_bytes(record[COMMIT_AT:], "little")


def put_record(segment: Segment, record: bytes, at: int) -> None:
    """Write a record at an offset that was reserved for it, which becomes its commit word.

    Raises:
        OSError: the disk reports an error.
    """
    # One call, in which the commit word is the last of the bytes: a write cut short leaves it unset.
    if os.pwrite(segment.fd, record[:COMMIT_AT] + at.to_bytes(RECORD - COMMIT_AT, "little"), at) < RECORD:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), segment.name)


def open_header() -> bytes:
    """The header of a segment that another machine writes, while it grows."""
    return SEGMENT_FORM.pack(SEGMENT_MAGIC, SEGMENT_VERSION, RECORD, 0, clock.now(), 0, 0).ljust(SEGMENT_HEADER, b"\0")


def is_header(data: bytes) -> bool:
    """Whether a segment that begins with these bytes has its header already."""
    return len(data) >= SEGMENT_HEADER and data.startswith(struct.pack("<8sII", SEGMENT_MAGIC, SEGMENT_VERSION, RECORD))


def seal_fields(end: int, crc: int) -> bytes:
    """The bytes at `SEAL_AT` of a segment that gets nothing more."""
    return struct.pack("<QI", end, crc)


def with_header(records: bytes) -> bytes:
    """A whole segment of these records, sealed; for a repair, which may have left stretches of zeros among them."""
    header = SEGMENT_FORM.pack(
        SEGMENT_MAGIC, SEGMENT_VERSION, RECORD, 0, 0.0, SEGMENT_HEADER + len(records), zlib.crc32(records)
    )
    return header.ljust(SEGMENT_HEADER, b"\0") + records


def _unlinked_file() -> int:
    import tempfile  # loads a dozen modules, for systems without memfd_create

    fd, path = tempfile.mkstemp(prefix="naiad-")
    os.unlink(path)
    return fd
