"""Journal files on their way to a server: checking their parts, and how far each file is after a group of them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from naiad.container_kinds import RunId
from naiad.errors import NaiadValueError, NewerFormat, shown
from naiad.ops import Assign
from naiad.scalars import unpack_text
from naiad.storage.base import RECORD
from naiad.storage.local.journal.frames import FILE_HEADER, Frame, has_crc, read_frames
from naiad.storage.local.journal.log_file import SEGMENT_HEADER
from naiad.storage.receiving import Piece, Position, Received, Sealing

CLAIMED = ("sys/id", "sys/project")
HEADERS = {"seg": SEGMENT_HEADER, "ops": FILE_HEADER}
"""Bytes of the header of a file, which does not travel, by its suffix."""
name_form = re.compile(r"(?P<writer>[A-Za-z0-9_-]{1,64})\.(?P<number>[0-9]{1,9})\.(?P<suffix>seg|ops)\Z")


def checked(run: RunId, file: str, start: int, data: bytes) -> Piece:
    """Check bytes of a journal file.

    Raises:
        NaiadValueError: they are not whole records or frames, or this is no name of a journal file.
        NewerFormat: they hold ops of a later release.
    """
    suffix = suffix_of(file)
    if suffix == "seg":
        if start % RECORD or len(data) % RECORD or start < SEGMENT_HEADER or not data:
            raise NaiadValueError(f"A part of {file} must consist of whole records of {RECORD} bytes, from {start}.")
        return Piece(run, file, start, data)
    if start < FILE_HEADER or not data:
        raise NaiadValueError(f"A part of {file} must consist of whole frames, and {start} is not the offset of one.")
    claims: dict[str, str] = {}
    for item in read_frames(data):
        if not isinstance(item, Frame):
            if has_crc(data, item.start):
                raise NewerFormat(f"{file} has ops that this server does not support: a later release wrote them.")
            raise NaiadValueError(f"Bytes {start + item.start} and following of {file} are not a frame.")
        for op in item.ops:
            if type(op) is Assign and op.path in CLAIMED and isinstance(op.value, str | bytes):
                claims[op.path] = unpack_text(op.value)
    return Piece(run, file, start, data, claims)


class Group:
    """The new positions of files after a group of pieces."""

    def __init__(self, positions: Callable[[RunId], dict[str, Position]]) -> None:
        self._positions = positions
        self.changed: dict[tuple[RunId, str], Position] = {}
        self.mismatched: set[tuple[RunId, str]] = set()

    def position(self, run: RunId, file: str) -> Position:
        """How far a file will be."""
        found = self.changed.get((run, file)) or self._positions(run).get(file)
        return found if found is not None else Position(HEADERS[suffix_of(file)], 0, False)

    def take(self, piece: Piece) -> bool:
        """Whether a piece continues its file; a repeat does not, and neither does one behind a gap."""
        key = piece.run, piece.file
        known = self.position(*key)
        if piece.start != known.upto:
            return False
        if known.is_sealed:
            self.mismatched.add(key)
            return False
        self.changed[key] = Position(known.upto + len(piece.data), zlib.crc32(piece.data, known.crc), False)
        return True

    def seal(self, sealing: Sealing) -> None:
        """Let a file get nothing more, if all of it is there."""
        key = sealing.run, sealing.file
        known = self.position(*key)
        is_same = (known.upto, known.crc) == (sealing.end, sealing.crc)
        if known.is_sealed:
            if known.upto != sealing.end or (known.crc and known.crc != sealing.crc):
                self.mismatched.add(key)
        elif is_same:
            self.changed[key] = known._replace(is_sealed=True)
        elif known.upto >= sealing.end:
            self.mismatched.add(key)


def suffix_of(file: str) -> str:
    """Return `seg` or `ops`.

    Raises:
        NaiadValueError: no journal file has this name.
    """
    found = name_form.match(file)
    if found is None:
        raise NaiadValueError(f"{shown(file)} is not the name of a journal file.")
    return found["suffix"]


def writer_of(file: str) -> str:
    """Return the writer of a file."""
    return file.partition(".")[0]


def as_received(position: Position) -> Received:
    """Return how far a file is as clients are told."""
    return Received(position.upto, position.is_sealed)
