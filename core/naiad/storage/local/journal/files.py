"""Journal files: the unfolded data of all writers of a run, alive or dead."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct, field

from naiad.slots import FLOAT_STEP, RECORD
from naiad.storage.local.journal import frames
from naiad.storage.local.journal.frames import FILE_HEADER, Frame, Gap, file_header, paths_in, read_frames
from naiad.storage.local.journal.log_file import SEGMENT_HEADER
from naiad.storage.local.layout import refuse_newer
from naiad.storage.results import Damage

LISTED_AT_ONCE = 16
"""Names that one call of the kernel lists, whatever the C library. More are listed by several, at several moments."""


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


class FileCover(Struct):
    """The coverage of one journal file: least size, last sequence of an ops file, ranges of a segment."""

    size: int = 0
    sequence: int = 0
    ranges: dict[int, Range] = field(default_factory=dict)  # by start

    def add(self, new: Range) -> None:
        """Take in a range; of two with one start the longer is the later."""
        known = self.ranges.get(new.start)
        if known is None or known.end < new.end:
            self.ranges[new.start] = new
        self.size = max(self.size, new.end)

    def points_from(self, start: int) -> int:
        """How many points are known to lie behind an offset."""
        return sum(min(one.points, max(0, one.end - start) // RECORD) for one in self.ranges.values())


class JournalSource(Protocol):
    """A file of some journal: in a folder, or among the bytes that a server has received so far."""

    @property
    def writer(self) -> str:
        """The writer that wrote it."""

    @property
    def number(self) -> int:
        """Its place among the files of its writer that have its suffix."""

    @property
    def suffix(self) -> str:
        """Its kind: "ops" or "seg"."""

    @property
    def name(self) -> str:
        """Its file name, which is also its key among the positions."""

    @property
    def place(self) -> str:
        """The name that damages use for it."""

    @property
    def open(self) -> Callable[[], BinaryIO]:
        """Called to open its bytes for reading; FileNotFoundError: it was folded and removed."""


File = TypeVar("File", bound=JournalSource)


class Source(Struct, Generic[File], frozen=True):
    """A journal file to fold, wherever its bytes lie; `is_final` when no process will ever write to it again."""

    file: File
    is_final: bool
    is_awaited: bool = False
    """Whether ops of its writer may still come from another machine: points that they have to define wait for them."""


class JournalFile(NamedTuple):
    """One file of the journal; sorted, the files of a writer are in the order in which it wrote them."""

    writer: str
    number: int
    suffix: str  # "ops" or "seg"
    path: Path
    name: str
    """Its file name, which is also its key among the positions."""
    place: str
    """Its path in the run's folder, by which the seal and damages name it."""
    open: Callable[[], BinaryIO]
    """Opens its bytes for reading."""

    def __eq__(self, other: object) -> bool:
        """Whether it is the same file: two ways to open it are never equal."""
        return isinstance(other, JournalFile) and self[:4] == other[:4]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:4])

    def __str__(self) -> str:
        """Its path, for messages."""
        return str(self.path)


def journal_file(writer: str, number: int, suffix: str, path: Path) -> JournalFile:
    """Return the file at a path."""
    place = f"{path.parent.name}/{path.name}"
    return JournalFile(writer, number, suffix, path, path.name, place, partial(FileIO, path))


def list_journal(folder: Path) -> list[JournalFile]:
    """The files of a journal folder, none when there is no folder; never a file without the earlier ones of its writer.

    Those that were removed meanwhile are not among them.
    """
    try:
        first = os.listdir(folder)
        second = os.listdir(folder) if len(first) > LISTED_AT_ONCE else []
    except (FileNotFoundError, NotADirectoryError):
        return []
    files = []
    for name in {*first, *second}:
        writer, _, rest = name.partition(".")
        number, _, suffix = rest.partition(".")
        # Anything else in the folder is no file of a writer: leases, sums, hidden files that are being made.
        if writer and suffix in ("ops", "seg") and number.isascii() and number.isdigit():
            files.append(journal_file(writer, int(number), suffix, folder / name))
    files.sort()
    if second:
        # Of files made during a listing it may have later ones without earlier ones. A second one, begun after that,
        # has the earlier ones for sure.
        seen = set(first)
        newest = {(file.writer, file.suffix): file.number for file in files if file.name in seen}
        files = [file for file in files if file.number <= newest.get((file.writer, file.suffix), -1)]
    return files


def read_ops(
    file: JournalSource,
    start: int,
    *,
    is_sealed: bool = False,
    is_header_damaged: bool = False,
    cover: FileCover | None = None,
) -> tuple[list[Frame], int, list[Damage]]:
    """Read the frames from byte `start`; return them with the next position and the damage.

    Bytes at the end that are no frame are a write cut short, or one that is just happening: they are left for later,
    unless the file was sealed, for nothing follows then, or its sums cover more frames: `cover`. A header that
    is damaged by the seal is not parsed for a version, and one of a file that was read before, `start` is not 0, may be
    damaged. A frame that is there twice counts once.

    Raises:
        FileNotFoundError: it was folded meanwhile.
        NewerFormat: a later release wrote it.
    """
    with file.open() as stream:
        data = stream.read()
    found: list[Frame] = []
    damages: list[Damage] = []
    if not is_header_damaged:
        _check_header(data, file, [] if start else damages, cover)
    start = upto = max(start, FILE_HEADER)
    known = 0 if cover is None else cover.size
    for item in read_frames(data, start):
        if isinstance(item, Frame):
            found.append(item)
        elif item.is_tail and not is_sealed and item.start >= known:
            break
        else:
            damages += gap_damages(file, item, data)
        upto = item.end
    damages += _missing_sequences(file, found)
    # Sums say how much was written: only with them a file that was cut at the end of a frame shows that it was.
    if len(data) < known:
        damages.append(Damage(file.place, f"it has {len(data)} bytes where {known} were written", offset=len(data)))
    elif cover is not None and found and upto >= known and found[-1].sequence < cover.sequence:
        damages.append(Damage(file.place, f"its last {cover.sequence - found[-1].sequence} frames are missing"))
    return _once(found), upto, damages


def _once(found: list[Frame]) -> list[Frame]:
    """Yield the frames without repeated ones."""
    last, once = -1, []
    for frame in found:
        # A writer whose disk failed writes its file again; a copy of both by hand leaves the frames twice.
        if frame.sequence > last:
            last = frame.sequence
            once.append(frame)
    return once


def gap_damages(file: JournalSource, gap: Gap, data: bytes) -> list[Damage]:
    """One damage for each field that lost bytes seem to be about, or one that names none."""
    what = f"{gap.end - gap.start} bytes are not ops"
    named: list[str | None] = [*paths_in(data[gap.start : gap.end])]
    return [Damage(file.place, what, path, gap.start) for path in named or [None]]


def tail_gap(file: JournalFile, start: int) -> Gap | None:
    """The bytes at the end of an ops file that are no frame, if there are any."""
    last = None
    for item in read_frames(file.path.read_bytes(), max(start, FILE_HEADER)):
        last = item
    return last if isinstance(last, Gap) else None


def _check_header(data: bytes, file: JournalSource, damages: list[Damage], cover: FileCover | None) -> None:
    """Note a damaged header and go on: the frames behind it carry their own crc.

    A writer of sums writes this version, so with them another one is damage.
    """
    if cover is not None and len(data) >= FILE_HEADER and data[:12] != file_header()[:12]:
        damages.append(Damage(file.place, "its header is not that of an ops file", offset=0))
        return
    try:
        version = frames.header_version(data)
    except ValueError as error:
        if data.strip(b"\0") and not file_header().startswith(data):  # else it is being made, or a power cut took it
            damages.append(Damage(file.place, str(error), offset=0))
    else:
        if version != frames.VERSION:
            refuse_newer(version, frames.VERSION, file)


def _missing_sequences(file: JournalSource, found: list[Frame]) -> list[Damage]:
    damages = []
    for one, two in pairwise(found):
        if two.sequence != one.sequence + 1:
            missing = two.sequence - one.sequence - 1
            what = f"{missing} frames are missing" if missing > 0 else "frames are there that were written before"
            damages.append(Damage(file.place, what, offset=one.end))
    return damages
