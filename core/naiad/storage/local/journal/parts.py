"""Parts: stretches of journal files as a server takes them. Bytes are read from the files, never from memory.

Of a segment whole records are taken, up to the first one without a commit word: a thread may be writing it. Of an ops
file whole frames are taken. A final file, to which no process writes any more, is taken to its last record or frame,
with the holes before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from naiad.ops import Define, Frame
from naiad.planes import planes_of
from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_HEADER
from naiad.storage.local.journal.files import JournalFile, journal_file, list_journal
from naiad.storage.local.journal.frames import FILE_HEADER, FRAME_HEADER, LARGEST, read_frames
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.outbox import SENT, sent, unfinished

WORDS, FID_AT, COMMIT_AT = RECORD // 4, 6, 7
"""A record as numbers of four bytes: how many there are, and the places of its series and its commit word."""
PLANES, CONTENT = 1, 2
"""Codecs of a part: records that are transposed, all first bytes, all second bytes and so on; and bytes that were sent
as content before, in whose place their SHA-256 stands."""
LARGEST_PART = 8 * 1024 * 1024
"""Bytes of a part that travel in a request; a larger one, which is one huge value, goes as content."""
READ = 1024 * 1024
_counts = struct.Struct("<IQ")
_head = struct.Struct("<IIQ")
_hash = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class Part:
    """Bytes of one journal file from an offset."""

    name: str
    start: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset of the byte after them."""
        return self.start + len(self.data)

    @property
    def is_huge(self) -> bool:
        """Whether it is too large for a request."""
        return len(self.data) > LARGEST_PART

    def without(self, names: Collection[str]) -> Part:
        """Return the frames before the first one that names some content, of a part of an ops file."""
        at = 0
        while at < len(self.data):
            end = at + FRAME_HEADER + int.from_bytes(self.data[at : at + 4], "little")
            if not hashes_in(self.data[at:end]).isdisjoint(names):
                break
            at = end
        return Part(self.name, self.start, self.data[:at])

    def numbers(self) -> set[int]:
        """Return the numbers that series get in a part of an ops file."""
        frames = [item for item in read_frames(self.data) if isinstance(item, Frame)]
        return {op.fid for frame in frames for op in frame.ops if type(op) is Define}

    def before(self, numbers: Collection[int]) -> Part:
        """Return the records before the first one of some series, of a part of a segment."""
        with memoryview(self.data) as view, view.cast("I") as words:
            fids = words[FID_AT::WORDS].tolist()
        end = next((place for place, fid in enumerate(fids) if fid & (FLOAT_STEP - 1) in numbers), len(fids))
        return Part(self.name, self.start, self.data[: end * RECORD])

    def encoded(self, uid: str) -> list[object]:
        """Return the part as it stands in a request."""
        crc = zlib.crc32(self.data)
        if self.is_huge:
            return [uid, self.name, self.start, CONTENT, crc, hashlib.sha256(self.data).digest()]
        if not self.name.endswith(".seg"):
            return [uid, self.name, self.start, 0, crc, self.data]
        # Bytes of one place are alike from record to record, and compress to a fraction when they lie together.
        return [uid, self.name, self.start, PLANES, crc, planes_of(self.data)]


class Source(NamedTuple):
    """A journal file to ship, and whether no process will ever write to it again."""

    file: JournalFile
    is_retired: bool
    """It lies in the outbox: everything of it is in the index, and it is final."""

    @property
    def name(self) -> str:
        """Its file name in the journal."""
        return self.file.name.removesuffix(SENT)

    @property
    def header(self) -> int:
        """The bytes before the first that is shipped."""
        return header_of(self.name)


def header_of(name: str) -> int:
    """Return how many bytes of a journal file are never shipped."""
    return SEGMENT_HEADER if name.endswith(".seg") else FILE_HEADER


def sources(folder: RunDirectory) -> list[Source]:
    """Return the journal files of a run, those of a writer in its order; a confirmed one of the outbox is left out.

    A file that is retired meanwhile is in one of the two places: the journal is listed first. The files of a replay are
    left out until all of them are there.
    """
    found = {file.name: Source(file, is_retired=False) for file in list_journal(folder.journal)}
    hidden = unfinished(folder)
    retired = [file for file in list_journal(folder.outbox) if file.writer not in hidden]
    found.update({file.name: Source(file, is_retired=True) for file in retired})
    return sorted(found.values(), key=lambda source: source.file)


def confirmed_sources(folder: RunDirectory) -> list[Source]:
    """Return the files of the outbox that a server has confirmed, for comparing them once more."""
    found = []
    for path in sent(folder):
        writer, number, suffix = path.name.removesuffix(SENT).split(".")
        found.append(Source(journal_file(writer, int(number), suffix, path), is_retired=True))
    return sorted(found, key=lambda source: source.file)


def confirmed(folder: RunDirectory) -> set[str]:
    """Return the names of the files in the outbox that a server has confirmed."""
    try:
        return {name.removesuffix(SENT) for name in os.listdir(folder.outbox) if name.endswith(SENT)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def read_part(source: Source, start: int, most: int, *, is_final: bool) -> Part:
    """Read the next shippable bytes of a file from an offset, at most about so many bytes and at least one frame.

    Raises:
        FileNotFoundError: it was retired or removed meanwhile.
    """
    start = max(start, source.header)
    with source.file.path.open("rb") as stream:
        if source.file.suffix == "ops":
            return Part(source.name, start, _frames(stream.fileno(), start, most, is_final))
        return Part(source.name, start, _records(stream.fileno(), start, most, is_final))


def final_end(source: Source) -> int:
    """Return the offset behind the last record or frame of a final file.

    Raises:
        FileNotFoundError: it was removed.
    """
    data = source.file.path.read_bytes()
    if source.file.suffix == "ops":
        return _last_frame(data, FILE_HEADER)
    return SEGMENT_HEADER + _last_record(data[SEGMENT_HEADER:], SEGMENT_HEADER)


def crc_of(source: Source, end: int) -> int:
    """Return the CRC-32 of the shipped bytes of a file.

    Raises:
        FileNotFoundError: it was removed.
    """
    crc, at = 0, source.header
    with source.file.path.open("rb") as stream:
        stream.seek(at)
        while at < end and (data := stream.read(min(READ, end - at))):
            crc, at = zlib.crc32(data, crc), at + len(data)
    return crc


def hashes_in(data: bytes) -> set[str]:
    """Return all that looks like a SHA-256 in ops: the content that they name is among it."""
    return {match.decode() for match in _hash.findall(data)}


def _records(fd: int, start: int, most: int, is_final: bool) -> bytes:
    data = os.pread(fd, most - most % RECORD, start)
    data = data[: len(data) // RECORD * RECORD]
    if not is_final:
        # Threads store records while they are read: one may have its commit word, and bytes from before. The second
        # time each that had it is whole.
        return os.pread(fd, _committed(data, start), start)
    end = _last_record(data, start)
    if end < len(data):  # a hole at the end of this stretch, or the end of the file
        rest = os.pread(fd, os.fstat(fd).st_size, start + len(data))
        if _last_record(rest[: len(rest) // RECORD * RECORD], start + len(data)):
            end = len(data)
    return data[:end]


def _commits(data: bytes) -> list[int]:
    with memoryview(data) as view, view.cast("I") as words:
        return words[COMMIT_AT::WORDS].tolist()


def _committed(data: bytes, start: int) -> int:
    """Return the bytes before the first record without its commit word."""
    commits = _commits(data)
    offsets = range(start, start + len(data), RECORD)
    # The usual case in one comparison; only a stretch with a hole is looked at word by word.
    if commits == [*offsets]:
        return len(data)
    return next(place for place, (commit, at) in enumerate(zip(commits, offsets, strict=True)) if commit != at) * RECORD


def _last_record(data: bytes, start: int) -> int:
    """Return the bytes up to the last record with its commit word."""
    data = data[: len(data) // RECORD * RECORD]
    commits = _commits(data)
    # From the end, because a segment is allocated whole: most of it may be unwritten.
    for place in range(len(commits) - 1, -1, -1):
        if commits[place] == start + place * RECORD:
            return (place + 1) * RECORD
    return 0


def _frames(fd: int, start: int, most: int, is_final: bool) -> bytes:
    size = os.fstat(fd).st_size
    if is_final and size - start <= most:
        data = os.pread(fd, size - start, start)
        return data[: _last_frame(data, 0)]
    found = bytearray()
    for frame in _whole_frames(fd, start, size):
        if found and len(found) + len(frame) > most:
            break
        found += frame
    if not found and is_final and start < size:  # damaged bytes, behind which there may be frames
        data = os.pread(fd, size - start, start)
        return data[: _last_frame(data, 0)]
    return bytes(found)


def _whole_frames(fd: int, at: int, size: int) -> Iterator[bytes]:
    """Yield the frames up to the first bytes that are none, or are not all there yet."""
    while at + FRAME_HEADER < size:
        length, crc, sequence = _head.unpack(os.pread(fd, FRAME_HEADER, at))
        if not 0 < length <= LARGEST or at + FRAME_HEADER + length > size:
            return
        frame = os.pread(fd, FRAME_HEADER + length, at)
        payload = memoryview(frame)[FRAME_HEADER:]
        if len(frame) < FRAME_HEADER + length:
            return
        # The frame may be half written at this moment: the next round reads it again.
        if zlib.crc32(payload, zlib.crc32(_counts.pack(length, sequence))) != crc:
            return
        yield frame
        at += len(frame)


def _last_frame(data: bytes, start: int) -> int:
    """Return the offset behind the last frame."""
    end = start
    with contextlib.suppress(RecursionError):
        for item in read_frames(data, start):
            if isinstance(item, Frame):
                end = item.end
    return end


def path_of(folder: RunDirectory, name: str) -> Path | None:
    """Return where a journal file is now; None if it is gone."""
    places = (folder.journal / name, folder.outbox / name, folder.outbox / (name + SENT))
    return next((place for place in places if place.exists()), None)
