"""Received positions: how far each journal file of another machine is, by the database and by the files themselves."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from naiad.container_kinds import RunId
from naiad.ops import Frame
from naiad.slots import RECORD, SEGMENT_HEADER
from naiad.storage.local.journal.arrivals import name_form, suffix_of, writer_of
from naiad.storage.local.journal.files import JournalFile, list_journal
from naiad.storage.local.journal.frames import FILE_HEADER, read_frames
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.receiving import Position
from naiad.storage.sql import received
from naiad.storage.sql.database import open_for_reading

if TYPE_CHECKING:
    from naiad.storage.local.index.index import Index

MOST_KNOWN = 4_096
"""Runs of which the positions stay in memory."""


class Store(Protocol):
    """The store of a folder, as far as positions need it."""

    def directory(self, run: RunId) -> RunDirectory:
        """Return the folder of a container, there or not."""


class ReceivedPositions:
    """The positions of the files that one server has received. Its users take turns."""

    def __init__(self, store: Store, database: received.Database) -> None:
        self._store = store
        self._database = database
        self._known: OrderedDict[str, dict[str, Position]] = OrderedDict()

    def forget(self, run: RunId) -> None:
        """Drop the positions of a container, which are read again when they are needed."""
        self._known.pop(run.uid, None)

    def of(self, run: RunId) -> dict[str, Position]:
        """Return how far each file of a run is, to look at and to bring further."""
        found = self._known.get(run.uid)
        if found is None:
            with self._database.transaction() as connection:
                found = received.positions(connection, run.uid)
            found = self._known[run.uid] = self.compared(run, found)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(run.uid)
        return found

    def compared(self, run: RunId, known: dict[str, Position]) -> dict[str, Position]:
        """The positions, and those of files that came by other ways or were set back with their folder."""
        folder = self._store.directory(run)
        if not folder.path.is_dir():
            return {}  # nothing came yet, or it was lost with all its files
        files = {file.name: file for file in list_journal(folder.journal)}
        folded = {} if files.keys() >= known.keys() and not folder.index.exists() else folded_positions(folder)
        found: dict[str, Position] = {}
        for name in {*known, *files, *folded}:
            if name_form.match(name):
                position = known.get(name)
                upto, is_done = folded.get(name, (0, False))
                if name in files:
                    # The file is shorter than what was received: it was set back with its folder. What is there
                    # counts, and the client sends the rest again.
                    if position is None or files[name].path.stat().st_size < position.upto:
                        position = _measured(files[name])
                    found[name] = position
                elif is_done:
                    found[name] = position if position is not None else Position(upto, 0, True)
        return found


def folded_positions(folder: RunDirectory) -> dict[str, tuple[int, bool]]:
    """The positions in the index of a run."""
    if not folder.index.exists():
        return {}
    index = _opened(folder)
    with index.view() as connection:
        return index.positions(connection, [])


def count_fields(folder: RunDirectory) -> int:
    """Return the number of fields of a run; those in bytes that are not folded yet may be missing."""
    if not folder.path.is_dir():
        return 0
    if not folder.index.exists():
        return len(Reader(folder).kinds())
    index = _opened(folder)
    with index.view() as connection:
        return index.head(connection).fields


def _opened(folder: RunDirectory) -> Index:
    """The index of a run, which may be sealed: opening it for writing would change it."""
    from naiad.storage.local.index.index import Index  # numpy

    return Index(folder, open_for_reading(folder.index, is_final=folder.seal.exists()))


def _measured(file: JournalFile) -> Position:
    """The position of a file by its content: whole frames, or records up to the first hole."""
    data = file.path.read_bytes()
    if file.suffix == "ops":
        upto = FILE_HEADER
        for item in read_frames(data, FILE_HEADER):
            if not isinstance(item, Frame):
                break
            upto = item.end
        return Position(upto, zlib.crc32(data[FILE_HEADER:upto]), False)
    upto = SEGMENT_HEADER
    while upto + RECORD <= len(data) and int.from_bytes(data[upto + RECORD - 4 : upto + RECORD], "little") == upto:
        upto += RECORD
    return Position(upto, zlib.crc32(data[SEGMENT_HEADER:upto]), False)


def is_complete(positions: Mapping[str, Position], writer: str) -> bool:
    """Whether all files of a writer are received to their ends; without ops there is one that has not come yet."""
    own = {file: each for file, each in positions.items() if writer_of(file) == writer}
    return any(suffix_of(file) == "ops" for file in own) and all(each.is_sealed for each in own.values())
