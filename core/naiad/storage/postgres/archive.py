"""Archive: the rows with the points of runs that are over, moved out of the database into objects.

    worker                                                  any reader
    1 lock the archive of the run, or leave it to the holder
    2 read rows of some tens of megabytes                   sees their bytes
    3 put an object with these bytes
    4 lock the run, as a fold does
    5 let the rows refer to it, if they are as they were read
    6 commit                                                sees where they are, and reads the object

A worker that dies before 6 leaves an object to which nothing refers, and which `naiad server gc` frees. The name of
each has a part by chance, so that gc never frees an old one while a worker makes the same again.

If deletions of series leave rows for less than half of an object, the rest is packed into a new one in the same steps.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, NamedTuple

import psycopg
from sqlalchemy.engine import Engine

from naiad.errors import DamagedData
from naiad.storage.local.index.chunk_rows import ChunkRow, is_whole_chunk
from naiad.storage.local.index.rows import PackRow, is_whole_pack
from naiad.storage.postgres.connection import ARCHIVE_LOCKS, RUN_LOCKS, transaction
from naiad.storage.postgres.objects import Objects

MOST_BYTES = 48 * 1024 * 1024
"""Bytes of an object, about: one of a whole large run would have to be in memory."""
WAITS = {"least": 256 * 1024, "most": 64 * 1024 * 1024, "over": 3_600.0, "silent": 86_400.0}
"""When the rows of a run are moved: not if they have fewer bytes, at once if they have so many, else so many seconds
after its last fold, of a run that is over or of one that may go on. A read of an object takes longer than of a row."""

OLDEST = """
select number from naiad.run where archived_at <= now() and failures = 0 order by archived_at limit 20
"""
SIZES = """
select key, octet_length(data) + coalesce(octet_length(pyramid), 0) from naiad.run_chunk
where run = %s and data is not null order by key
"""
CHUNKS = """
select key, count, crc, pyramid, data from naiad.run_chunk
where run = %s and data is not null and key between %s and %s order by key
"""
PACK_SIZES = "select id, octet_length(data) from naiad.run_pack where run = %s and data is not null order by id"
PACKS = """
select id, first_field, last_field, count, crc, data from naiad.run_pack
where run = %s and data is not null and id between %s and %s order by id
"""
MOVE_CHUNKS = """
update naiad.run_chunk c set data = null, pyramid = null, object = %s, place = new.place, length = new.length,
    pyramid_place = new.pyramid_place, pyramid_length = new.pyramid_length
from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::int[], %s::bigint[], %s::int[])
    as new (key, crc, place, length, pyramid_place, pyramid_length)
where c.run = %s and c.key = new.key and c.crc = new.crc and c.data is not null
"""
MOVE_PACKS = """
update naiad.run_pack p set data = null, object = %s, place = new.place, length = new.length
from unnest(%s::int[], %s::bigint[], %s::bigint[], %s::int[]) as new (id, crc, place, length)
where p.run = %s and p.id = new.id and p.crc = new.crc and p.data is not null
"""
USED = """
select run, object, sum(length)::bigint from (
    select run, object, length::bigint + coalesce(pyramid_length, 0) as length from naiad.run_chunk
    where object is not null
    union all select run, object, length from naiad.run_pack where object is not null
) each group by run, object order by run, object
"""
CHUNKS_IN = """
select key, count, crc, coalesce(pyramid_place, 0), coalesce(pyramid_length, 0), place, length from naiad.run_chunk
where run = %s and object = %s order by key
"""
PACKS_IN = """
select id, first_field, last_field, count, crc, place, length from naiad.run_pack
where run = %s and object = %s order by id
"""
REPACK_CHUNKS = """
update naiad.run_chunk c set object = %s, place = new.place, pyramid_place = new.pyramid_place
from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) as new (key, crc, place, pyramid_place)
where c.run = %s and c.key = new.key and c.crc = new.crc and c.object = %s
"""
REPACK_PACKS = """
update naiad.run_pack p set object = %s, place = new.place
from unnest(%s::int[], %s::bigint[], %s::bigint[]) as new (id, crc, place)
where p.run = %s and p.id = new.id and p.crc = new.crc and p.object = %s
"""
DONE = "update naiad.run set archived_at = null where number = %s and archived_at <= now()"
"""Not if a fold, for which it may have to wait, has added rows meanwhile and named a later time."""
PUT_OFF = "update naiad.run set archived_at = now() + interval '10 minutes' where number = %s and archived_at <= now()"


class Archive:
    """The archive of the runs of one database."""

    def __init__(self, engine: Engine, objects: Objects) -> None:
        self._engine = engine
        self._objects = objects

    def due(self) -> list[int]:
        """Return the numbers of runs with rows to be moved.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            return [number for (number,) in raw.execute(OLDEST)]

    def put_off(self, number: int) -> None:
        """Let a run that could not be moved wait for some minutes.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            raw.execute(PUT_OFF, [number])

    def move(self, number: int) -> bool:
        """Move some rows of a run; return whether others may be left.

        Raises:
            StorageError: the database or the objects cannot be used now; nothing has changed.
        """
        with transaction(self._engine) as raw:
            # The put below may take a while; the limits are those of single statements.
            raw.execute("select set_config('statement_timeout', '60s', true), set_config('lock_timeout', '10s', true)")
            lock = "select pg_try_advisory_xact_lock(%s, %s)"
            if raw.execute(lock, [ARCHIVE_LOCKS, number % (1 << 31)]).fetchone() != (True,):
                return False
            facts = raw.execute("select uid from naiad.run where number = %s", [number]).fetchone()
            if facts is None:
                return False
            chunks, packs = _some(raw, number)
            # Rows that are damaged stay, for verify to name, and all the others of their run with them.
            is_whole = all(map(is_whole_chunk, chunks)) and all(map(is_whole_pack, packs))
            if not is_whole or not (chunks or packs):
                raw.execute(DONE, [number])
                return False
            return self._moved(raw, number, facts[0], chunks, packs)

    def used(self) -> list[tuple[int, str, int]]:
        """Return the objects with rows: the number of the run, the name, and the bytes that are referred to.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            return raw.execute(USED).fetchall()

    def repack(self, number: int, name: str) -> None:
        """Put the bytes of an object that rows of a run refer to into a new one, without all others.

        Raises:
            DamagedData: the object is missing or was cut, or its bytes are not those of a row; nothing has changed.
            StorageError: the database or the objects cannot be used now; nothing has changed.
        """
        with transaction(self._engine) as raw:
            raw.execute("select set_config('statement_timeout', '60s', true), set_config('lock_timeout', '10s', true)")
            lock = "select pg_try_advisory_xact_lock(%s, %s)"
            if raw.execute(lock, [ARCHIVE_LOCKS, number % (1 << 31)]).fetchone() != (True,):
                return
            chunk_rows = raw.execute(CHUNKS_IN, [number, name]).fetchall()
            pack_rows = raw.execute(PACKS_IN, [number, name]).fetchall()
            if not chunk_rows and not pack_rows:
                return
            stored = self._objects.get(name)  # not from a copy on this machine, which may be damaged
            chunks = [
                ChunkRow(key, count, crc, stored[top : top + height] or None, stored[place : place + length])
                for key, count, crc, top, height, place, length in chunk_rows
            ]
            packs = [
                PackRow(key, first, last, count, crc, stored[place : place + length])
                for key, first, last, count, crc, place, length in pack_rows
            ]
            # The old object is freed once no row refers to it: it stays while it has what the new one lacks.
            if not (all(map(is_whole_chunk, chunks)) and all(map(is_whole_pack, packs))):
                raise DamagedData(f"The object {name} has other bytes than its rows say.")
            content, pyramids, data, shares = _packed(chunks, packs)
            self._objects.put(own := _name(name.split("/")[1], content), bytes(content))
            raw.execute("select pg_advisory_xact_lock(%s, %s)", [RUN_LOCKS, number % (1 << 31)])
            if chunks:
                columns = [[row.key for row in chunks], [row.crc for row in chunks]]
                columns += [[each.place for each in data], [each.place for each in pyramids]]
                raw.execute(REPACK_CHUNKS, [own, *columns, number, name])
            if packs:
                columns = [[row.id for row in packs], [row.crc for row in packs], [each.place for each in shares]]
                raw.execute(REPACK_PACKS, [own, *columns, number, name])

    def _moved(
        self, raw: psycopg.Connection[Any], number: int, uid: str, chunks: list[ChunkRow], packs: list[PackRow]
    ) -> bool:
        content, pyramids, data, shares = _packed(chunks, packs)
        name = _name(uid, content)
        self._objects.put(name, bytes(content))  # before the rows that refer to it
        raw.execute("select pg_advisory_xact_lock(%s, %s)", [RUN_LOCKS, number % (1 << 31)])
        columns = [[row.key for row in chunks], [row.crc for row in chunks], *_columns(data), *_columns(pyramids)]
        moved = raw.execute(MOVE_CHUNKS, [name, *columns, number]).rowcount if chunks else 0
        columns = [[row.id for row in packs], [row.crc for row in packs], *_columns(shares)]
        moved += raw.execute(MOVE_PACKS, [name, *columns, number]).rowcount if packs else 0
        # A fold has rewritten some meanwhile: those that are still there refer to the object, which is as good.
        return moved == len(chunks) + len(packs)


def _name(uid: str, content: bytearray) -> str:
    return f"runs/{uid}/{os.urandom(4).hex()}-{hashlib.sha256(content).hexdigest()[:16]}.pack"


class _Stretch(NamedTuple):
    """Where bytes lie in an object."""

    place: int
    length: int


def _put(content: bytearray, data: bytes) -> _Stretch:
    found = _Stretch(len(content), len(data))
    content += data
    return found


def _packed(
    chunks: list[ChunkRow], packs: list[PackRow]
) -> tuple[bytearray, list[_Stretch], list[_Stretch], list[_Stretch]]:
    """Return the content of an object, and where it has the pyramids and the data of chunks, and the packs."""
    content = bytearray()
    # The pyramids first, so that a chart gets those of a series in one read.
    pyramids = [_put(content, row.pyramid or b"") for row in chunks]
    data = [_put(content, row.data) for row in chunks]
    return content, pyramids, data, [_put(content, row.data) for row in packs]


def _columns(stretches: list[_Stretch]) -> list[list[int]]:
    return [[each.place for each in stretches], [each.length for each in stretches]]


def _some(raw: psycopg.Connection[Any], number: int) -> tuple[list[ChunkRow], list[PackRow]]:
    """Return the first rows that are still in the database, as many as an object takes."""
    room = MOST_BYTES
    keys, room = _first(raw.execute(SIZES, [number]).fetchall(), room)
    chunks = raw.execute(CHUNKS, [number, keys[0], keys[-1]]).fetchall() if keys else []
    ids, room = _first(raw.execute(PACK_SIZES, [number]).fetchall() if room > 0 else [], room)
    packs = raw.execute(PACKS, [number, ids[0], ids[-1]]).fetchall() if ids else []
    return list(map(ChunkRow._make, chunks)), list(map(PackRow._make, packs))


def _first(sizes: list[tuple[int, int]], room: int) -> tuple[list[int], int]:
    """Return the first keys that fit, at least one, and the room that is left."""
    found: list[int] = []
    for key, size in sizes:
        if room <= 0:
            break
        found.append(key)
        room -= size
    return found, room
