"""Journal files on their way to a server: checking their parts, and how far each file is after a group of them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from naiad.container_kinds import RunId
from naiad.errors import NaiadValueError, NewerFormat, shown
from naiad.ops import Assign, Frame
from naiad.scalars import unpack_text
from naiad.slots import RECORD, SEGMENT_HEADER
from naiad.storage.local.journal.frames import FILE_HEADER, has_crc, read_frames
from naiad.storage.receiving import Accepted, Piece, Position, Received, Registered, Sealing

CLAIMED = ("sys/id", "sys/project")
TRASHED = "sys/trashed"
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
    moves: set[bool] = set()
    for item in read_frames(data):
        if not isinstance(item, Frame):
            if has_crc(data, item.start):
                raise NewerFormat(f"{file} has ops that this server does not support: a later release wrote them.")
            raise NaiadValueError(f"Bytes {start + item.start} and following of {file} are not a frame.")
        for op in item.ops:
            if type(op) is Assign and op.path in CLAIMED and isinstance(op.value, str | bytes):
                claims[op.path] = unpack_text(op.value)
            if getattr(op, "path", "") == TRASHED:  # an op of any other type deletes or hides it
                moves.add(type(op) is Assign and op.value is True)
    return Piece(run, file, start, data, claims, moves=frozenset(moves))


def is_name(file: str) -> bool:
    """Whether a journal file can have a name."""
    return name_form.match(file) is not None


class Group:
    """Pieces and ends of files that are taken together: which of them continue their files, and what follows.

    Its attributes are empty until it is settled.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        sealings: Sequence[Sealing] = (),
        writers: Mapping[tuple[RunId, str], bool] | None = None,
    ) -> None:
        self._pieces, self._sealings = pieces, sealings
        self._writers = writers or {}
        self._files: dict[tuple[RunId, str], Position] = {}
        self.asked = {*((each.run, each.file) for each in pieces), *((each.run, each.file) for each in sealings)}
        self.taken: list[Piece] = []
        self.changed: dict[tuple[RunId, str], Position] = {}
        self.mismatched: set[tuple[RunId, str]] = set()

    @property
    def runs(self) -> set[RunId]:
        """The runs that it is about."""
        return {run for run, _name in (*self.asked, *self._writers)}

    def settle(
        self,
        positions: Callable[[RunId], Mapping[str, Position] | None],
        files: Collection[tuple[RunId, str]] | None = None,
    ) -> None:
        """Decide what continues its file.

        Args:
            positions: how far the files of a run are; None of a run that is not here, of which nothing is taken.
            files: the ones to decide anew; None: all.
        """
        files = self.asked if files is None else files
        for run, file in files:
            for decided in (self._files, self.changed):
                decided.pop((run, file), None)
            known = positions(run)
            if known is not None:
                self._files[run, file] = known.get(file) or Position(HEADERS[suffix_of(file)], 0, False)
        self.mismatched -= set(files)
        own = [piece for piece in self._pieces if (piece.run, piece.file) in files and self._take(piece)]
        self.taken = [each for each in self.taken if (each.run, each.file) not in files] + own
        for sealing in self._sealings:
            if (sealing.run, sealing.file) in files:
                self._seal(sealing)

    def _take(self, piece: Piece) -> bool:
        """Whether a piece continues its file; a repeat does not, and neither does one behind a gap."""
        key = piece.run, piece.file
        known = self._files.get(key)
        if known is None or piece.start != known.upto:
            return False
        if known.is_sealed:
            self.mismatched.add(key)
            return False
        self._change(key, Position(known.upto + len(piece.data), zlib.crc32(piece.data, known.crc), False))
        return True

    def _seal(self, sealing: Sealing) -> None:
        """Let a file get nothing more, if all of it is there."""
        key = sealing.run, sealing.file
        known = self._files.get(key)
        if known is None:
            return
        if known.is_sealed:
            if known.upto != sealing.end or (known.crc and known.crc != sealing.crc):
                self.mismatched.add(key)
        elif (known.upto, known.crc) == (sealing.end, sealing.crc):
            self._change(key, known._replace(is_sealed=True))
        elif known.upto >= sealing.end:
            self.mismatched.add(key)

    def _change(self, key: tuple[RunId, str], position: Position) -> None:
        self._files[key] = self.changed[key] = position

    @property
    def signs(self) -> dict[tuple[RunId, str], bool]:
        """Whether each writer of whom something was heard lives: as long as its client says so with its bytes."""
        named = [*((each.run, each.file) for each in self.taken), *((each.run, each.file) for each in self._sealings)]
        return {**{(run, writer_of(file)): False for run, file in named}, **self._writers}

    @property
    def grown(self) -> dict[RunId, int]:
        """The bytes that each run got."""
        found: dict[RunId, int] = {}
        for piece in self.taken:
            found[piece.run] = found.get(piece.run, 0) + len(piece.data)
        return found

    def claimed(self, find: Callable[[str], Registered | None]) -> frozenset[RunId]:
        """Return the runs of which a client gave `sys/id` or `sys/project` another value than the store has."""
        found = set()
        for piece in self.taken:
            known = find(piece.run.uid) if piece.claims else None
            own = {} if known is None else {"sys/id": known.id, "sys/project": known.project}
            if any(own.get(path, text) != text for path, text in piece.claims.items()):
                found.add(piece.run)
        return frozenset(found)

    def accepted(self, ended: Iterable[RunId], claimed: frozenset[RunId]) -> Accepted:
        """Return the answer, once all of it is safe."""
        files = {key: Received(each.upto, each.is_sealed) for key, each in self._files.items()}
        points = sum(len(piece.data) // RECORD for piece in self.taken if suffix_of(piece.file) == "seg")
        mismatched = frozenset(self.mismatched)
        return Accepted(files, mismatched, self.grown, len(self.taken), points, frozenset(ended), claimed)


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
