"""Reading a run of PostgreSQL: its index in the database, with the tail laid out in a folder of this process."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from sqlalchemy.engine import Engine

from naiad.container_kinds import RunId
from naiad.disk import Report, nothing
from naiad.refs import FileRef
from naiad.storage.local.blobs import Blobs, is_incoming
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.snapshot import Snapshot
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.integrity.verify import undefined_points
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.journal.records import read_records
from naiad.storage.local.layout import Layout
from naiad.storage.local.reader import Reader
from naiad.storage.postgres.connection import OpenRunDatabase, RunDatabase, answered, transaction
from naiad.storage.postgres.index import PostgresIndex
from naiad.storage.postgres.objects import Objects, blob_name
from naiad.storage.postgres.scratch import Scratch
from naiad.storage.results import Damage
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import Database
from naiad.storage.wire import LEAST_LINKED

BYTES = "select bytes from naiad.run where number = %s"
MARK = """
select concat_ws('/',
    (select crc from naiad.run_head where run = %s),
    (select string_agg(concat_ws(' ', file, upto, crc, is_sealed), ',' order by file)
     from naiad.received where run = %s),
    (select string_agg(concat_ws(' ', name, state, seen_at), ',' order by name)
     from naiad.writer where run = %s))
from naiad.run where number = %s
"""
"""A text that differs after every change of a run: a fold changes its head, bytes that came the files that were
received, and a sign of life its writers. Rows of the inbox come with the second, and go with the first."""


class Place:
    """The place of one run: its number, the database, and the files of it that this process has."""

    def __init__(
        self, engine: Engine, objects: Objects, layout: Layout, run: RunId, number: int, raw: Any = None
    ) -> None:
        """Name the place.

        Args:
            engine: the database.
            objects: the objects.
            layout: the folders of this process.
            run: the run.
            number: its number in the database.
            raw: a transaction to read in, of a fold; else each look has its own.
        """
        self.engine = engine
        self.objects = objects
        self.run = run
        self.number = number
        self.raw = raw
        self.folder = layout.folder(run.uid, run.kind)
        self.scratch = Scratch(self.folder, number, objects)
        self.is_gone = False
        """Whether the run was deleted; one that is registered anew under its uid has another number."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Any]:
        """Return a transaction to read in."""
        if self.raw is not None:
            yield self.raw
        else:
            with transaction(self.engine, is_read_only=True) as raw:
                yield raw

    def mark(self) -> str:
        """Return a text that differs after every change; empty in a transaction, which its owner changes.

        Raises:
            ContainerNotFound: the run was deleted.
        """
        if self.raw is not None:
            return ""
        for (found,) in answered(self.engine, MARK, *[self.number] * 4):
            return str(found)
        self.is_gone = True
        raise self.run.kind.not_found(f"There is no {self.run.kind.noun} {self.run.uid}.", run_id=self.run.uid)

    @property
    def index(self) -> Database:
        """The index of the run."""
        if self.raw is not None:
            return OpenRunDatabase(self.raw, self.number)
        return RunDatabase(self.engine, self.number)

    def stored_bytes(self) -> int:
        """The bytes of the index of the run."""
        with self.transaction() as raw:
            row = raw.execute(BYTES, [self.number]).fetchone()
        return 0 if row is None else int(row[0])


class PostgresSnapshot(Snapshot):
    """The snapshot of a run: first its tail is laid out, then the index is read. See `Snapshot` for the order."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._mark = ""
        super().__init__(place.folder)

    def _update(self) -> None:
        # Asked before the look itself: a change in between is then found by the next one.
        mark = self._place.mark()
        if mark and mark == self._mark and self._folds is not None and self._pid == os.getpid():
            return
        self._mark = ""
        with self._place.transaction() as raw:
            self._place.scratch.update(raw)
        super()._update()
        self._mark = mark

    def _load(self) -> None:
        with self._snapshot() as (index, connection):
            has_begun = index.has_begun(connection)
            folds = index.folds(connection) if has_begun else 0
            # Loading a projection reads every field; between folds only the tail grows.
            if folds == self._folds:
                return
            projection, damages = Projection(), list[Damage]()
            positions: dict[str, tuple[int, bool]] = {}
            if has_begun:
                projection, _head, positions, damages = index.load(connection)
        self._show(projection)
        self._folded = positions
        self._read = {name: upto for name, (upto, _is_done) in positions.items()}
        self._seen, self._tail, self.left, self.refused = {}, None, {}, {}
        self._folds = folds
        self._note(damages)

    def undefined(self) -> list[Damage]:
        """Return the points that came and wait for an op that defines their series."""
        found: list[Damage] = []
        with self.current() as projection:
            for file in list_journal(self.folder.journal):
                if file.suffix == "seg":
                    folded, _is_done = self._folded.get(file.name, (0, False))
                    records, _upto, _damages = read_records(file, folded)
                    found += undefined_points(file, projection, records)
        return found

    def _has_moved(self) -> bool:
        return False

    @contextlib.contextmanager
    def _snapshot(self, *, is_final: bool = False, path: str = "") -> Iterator[tuple[Index, Connection]]:  # noqa: ARG002 (of a folder's)
        index = PostgresIndex(self._place.folder, self._place.index, self._place.objects, self._place.number)
        with index.view() as connection:
            yield index, connection


class PostgresReader(Reader):
    """One run, read. See `naiad.storage.base.RunReader`."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.folder)
        self._place = place
        self._view: PostgresSnapshot = PostgresSnapshot(place)

    @property
    def is_gone(self) -> bool:
        """Whether the run was deleted, as far as a look has shown."""
        return self._place.is_gone

    def discard(self) -> None:
        """Remove the files of the run, which was deleted; no other run has its layout."""
        shutil.rmtree(self._place.folder.path.parents[1], ignore_errors=True)

    def undefined(self) -> list[Damage]:
        """Return the points that came and wait for an op that defines their series."""
        return self._view.undefined()

    def digest(self, file: FileRef) -> str:
        """The SHA-256 of the content of a stored file; the name under which it came in while it was not hashed yet."""
        self._resolved(file)
        return super().digest(file)

    def open_file(self, file: FileRef, *, is_checked: bool = False) -> BinaryIO:
        """Open the content of a stored file, which this process keeps a copy of from then on."""
        self._fetch(file)
        return super().open_file(file, is_checked=is_checked)

    def read_file(self, file: FileRef) -> bytes:
        """Return the content of a stored file, checked."""
        self._fetch(file)
        return super().read_file(file)

    def copy_file(self, file: FileRef, destination: Any, report: Report = nothing) -> None:
        """Make a file with the content of a stored one, checked."""
        self._fetch(file)
        super().copy_file(file, destination, report)

    def link(self, file: FileRef) -> str:
        """Return an address that gives the content of a file for five minutes; empty if there is none.

        There is none for a part of content: it would give away the rest.
        """
        name = self._resolved(file)
        is_whole = not file.start and file.size >= LEAST_LINKED  # what is packed with others is smaller
        return self._place.objects.link(blob_name(name)) if is_whole and name and not is_incoming(name) else ""

    def _fetch(self, file: FileRef) -> None:
        name = self._resolved(file)
        if name and not is_incoming(name):
            self._place.objects.fetch(blob_name(name), Blobs(self.folder.blobs).path(name))

    def _resolved(self, file: FileRef) -> str:
        """The name of content; one that came in unhashed may have been hashed since the last look."""
        name = self._view.resolve(file.blob) if file.blob else ""
        if name and is_incoming(name):
            self.refresh()
            name = self._view.resolve(file.blob)
        return name

    def _bytes_elsewhere(self, stored: list[tuple[FieldState, list[str]]], resolve: Callable[[str], str]) -> float:
        """How many bytes the run has outside its folder: those of its files, and its index."""
        return super()._bytes_elsewhere(stored, resolve) + self._place.stored_bytes()
