"""Salvage: copies the intact rows of a damaged index into a new one.

Every row has its own crc, so it does not matter by which way it is reached: through SQLite, or, where its
trees are broken, straight from the pages of the file. Only the counts of rows are put together afterwards.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Table, delete, func, insert, select

from naiad.kinds import LINES, POINTS, SERIES, TEXTS
from naiad.ops import Op
from naiad.scalars import pack_text
from naiad.storage.local.index import schema
from naiad.storage.local.index.chunk_rows import FIELD_SHIFT, chunk_crc, chunk_key
from naiad.storage.local.index.codec import Pack, decode_pack, decode_texts
from naiad.storage.local.index.columns import ChunkDamaged
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.new_index import new_index
from naiad.storage.local.index.parts import REMEMBERED_TEXT
from naiad.storage.local.index.points import Columns, facts_of, ordered
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.pyramid import pyramid
from naiad.storage.local.index.rows import (
    MALFORMED,
    Changes,
    Head,
    decode_head,
    field_state,
    is_whole,
    odd_paths,
    writer_state,
)
from naiad.storage.local.index.series import as_they_came, decoded
from naiad.storage.local.index.states import FieldState, Series
from naiad.storage.local.integrity.losses import Losses
from naiad.storage.local.integrity.pages import free_pages, leaf_rows
from naiad.storage.local.journal.frames import are_valid
from naiad.storage.local.layout import RunDirectory
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import open_for_reading

NAMELESS = "recovered"
"""Below it are series whose points are whole while the row with their path is not."""

TABLES = (schema.head, schema.writer, schema.position, schema.field, schema.chunk, schema.pack)
BATCH_BYTES = 8 * 1024 * 1024
PAGE = 4096
LEAST_ROW = 16
"""Bytes that any row takes in a file."""

Row = tuple[Table, dict[str, Any]]


def salvage(old: RunDirectory, new: RunDirectory, losses: Losses, folds: int) -> None:
    """Build an index in `new` of all intact rows in `old`, if it has one, and note the losses.

    `old` is a copy for this call alone: it may be changed. `folds` were made at least, by the sums of its writers: an
    index with fewer would look older than it was, beside the sums of a silent writer, which stay.
    """
    with new_index(new) as index, index.snapshot() as connection:
        rows = _rows(old, losses) if old.index.exists() else ()
        folds = max(folds, _copy(rows, connection))
        index.put_head(connection, _counted(connection, folds))
        projection, head, _positions, _damages = index.load_whole(connection)
        changes = Changes()
        losses.points += _set_right(index, connection, projection, changes)
        _forget_lost(projection)
        index.commit(connection, projection, head, changes)


# Reaching the rows


def _rows(old: RunDirectory, losses: Losses) -> Iterator[Row]:
    """All whole rows, from the pages if it is known which of them are in use, else through SQLite."""
    _absorb_log(old.index)
    data = old.index.read_bytes()
    free = free_pages(data)
    candidates = _through_sqlite(old) if free is None else _from_pages(data, free)
    for table, row in candidates:
        whole = row if _is_readable_row(table.name, row) else _whole_chunk(row) if table is schema.chunk else None
        if whole is not None:
            yield table, whole
        elif table is schema.field and isinstance(row["kind"], str) and isinstance(row["facts"], bytes):
            losses.suspect(row["path"])


def _absorb_log(path: Path) -> None:
    """Merge the WAL of a killed fold into the index file, if SQLite can."""
    if path.with_name(path.name + "-wal").exists():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _from_pages(data: bytes, free: set[int]) -> Iterator[Row]:
    for key, values in leaf_rows(data, free):
        for table in TABLES:
            columns = table.columns.keys()
            # Tables are told apart by the number and types of their columns; the crc of each row decides in the end.
            if len(columns) == len(values):
                row = dict(zip(columns, values, strict=True))
                first = columns[0]
                row[first] = key if row[first] is None else row[first]  # SQLite keeps an integer key apart
                yield table, row


def _through_sqlite(old: RunDirectory) -> Iterator[Row]:
    # Without its first page SQLite does not know which tables there are, and reads nothing of an intact rest.
    if not _is_readable(old.index):
        _give_first_page(old.index)
    engine = open_for_reading(old.index, is_final=True)
    index = Index(old, engine)
    try:
        with index.view() as connection:
            projection, head, _positions, _damages = index.load_whole(connection)
            series = [state for state in projection.states() if state.pieces]
            chunks = (chunk_key(state.id, n) for state in series for n in range(state.pieces))
            most = old.index.stat().st_size // LEAST_ROW  # each hostile row counts to 2**24
            keys = {
                schema.field: range(1, head.next_field),
                schema.pack: range(1, head.next_pack),
                schema.chunk: sorted(islice(chunks, most)),
            }
            for table in TABLES:
                for row in index.all_rows(connection, table.name, keys.get(table, ()), []):
                    yield table, row._asdict()
    except sqlite3.Error:
        return  # nothing more can be reached
    finally:
        engine.dispose()


def _is_readable_row(table: str, row: Mapping[Any, Any]) -> bool:
    """Whether a row is as it was written, with facts that readers can show."""
    if not is_whole(table, row):
        return False
    try:
        if table == "field":
            written: list[Op] = []
            field_state(row["id"], row["path"], row["kind"], row["facts"], written)
            return are_valid(written) and not odd_paths([row["path"]])
        if table == "writer":
            writer_state(row["name"], row["facts"], row["fields"])
        elif table == "head":
            decode_head(row["facts"])
    except MALFORMED:
        return False
    return True


def _is_readable(path: Path) -> bool:
    target = f"file:{quote(str(path))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(target, uri=True)) as connection:
            connection.execute("PRAGMA writable_schema=ON")
            connection.execute("SELECT count(*) FROM head").fetchone()
    except sqlite3.Error:
        return False
    return True


def _give_first_page(path: Path) -> None:
    """Put the first page of an empty index in place of a destroyed one: both describe the same tables."""
    with tempfile.TemporaryDirectory(prefix="naiad-") as folder:
        fresh = RunDirectory(Path(folder))
        with new_index(fresh):
            pass
        page = bytearray(fresh.index.read_bytes()[:PAGE])
    page[18:20] = b"\1\1"  # without a log beside it
    # The size in the header must be that of this file, or SQLite ignores the pages beyond it.
    page[28:32] = struct.pack(">I", path.stat().st_size // PAGE)
    page[32:40] = bytes(8)  # no list of free pages
    with path.open("r+b") as stream:
        stream.write(page)


def _whole_chunk(row: dict[str, Any]) -> dict[str, Any] | None:
    """A chunk whose points are whole while its pyramid or its count is not: both follow from the points."""
    try:
        count, heights = _measured(row["data"])
    except (ChunkDamaged, TypeError):
        return None
    mended = {**row, "count": count, "pyramid": heights}
    return mended if is_whole("chunk", mended) else None


def _measured(data: bytes) -> tuple[int, bytes | None]:
    if data[:1] == b"T":
        return len(decode_texts(data)[2]), None
    points = decoded(data)
    return len(points.values), pyramid(points.steps, points.values)


# Putting them together


def _copy(rows: Iterable[Row], connection: Connection) -> int:
    """Insert rows, each key once; the highest `folds` of a head among them."""
    folds, size = 0, 0
    seen: set[tuple[str, object]] = set()
    waiting: dict[Table, list[dict[str, Any]]] = {}
    for table, row in rows:
        if table is schema.head:
            folds = max(folds, decode_head(row["facts"]).folds)
            continue
        key = (table.name, next(iter(row.values())))
        # A page that was copied before it was freed may have the same row again.
        if key in seen:
            continue
        seen.add(key)
        waiting.setdefault(table, []).append(row)
        size += len(row.get("data", b""))
        if size > BATCH_BYTES:
            _flush(connection, waiting)
            size = 0
    _flush(connection, waiting)
    return folds


def _flush(connection: Connection, waiting: dict[Table, list[dict[str, Any]]]) -> None:
    for table, rows in waiting.items():
        connection.execute(insert(table), rows)
    waiting.clear()


def _counted(connection: Connection, folds: int) -> Head:
    """Return a head row with the counts of the existing rows."""
    counts = {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in (("fields", schema.field), ("writers", schema.writer), ("chunks", schema.chunk))
    }
    chunks = connection.execute(select(func.max(schema.chunk.c.key), func.sum(schema.chunk.c.count))).one()
    packs = connection.execute(
        select(
            func.count(), func.max(schema.pack.c.id), func.max(schema.pack.c.last_field), func.sum(schema.pack.c.count)
        )
    ).one()
    last_field = connection.execute(select(func.max(schema.field.c.id))).scalar_one()
    last = max(last_field or 0, (chunks[0] or 0) >> FIELD_SHIFT, packs[2] or 0)
    points = (chunks[1] or 0) + (packs[3] or 0)
    return Head(
        folds, last + 1, (packs[1] or 0) + 1, counts["fields"], counts["writers"], counts["chunks"], packs[0], points
    )


def _set_right(index: Index, connection: Connection, projection: Projection, changes: Changes) -> int:
    """Correct the counts of every series to the existing points; return how many are lost."""
    sizes = _share_sizes(connection)
    known = set(connection.execute(select(schema.field.c.id)).scalars())
    for number in sorted((_chunk_fields(connection) | sizes.keys()) - known):
        _add_nameless(index, connection, projection, number, changes)
    lost, short = 0, []
    for state in list(projection.states()):
        if state.kind in SERIES:
            there = [row.count for row in index.pyramids(connection, state.id)] + sizes.get(state.id, [])
            if sum(there) != state.series.count or len(there) != state.pieces:
                lost += max(0, state.series.count - sum(there))
                short.append(state)
    shares = _shares(connection, {state.id for state in short})
    for state in short:
        _recount(index, connection, state, shares.get(state.id, []))
        projection.touch(state)
    return lost


def _forget_lost(projection: Projection) -> None:
    """Let no number of a writer mean a field that is lost: the next new field gets its number in the index."""
    for writer in projection.writers.values():
        for number in range(1, len(writer.fields) + 1):
            projection.owner_of(writer.name, number)  # notes in the writer that there is none
        projection.touched_writers.add(writer.name)


def _add_nameless(index: Index, connection: Connection, projection: Projection, number: int, changes: Changes) -> None:
    rows = index.chunks(connection, number)
    kind = LINES if rows and rows[0].data[:1] == b"T" else POINTS
    state = FieldState(f"{NAMELESS}/field_{number}", kind, number)
    projection.add(state)
    changes.new_fields.append(state)


def _recount(index: Index, connection: Connection, state: FieldState, shares: list[Columns]) -> None:
    """Number the pieces of a series anew, without gaps, and take its facts from its points."""
    pieces = as_they_came(index.chunks(connection, state.id), shares)
    low = chunk_key(state.id, 0)
    connection.execute(delete(schema.chunk).where(schema.chunk.c.key.between(low, low + (1 << FIELD_SHIFT) - 1)))
    rows = [_renumbered(state, n, row) for n, row in enumerate(pieces) if not isinstance(row, Columns)]
    if rows:
        connection.execute(insert(schema.chunk), rows)
    state.forget_points()  # and whose they were, since it is not known which piece is lost
    state.pieces = len(pieces)
    if state.kind in TEXTS:
        state.series = _text_facts(rows)
    else:
        for piece in pieces:
            state.series.add(*facts_of(ordered(piece if isinstance(piece, Columns) else decoded(piece.data))))
    if state.shared is not None:
        state.shared.parts = {state.writer: state.series.last()}


def _renumbered(state: FieldState, number: int, row: Any) -> dict[str, Any]:
    key = chunk_key(state.id, number)
    crc = chunk_crc(key, row.count, row.pyramid, row.data)
    return {"key": key, "count": row.count, "crc": crc, "pyramid": row.pyramid, "data": row.data}


def _text_facts(rows: list[dict[str, Any]]) -> Series:
    facts = Series()
    for row in rows:
        steps, times, texts = decode_texts(row["data"])
        is_short = len(texts[-1]) <= REMEMBERED_TEXT
        last = pack_text(texts[-1].decode("utf-8", "surrogatepass")) if is_short else None
        facts.add(len(texts), 0, 0.0, 0.0, 0.0, steps[-1].item(), last, int(times[-1]))
    return facts


def _chunk_fields(connection: Connection) -> set[int]:
    return {key >> FIELD_SHIFT for key in connection.execute(select(schema.chunk.c.key)).scalars()}


def _packs(connection: Connection) -> Iterator[Pack]:
    for data in connection.execute(select(schema.pack.c.data).order_by(schema.pack.c.id)).scalars():
        yield decode_pack(data)


def _share_sizes(connection: Connection) -> dict[int, list[int]]:
    """How many points of each field each pack has."""
    sizes: dict[int, list[int]] = {}
    for pack in _packs(connection):
        for number, (start, stop) in zip(pack.ids.tolist(), pairwise(pack.starts.tolist()), strict=True):
            sizes.setdefault(number, []).append(stop - start)
    return sizes


def _shares(connection: Connection, wanted: set[int]) -> dict[int, list[Columns]]:
    """Return the content of the packs for some fields."""
    shares: dict[int, list[Columns]] = {}
    for pack in _packs(connection) if wanted else ():
        for number in wanted.intersection(pack.ids.tolist()):
            rows = pack.slice_of(number)
            shares.setdefault(number, []).append(Columns(pack.steps[rows], pack.values[rows], pack.times[rows]))
    return shares
