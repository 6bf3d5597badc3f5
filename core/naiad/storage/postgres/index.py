"""The index of a run in a database: its chunks and packs lie in rows or, once archived, in objects.

Series with very many points have coarser pyramids, which stay in rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naiad.kinds import POINTS
from naiad.storage.local.index.chunk_rows import CHUNK_TYPES, EVERY_CHUNK, ChunkRow, chunk_key
from naiad.storage.local.index.columns import ChunkDamaged
from naiad.storage.local.index.index import ChunkSize, Index, extents_of
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.pyramid import coarser, decode_pyramid
from naiad.storage.local.index.rows import PYRAMID_TYPES, PackRow, PyramidRow, is_whole_pack, typed
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.layout import RunDirectory
from naiad.storage.postgres.connection import PostgresConnection
from naiad.storage.postgres.objects import Objects
from naiad.storage.results import Damage
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import Database

WINDOW = 64
"""Chunks that follow each other and share a coarser pyramid; the first of them has a number that this divides."""
CHUNKS = """
select key, count, crc, pyramid, object, pyramid_place, pyramid_length, data, object, place, length
from naiad.run_chunk where run = %s and key >= %s and key < %s order by key
"""
PACKS = "select id, first_field, last_field, count, crc, data, object, place, length from naiad.run_pack where run = %s"
PACKS_OF = f"{PACKS} and last_field >= %s and first_field <= %s order by id"
ALL_PACKS = f"{PACKS} order by id"
COARSE = "select first, pieces, count, pyramid from naiad.run_coarse where run = %s and field = %s and pieces > 0"
FINE = """
select key, count, pyramid, object, pyramid_place, pyramid_length from naiad.run_chunk
where run = %s and key >= %s and key < %s and ((key & 16777215) / %s)::int <> all(%s) order by key
"""
MADE = "select field, max(first) from naiad.run_coarse where run = %s and field = any(%s) group by field"
ADD_COARSE = "insert into naiad.run_coarse (run, field, first, pieces, count, pyramid) values (%s, %s, %s, %s, %s, %s)"
EXTENTS = """
select key, count, coalesce(octet_length(data), length) from naiad.run_chunk where run = %s order by key
"""
DROP_COARSE = "delete from naiad.run_coarse where run = %s and field = %s and first + %s > %s"
DROP_DELETED = """
delete from naiad.run_coarse c where run = %s
and not exists (select from naiad.run_field f where f.run = c.run and f.id = c.field)
"""


class PostgresIndex(Index):
    """The index of one run of a database, with the points that lie in objects."""

    def __init__(self, folder: RunDirectory, database: Database, objects: Objects, run: int) -> None:
        super().__init__(folder, database)
        self._objects = objects
        self._run = run

    def chunks(self, connection: Connection, field_id: int, numbers: range = EVERY_CHUNK) -> list[Any]:
        """The chunk rows of a field in the order in which they were folded, or those with some numbers.

        Raises:
            DatabaseError: some of them cannot be read.
            DamagedData: an object is missing.
            StorageError: the objects cannot be used now.
        """
        low = chunk_key(field_id, 0)
        return self._chunks(connection, self._rows(connection, CHUNKS, low + numbers.start, low + numbers.stop))

    def _chunks(self, connection: Connection, rows: list[Any]) -> list[Any]:
        content = self._content(connection, [row[at : at + 4] for at in (3, 7) for row in rows])
        both = zip(rows, content[: len(rows)], content[len(rows) :], strict=True)
        return typed([ChunkRow._make((*row[:3], pyramid, data)) for row, pyramid, data in both], CHUNK_TYPES)

    def pyramids(self, connection: Connection, field_id: int, numbers: range = EVERY_CHUNK) -> list[Any]:
        """The same without the points; raises as `chunks`."""
        return typed(self._fine(connection, field_id, numbers, []), PYRAMID_TYPES)

    def packs(self, connection: Connection, field_id: int) -> list[Any]:
        """The packs that may hold points of a field, without damaged ones; raises as `chunks`."""
        rows = self._rows(connection, PACKS_OF, field_id, field_id)
        return list(filter(is_whole_pack, self._packs(connection, rows)))

    def remnant(self, connection: Connection, state: FieldState) -> tuple[list[Any], list[Any]]:
        """The chunks and packs in which points of a series lie of which a deletion took some; raises as `chunks`."""
        assert state.remnant is not None
        number = state.remnant.id
        low = chunk_key(number, 0)
        # All rows before any content, which is read after the transaction.
        chunks = self._rows(connection, CHUNKS, low, low + EVERY_CHUNK.stop)
        packs = self._rows(connection, PACKS_OF, number, number)
        return self._chunks(connection, chunks), list(filter(is_whole_pack, self._packs(connection, packs)))

    def all_rows(self, connection: Connection, table: str, keys: Sequence[int], damages: list[Damage]) -> list[Any]:
        """All rows of a table; raises as `chunks`."""
        if table != "pack":
            return super().all_rows(connection, table, keys, damages)
        return self._packs(connection, self._rows(connection, ALL_PACKS))

    def coarse_pyramids(self, connection: Connection, field_id: int) -> list[Any]:
        """The pyramids of a field: the coarser ones of many chunks, and those of the chunks that have none.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        coarse = self._rows(connection, COARSE, field_id)
        found = [PyramidRow(chunk_key(field_id, row[0]), row[2], row[3], row[1]) for row in coarse]
        found += self._fine(connection, field_id, EVERY_CHUNK, [first // WINDOW for first, *_ in coarse])
        return typed(sorted(found, key=lambda row: row.key), PYRAMID_TYPES)

    def add_coarse(self, connection: Connection, projection: Projection) -> None:
        """Make the coarser pyramids that are missing."""
        long = {state.id: state.pieces for state in projection.of_kinds([POINTS]) if state.pieces >= WINDOW}
        if not long:
            return
        self._run_own(connection, DROP_DELETED)
        made = dict(self._rows(connection, MADE, [*long]))
        for field, pieces in long.items():
            for first in range(made.get(field, -WINDOW) + WINDOW, pieces - pieces % WINDOW, WINDOW):
                rows = self._fine(connection, field, range(first, first + WINDOW), [])
                data = _coarser(rows)
                # Where none can be made that is noted too, as a row that stands for nothing.
                own = (0, 0, None) if data is None else (len(rows), sum(row.count for row in rows), data)
                self._run_own(connection, ADD_COARSE, field, first, *own)

    def extents(self, connection: Connection) -> dict[int, list[ChunkSize]]:
        """The extents of all chunks by field."""
        return extents_of(self._rows(connection, EXTENTS))

    def drop_chunks(self, connection: Connection, field_id: int, first: int) -> int:
        """Delete the chunks of a field from a number on, and the coarser pyramids of some; how many chunks."""
        self._run_own(connection, DROP_COARSE, field_id, WINDOW, first)
        return super().drop_chunks(connection, field_id, first)

    def drop_coarse(self) -> None:
        """Forget the coarser pyramids, since the chunks are others now."""
        with self.view() as connection:
            self._run_own(connection, "delete from naiad.run_coarse where run = %s")

    def _fine(self, connection: Connection, field_id: int, numbers: range, windows: Sequence[int]) -> list[PyramidRow]:
        """The pyramids of chunks with some numbers, without those in some windows."""
        low = chunk_key(field_id, 0)
        rows = self._rows(connection, FINE, low + numbers.start, low + numbers.stop, WINDOW, [*windows])
        content = self._content(connection, [row[2:6] for row in rows])
        return [PyramidRow(row[0], row[1], pyramid) for row, pyramid in zip(rows, content, strict=True)]

    def _packs(self, connection: Connection, rows: list[Any]) -> list[PackRow]:
        content: list[Any] = self._content(connection, [row[5:9] for row in rows])
        return [PackRow._make((*row[:5], data)) for row, data in zip(rows, content, strict=True)]

    def _content(
        self, connection: Connection, wanted: Sequence[tuple[bytes | None, str | None, int, int]]
    ) -> list[bytes | None]:
        """Return bytes, each given by itself, or by the name of its object with place and length.

        Where some lie in objects, the transaction of a reader is over then: a few readers that wait for a slow store
        of objects would hold every connection, and nothing would be accepted any more.
        """
        found = [data for data, *_ in wanted]
        by_object: dict[str, list[int]] = {}
        for at, (_, name, _, length) in enumerate(wanted):
            if name is not None and length:
                by_object.setdefault(name, []).append(at)
        if by_object:
            _own(connection).release()
        # Together for each object, since the pyramids and the chunks of a series lie one after the other there.
        for name, places in by_object.items():
            for at, data in zip(places, self._objects.read(name, [wanted[at][2:] for at in places]), strict=True):
                found[at] = data
        return found

    def _rows(self, connection: Connection, query: str, *parameters: object) -> list[Any]:
        return list(self._run_own(connection, query, *parameters).fetchall())

    def _run_own(self, connection: Connection, query: str, *parameters: object) -> Any:
        return _own(connection).own.execute(query, [self._run, *parameters])


def _own(connection: Connection) -> PostgresConnection:
    assert isinstance(connection, PostgresConnection)
    return connection


def _coarser(rows: list[PyramidRow]) -> bytes | None:
    """The coarser pyramid of a window; None if there is none: points between them are in packs, or steps go back."""
    if len(rows) < WINDOW:
        return None
    try:
        return coarser([decode_pyramid(row.pyramid or b"") for row in rows])
    except ChunkDamaged:  # verify names it
        return None
