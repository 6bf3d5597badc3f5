"""The unfolded tail of a run, laid out as files of a journal in a folder of this process.

The bytes of the inbox lie at their offsets in sparse files, so that everything that reads a journal reads them; the
signs of life of writers are their leases, with the times of the database. Nothing is lost with such a folder.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path
from typing import Any

import psycopg

from naiad import clock
from naiad.compression import CompressionError
from naiad.errors import DamagedData
from naiad.storage.local.journal.arrivals import HEADERS, suffix_of
from naiad.storage.local.journal.frames import file_header
from naiad.storage.local.journal.leases import SUFFIX, hold_remote, remote_state
from naiad.storage.local.journal.segment import open_header
from naiad.storage.local.layout import FORMAT, RunDirectory
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.pieces import restored

RECEIVED = """
select r.file, r.upto, r.crc, r.is_sealed, coalesce(p.upto, 0), coalesce(p.is_done, 0)
from naiad.received r left join naiad.run_position p on p.run = r.run and p.file = r.file where r.run = %s
"""
ROWS = "select file, start, upto, extract(epoch from at)::float8 from naiad.inbox where run = %s order by file, start"
DATA = "select data, object, place, length, crc from naiad.inbox where run = %s and file = %s and start = %s"
WRITERS = "select name, state, extract(epoch from now() - seen_at)::float8 from naiad.writer where run = %s"


def make_scratch(root: Path) -> None:
    """Make a folder for the tails of many runs."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "format").write_text(f"{FORMAT}\n")


class Scratch:
    """The tail of one run."""

    def __init__(self, folder: RunDirectory, run: int, objects: Objects) -> None:
        self.folder = folder
        self._run = run
        self._objects = objects
        self._sizes: dict[str, int] = {}
        self.over: set[str] = set()
        """The writers whose files are all here, to their ends."""
        self.is_over = False
        """Whether there is no other writer."""
        self.sealed: set[str] = set()
        """The files that get nothing more."""
        self.laid: list[tuple[str, int, int]] = []
        """File, start and end of the rows of the inbox that were seen last."""

    def update(self, raw: psycopg.Connection[Any]) -> None:
        """Bring it up to date. Positions are read before rows, so that no row of a sealed file is missed."""
        journal = self.folder.journal
        journal.mkdir(parents=True, exist_ok=True)
        received = self.received(raw)
        rows = self.rows(raw)
        self.sealed = {file for file, _upto, _crc, is_sealed, _folded, _is_done in received if is_sealed}
        # A file whose content is all in the index is dropped, or its points would be read twice.
        for file, _upto, _crc, _is_sealed, folded, is_done in received:
            if is_done:
                self._drop(file)
            else:
                self._begin(file, folded)
        self.laid = []
        known = {row[0] for row in received}
        for file, start, upto, at in rows:
            if file not in known:
                continue  # it began just now; the next look has all of it
            self.laid.append((file, start, upto))
            self._lay(raw, file, start, upto, at)
        writers = self.writers(raw)
        self.over = {name for name, state, _age in writers if state == "dead"}
        self.is_over = len(self.over) == len(writers)
        for name, state, age in writers:
            if remote_state(journal, name) != state:
                hold_remote(journal, name, state, is_reopened=True)
            # As an age, by the clock of the database, since those of two machines may differ.
            seen = clock.now() - age
            with contextlib.suppress(FileNotFoundError):
                os.utime(journal / (name + SUFFIX), (seen, seen))

    def received(self, raw: psycopg.Connection[Any]) -> list[Any]:
        """File, end, crc and whether it is complete of each file, with its folded position."""
        return raw.execute(RECEIVED, [self._run]).fetchall()

    def rows(self, raw: psycopg.Connection[Any]) -> list[Any]:
        """File, start, end and time of the rows of the inbox."""
        return raw.execute(ROWS, [self._run]).fetchall()

    def data(self, raw: psycopg.Connection[Any], file: str, start: int) -> Any:
        """The bytes of a row, with their place in an object; None if it is gone."""
        return raw.execute(DATA, [self._run, file, start]).fetchone()

    def writers(self, raw: psycopg.Connection[Any]) -> list[Any]:
        """Name, state and seconds since the last sign of life of each writer."""
        return raw.execute(WRITERS, [self._run]).fetchall()

    def _begin(self, file: str, folded: int) -> None:
        path = self.folder.journal / file
        if file not in self._sizes:
            _write(path, file_header() if suffix_of(file) == "ops" else open_header(), 0)
            self._sizes[file] = HEADERS[suffix_of(file)]
            os.utime(path, (0, 0))  # that it is made here and now is no sign of life
        # Longer without bytes: what is folded is a hole, which takes no room and is never read.
        if folded > self._sizes[file]:
            os.truncate(path, folded)
            os.utime(path, (0, 0))
            self._sizes[file] = folded

    def _lay(self, raw: psycopg.Connection[Any], file: str, start: int, upto: int, at: float) -> None:
        if upto <= self._sizes.get(file, 1 << 62):
            return
        found = self.data(raw, file, start)
        if found is None:
            return  # folded meanwhile: the index has it
        data, name, place, length, crc = found
        if data is None:
            data = self._stored(name, place, length, crc, upto - start)
        path = self.folder.journal / file
        _write(path, data, start)
        # The time at which the bytes came, from which the tail of a dead writer is judged.
        os.utime(path, (at, at))
        self._sizes[file] = upto

    def _stored(self, name: str, place: int, length: int, crc: int, size: int) -> bytes:
        """Return bytes of a journal file that lie in an object.

        Raises:
            DamagedData: it has others. A fold notes that, where any other error would end the process of all folds.
        """
        own = self._objects.get(name, place, length)
        what = f"its bytes from {place} are not those that were stored"
        try:
            if zlib.crc32(own) == crc:
                return restored(own, size)
        except CompressionError as error:  # of a later release, or of a row that means others
            what = f"its bytes from {place} cannot be decompressed, as {error}"
        raise DamagedData(f"The object {name} is damaged: {what}.", file=name, offset=place, what=what)

    def _drop(self, file: str) -> None:
        if self._sizes.pop(file, None) is not None:
            (self.folder.journal / file).unlink(missing_ok=True)


def _write(path: Path, data: bytes, at: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, data, at)
    finally:
        os.close(fd)
