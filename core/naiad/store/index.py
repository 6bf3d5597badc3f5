"""The index of a run, `run.db`: loading the picture from it, and putting a fold into it in one transaction."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError

from naiad import paths
from naiad.errors import NaiadPathError, NewerFormat
from naiad.ids import new_writer_id
from naiad.ops import Plain, Text
from naiad.store import schema
from naiad.store.database import make_single_file, open_for_writing
from naiad.store.folder import RunFolder
from naiad.store.forks import holding_forks
from naiad.store.picture import FLOAT_SERIES, FieldState, Picture, Series, WriterState
from naiad.store.seal import sync_folder
from naiad.store.tails import Damage

__all__ = [
    "FIELD_SHIFT",
    "UNKNOWN",
    "Changes",
    "Head",
    "Index",
    "begin_index",
    "chunk_crc",
    "chunk_key",
    "decode_head",
    "is_whole",
    "is_whole_chunk",
    "is_whole_pack",
    "pack_crc",
]

FIELD_SHIFT = 24
"""A chunk's key is its field's id shifted by this, plus its number: the chunks of a series lie together."""

UNKNOWN = -1
"""The `folds` of an index whose head is damaged."""

Types = tuple[type | tuple[type, ...], ...]
HEAD_TYPES: Types = (int, int, bytes, int)
WRITER_TYPES: Types = (str, bytes, bytes, int)
POSITION_TYPES: Types = (str, int, int, int)
FIELD_TYPES: Types = (int, str, str, bytes, int)
CHUNK_TYPES: Types = (int, int, int, (bytes, type(None)), bytes)
PYRAMID_TYPES: Types = (int, int, (bytes, type(None)))
PACK_TYPES: Types = (int, int, int, int, int, bytes)


class Head(msgspec.Struct, array_like=True):
    """The counts that betray a vanished row, and `folds`, which every change of the index raises."""

    folds: int = 0
    next_field: int = 1
    next_pack: int = 1
    fields: int = 0
    writers: int = 0
    chunks: int = 0
    packs: int = 0
    points: int = 0


class FieldFacts(msgspec.Struct, array_like=True):
    """The `facts` of a field row."""

    value: Plain
    tags: list[Text]
    config: tuple[float | None, float | None, str | None]
    writer: str
    at: float
    pieces: int
    count: int
    finite: int
    minimum: float | None
    maximum: float | None
    total: float
    last_step: int | float | None
    last_value: Plain
    last_time: int | None
    retired_at: float | None
    retired_by: str
    defined_at: float | None = None  # where it is the same as `at` and `writer`, nothing is said
    defined_by: str | None = None
    members: dict[str, str] = {}
    spread: float | None = None  # of an index that does not say, unknown


class WriterFacts(msgspec.Struct, array_like=True):
    """The `facts` of a writer row."""

    pid: int
    host: str
    boot: str
    session: int
    role: str
    started: float
    at: float
    state: str | None
    dropped_points: int
    dropped_frames: int
    blobs: dict[str, str] = {}


_encode = msgspec.msgpack.Encoder().encode
decode_head = msgspec.msgpack.Decoder(Head).decode
"""The counts out of the `facts` of a head row."""
_decode_field = msgspec.msgpack.Decoder(FieldFacts).decode
_decode_writer = msgspec.msgpack.Decoder(WriterFacts).decode


@dataclass
class Changes:
    """What one fold adds to the index, besides the states that the picture marks as touched."""

    chunks: list[dict[str, Any]] = field(default_factory=list)
    packs: list[dict[str, Any]] = field(default_factory=list)
    positions: dict[str, tuple[int, bool]] = field(default_factory=dict)
    points: int = 0
    new_fields: list[FieldState] = field(default_factory=list)


class Index:
    """The index of one run, through an engine that reads it or one that writes it."""

    def __init__(self, folder: RunFolder, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction in which everything read belongs together."""
        with holding_forks(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def view(self) -> Iterator[Connection]:
        """The same for who only reads: SQLite refuses to commit what has read a damaged page, and need not."""
        with holding_forks(), self.engine.connect() as connection:
            yield connection

    def create(self) -> None:
        """Make the tables of a new index."""
        with self.snapshot() as connection:
            schema.metadata.create_all(connection)
            connection.execute(insert(schema.head).values(_head_row(Head())))

    def head(self, connection: Connection) -> Head:
        """The counts.

        Raises:
            NewerFormat: a later release wrote this index.
            DatabaseError: it is damaged.
        """
        row = connection.execute(_select_head).one_or_none()
        if row is None:
            raise _damaged("the head row is missing")
        if not _is_typed(row, HEAD_TYPES) or row.crc != _crc(row.format, row.facts):
            raise _damaged("the head row fails its crc")
        if row.format > schema.FORMAT:
            raise NewerFormat(
                f"{self.folder.index} was written by a later release of naiad (format {row.format}; this one knows "
                f"{schema.FORMAT}).\nInstall that release to read it; nothing was changed."
            )
        return decode_head(row.facts)

    def folds(self, connection: Connection) -> int:
        """A number that every change of the index raises; `UNKNOWN` when the head is damaged."""
        return self._head_or_none(connection, []).folds

    def load(self, connection: Connection) -> tuple[Picture, Head, dict[str, tuple[int, bool]], list[Damage]]:
        """The picture, the counts, how far each journal file is folded, and what is damaged.

        A damaged row, page or table is left out and said; whoever changes the index has to refuse then.

        Raises:
            NewerFormat: a later release wrote this index.
            DatabaseError: nothing of it can be read.
        """
        damages: list[Damage] = []
        head = self._head_or_none(connection, damages)
        picture = Picture()
        states = self._load_fields(connection, head, picture, damages)
        if not states and head.folds == UNKNOWN:
            raise _damaged(damages[0].what)
        self._load_writers(connection, head, picture, states, damages)
        positions = self.positions(connection, damages)
        if head.folds != UNKNOWN:
            damages += self._missing_rows(connection, head)
        picture.touched.clear()
        picture.touched_writers.clear()
        return picture, head, positions, damages

    def positions(self, connection: Connection, damages: list[Damage]) -> dict[str, tuple[int, bool]]:
        """How many bytes of each journal file are in the index, and whether that is all of it.

        A file whose position is damaged counts as wholly there: better that points are missing than that they are
        there twice.
        """
        found = {}
        for row in self._scan(connection, schema.position, damages):
            if _is_typed(row, POSITION_TYPES) and row.crc == _crc(row.file, row.upto, row.is_done):
                found[row.file] = (row.upto, bool(row.is_done))
            else:
                damages.append(self._damage(f"the position of {row.file!r} fails its crc"))
                found[str(row.file)] = (0, True)
        return found

    def all_rows(self, connection: Connection, table: Table, keys: Sequence[int], damages: list[Damage]) -> list[Any]:
        """The rows of a table; where that fails, those of these ascending keys that are on undamaged pages."""
        return self._scan(connection, table, damages, keys)

    def commit(self, connection: Connection, picture: Picture, head: Head, changes: Changes) -> None:
        """Put a fold into the index, inside the caller's transaction."""
        self._drop_retired(connection, picture, head)
        new = changes.new_fields
        are_new = set(map(id, new))
        known = [state for state in picture.touched.values() if id(state) not in are_new]
        _many(connection, insert(schema.field), [_field_row(state) for state in new])
        _many(connection, _update_field, [{"b_id": state.id, **_field_facts(state)} for state in known])
        for row in changes.packs:
            row["id"] = head.next_pack
            row["crc"] = pack_crc(row)
            head.next_pack += 1
        _many(connection, insert(schema.chunk), changes.chunks)
        _many(connection, insert(schema.pack), changes.packs)
        self._commit_writers(connection, picture, head)
        _many(
            connection,
            delete(schema.position).where(schema.position.c.file == bindparam("b_file")),
            [{"b_file": name} for name in changes.positions],
        )
        _many(connection, insert(schema.position), [_position_row(*item) for item in changes.positions.items()])
        head.folds += 1
        head.fields += len(new)
        head.chunks += len(changes.chunks)
        head.packs += len(changes.packs)
        head.points += changes.points
        row = _head_row(head)
        connection.execute(update(schema.head), row)

    def put_head(self, connection: Connection, head: Head) -> None:
        """Say what is there; for who rebuilds an index."""
        connection.execute(update(schema.head), _head_row(head))

    def chunks(self, connection: Connection, field_id: int) -> list[Any]:
        """The chunk rows of a field in the order in which they were folded.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        low = chunk_key(field_id, 0)
        rows = connection.execute(_select_chunks, {"low": low, "high": low + (1 << FIELD_SHIFT)})
        return _typed(rows, CHUNK_TYPES)

    def pyramids(self, connection: Connection, field_id: int) -> list[Any]:
        """The same without the points.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        low = chunk_key(field_id, 0)
        rows = connection.execute(_select_pyramids, {"low": low, "high": low + (1 << FIELD_SHIFT)})
        return _typed(rows, PYRAMID_TYPES)

    def packs(self, connection: Connection, field_id: int) -> list[Any]:
        """The packs that may hold points of a field, without damaged ones; its count of points tells if that matters.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        try:
            rows = list(connection.execute(_select_packs, {"field": field_id}))
        except DatabaseError:
            rows = self.all_rows(connection, schema.pack, range(1, self.head(connection).next_pack), [])
        return [row for row in rows if is_whole_pack(row) and row.first_field <= field_id <= row.last_field]

    def _head_or_none(self, connection: Connection, damages: list[Damage]) -> Head:
        try:
            return self.head(connection)
        except DatabaseError as error:
            damages.append(self._damage(f"its counts cannot be read: {error.orig}"))
            return Head(folds=UNKNOWN)

    def _scan(self, connection: Connection, table: Table, damages: list[Damage], keys: Sequence[int] = ()) -> list[Any]:
        """All rows in the order of their keys; where a page is damaged, the rows with these keys on other pages."""
        key = next(iter(table.primary_key))
        rows: list[Any] = []
        try:
            for row in connection.execute(select(table).order_by(key)):
                rows.append(row)
        except DatabaseError as error:
            damages.append(self._damage(f"its table of {table.name}s cannot be read whole: {error.orig}"))
            return _rows_by_key(connection, table, keys) if keys else rows
        return rows

    def _load_fields(
        self, connection: Connection, head: Head, picture: Picture, damages: list[Damage]
    ) -> dict[int, FieldState]:
        states = {}
        rows = self._scan(connection, schema.field, damages, range(1, head.next_field))
        for row in rows:
            if not _is_typed(row, FIELD_TYPES) or row.crc != _field_crc(row.id, row.path, row.kind, row.facts):
                damages.append(self._damage("its field row fails its crc", _path_or_none(row.path)))
                continue
            state = _state(row.id, row.path, row.kind, _decode_field(row.facts))
            states[row.id] = state
            picture.add(state)
        if head.folds != UNKNOWN and len(rows) != head.fields:
            damages.append(self._damage(f"{len(rows)} rows of fields where {head.fields} were written"))
        return states

    def _load_writers(
        self,
        connection: Connection,
        head: Head,
        picture: Picture,
        states: dict[int, FieldState],
        damages: list[Damage],
    ) -> None:
        rows = self._scan(connection, schema.writer, damages)
        for row in rows:
            if not _is_typed(row, WRITER_TYPES) or row.crc != _crc(row.name, row.facts, row.fields):
                damages.append(self._damage(f"the row of writer {row.name!r} fails its crc"))
                continue
            facts = _decode_writer(row.facts)
            ids = np.frombuffer(row.fields, "<i8").tolist()
            writer = WriterState(row.name, **{name: getattr(facts, name) for name in facts.__struct_fields__})
            writer.fields = [states.get(number) for number in ids]
            picture.writers[row.name] = writer
        if head.folds != UNKNOWN and len(rows) != head.writers:
            damages.append(self._damage(f"{len(rows)} rows of writers where {head.writers} were written"))

    def _missing_rows(self, connection: Connection, head: Head) -> list[Damage]:
        """Rows that a flipped bit made invisible, which no crc of a row can tell."""
        damages = []
        for table, expected in ((schema.chunk, head.chunks), (schema.pack, head.packs)):
            try:
                has = connection.execute(select(func.count()).select_from(table)).scalar_one()
            except DatabaseError as error:
                damages.append(self._damage(f"its {table.name}s cannot be counted: {error.orig}"))
                continue
            if has != expected:
                damages.append(self._damage(f"{has} rows of {table.name}s where {expected} were written"))
        return damages

    def _drop_retired(self, connection: Connection, picture: Picture, head: Head) -> None:
        """Remove the points of deleted fields. The row of a float series stays: other writers' numbers may mean it."""
        for state in picture.retired:
            if state.id:
                low = chunk_key(state.id, 0)
                span = schema.chunk.c.key.between(low, low + (1 << FIELD_SHIFT) - 1)
                head.chunks -= connection.execute(delete(schema.chunk).where(span)).rowcount
            if state.kind != FLOAT_SERIES:
                picture.touched.pop(id(state), None)
                head.fields -= connection.execute(delete(schema.field).where(schema.field.c.id == state.id)).rowcount
        picture.retired = []

    def _commit_writers(self, connection: Connection, picture: Picture, head: Head) -> None:
        names = [{"b_name": name} for name in picture.touched_writers]
        if not names:
            return
        gone = connection.execute(
            delete(schema.writer).where(schema.writer.c.name.in_([row["b_name"] for row in names]))
        ).rowcount
        rows = [_writer_row(picture.writers[row["b_name"]]) for row in names]
        _many(connection, insert(schema.writer), rows)
        head.writers += len(rows) - gone

    def _damage(self, what: str, path: str | None = None) -> Damage:
        return Damage(self.folder.index.name, what, path)


_select_head = select(schema.head)
_in_field = (schema.chunk.c.key >= bindparam("low")) & (schema.chunk.c.key < bindparam("high"))
_select_chunks = (
    select(
        schema.chunk.c.key,
        schema.chunk.c.count,
        schema.chunk.c.crc,
        schema.chunk.c.pyramid,
        schema.chunk.c.data,
    )
    .where(_in_field)
    .order_by(schema.chunk.c.key)
)
_select_pyramids = (
    select(schema.chunk.c.key, schema.chunk.c.count, schema.chunk.c.pyramid)
    .where(_in_field)
    .order_by(schema.chunk.c.key)
)
_select_packs = (
    select(schema.pack)
    .where((schema.pack.c.last_field >= bindparam("field")) & (schema.pack.c.first_field <= bindparam("field")))
    .order_by(schema.pack.c.id)
)
_update_field = (
    update(schema.field)
    .where(schema.field.c.id == bindparam("b_id"))
    .values(facts=bindparam("facts"), crc=bindparam("crc"))
)


def begin_index(folder: RunFolder) -> None:
    """Make a new index, whole or not at all: what is killed half way leaves a hidden file and no index without tables.

    Where another process has just made one, that one stays.
    """
    hidden = folder.path / f".{folder.index.name}.{new_writer_id()}"
    try:
        Index(folder, open_for_writing(hidden)).create()
        make_single_file(hidden)
        _put_in_place(hidden, folder.index)
        sync_folder(folder.path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            hidden.with_name(hidden.name + suffix).unlink(missing_ok=True)


def _put_in_place(hidden: Path, index: Path) -> None:
    try:
        os.link(hidden, index)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP):
            raise
        if not index.exists():  # a file system without hard links
            hidden.rename(index)


def is_whole(table: Table, row: dict[str, Any]) -> bool:
    """Whether a row of any table, its columns in their order, is as it was written."""
    types, crc = _ROWS[table.name]
    return len(row) == len(types) and _is_typed(row.values(), types) and row["crc"] == crc(row)


def is_whole_pack(row: Any) -> bool:
    """Whether a row of the packs is as it was written."""
    return _is_typed(row, PACK_TYPES) and row.crc == pack_crc(row._mapping)


def is_whole_chunk(row: Any) -> bool:
    """Whether a row of the chunks is as it was written."""
    return _is_typed(row, CHUNK_TYPES) and row.crc == chunk_crc(row.key, row.count, row.pyramid, row.data)


def _typed(rows: Iterable[Any], types: Types) -> list[Any]:
    found = list(rows)
    if not all(_is_typed(row, types) for row in found):
        raise _damaged("a row holds something of another type")
    return found


def _is_typed(row: Any, types: Types) -> bool:
    """SQLite keeps a type with each value, so damage can turn bytes into a text with the same crc."""
    return all(map(isinstance, row, types))


def _path_or_none(path: object) -> str | None:
    """A path out of a damaged row, if it can be one."""
    try:
        return paths.parse(path) if isinstance(path, str) else None
    except NaiadPathError:
        return None


def _rows_by_key(connection: Connection, table: Table, keys: Sequence[int]) -> list[Any]:
    """Rows one by one where they cannot be read together: halves of halves, so that sound stretches cost one query."""
    key = next(iter(table.primary_key))
    try:
        return list(connection.execute(select(table).where(key.between(keys[0], keys[-1])).order_by(key)))
    except DatabaseError:
        if len(keys) == 1:
            return []
    middle = len(keys) // 2
    return _rows_by_key(connection, table, keys[:middle]) + _rows_by_key(connection, table, keys[middle:])


def chunk_key(field_id: int, number: int) -> int:
    """The primary key of chunk `number` of a field."""
    return field_id << FIELD_SHIFT | number


def chunk_crc(key: int, count: int, pyramid: bytes | None, data: bytes) -> int:
    """What the crc column of a chunk row holds."""
    return _crc(key, count, pyramid or b"", data)


def pack_crc(row: dict[str, Any]) -> int:
    """What the crc column of a pack row holds."""
    return _crc(row["id"], row["first_field"], row["last_field"], row["count"], row["data"])


def _crc(*columns: int | str | bytes) -> int:
    """Crc32 over the columns: integers as decimal text, each column closed by a zero byte, bytes as they are."""
    crc = 0
    for column in columns:
        data = column if isinstance(column, bytes) else str(column).encode("utf-8", "surrogatepass")
        crc = zlib.crc32(b"\0", zlib.crc32(data, crc))
    return crc


def _field_crc(number: int, path: str, kind: str, facts: bytes) -> int:
    """What `_crc` gives for these columns, in one go: a fold may write 100,000 fields."""
    return zlib.crc32(b"%b%b\0" % (f"{number}\0{path}\0{kind}\0".encode("utf-8", "surrogatepass"), facts))


_ROWS: dict[str, tuple[Types, Callable[[dict[str, Any]], int]]] = {
    "head": (HEAD_TYPES, lambda row: _crc(row["format"], row["facts"])),
    "writer": (WRITER_TYPES, lambda row: _crc(row["name"], row["facts"], row["fields"])),
    "position": (POSITION_TYPES, lambda row: _crc(row["file"], row["upto"], row["is_done"])),
    "field": (FIELD_TYPES, lambda row: _field_crc(row["id"], row["path"], row["kind"], row["facts"])),
    "chunk": (CHUNK_TYPES, lambda row: chunk_crc(row["key"], row["count"], row["pyramid"], row["data"])),
    "pack": (PACK_TYPES, pack_crc),
}


def _many(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute a statement for each row. SQLAlchemy makes the SQL; its look at each single parameter is left out."""
    if not rows:
        return
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    names = compiled.positiontup
    ordered = rows if names is None else [tuple(map(row.__getitem__, names)) for row in rows]
    connection.exec_driver_sql(str(compiled), ordered)


def _head_row(head: Head) -> dict[str, Any]:
    facts = _encode(head)
    return {"id": 1, "format": schema.FORMAT, "facts": facts, "crc": _crc(schema.FORMAT, facts)}


def _position_row(name: str, position: tuple[int, bool]) -> dict[str, Any]:
    upto, is_done = position[0], int(position[1])
    return {"file": name, "upto": upto, "is_done": is_done, "crc": _crc(name, upto, is_done)}


def _field_facts(state: FieldState) -> dict[str, Any]:
    s = state.series
    is_as_defined = state.defined_at == state.at and state.defined_by == state.writer
    facts = _encode(
        FieldFacts(
            state.value, state.tags, state.config, state.writer, state.at, state.pieces,
            s.count, s.finite, s.minimum, s.maximum, s.total, s.last_step, s.last_value, s.last_time,
            state.retired_at, state.retired_by,
            None if is_as_defined else state.defined_at, None if is_as_defined else state.defined_by,
            state.members, s.spread,
        )
    )  # fmt: skip
    return {"facts": facts, "crc": _field_crc(state.id, state.path, state.kind, facts)}


def _field_row(state: FieldState) -> dict[str, Any]:
    return {"id": state.id, "path": state.path, "kind": state.kind, **_field_facts(state)}


def _state(number: int, path: str, kind: str, facts: FieldFacts) -> FieldState:
    series = Series(
        facts.count, facts.finite, facts.minimum, facts.maximum, facts.total,
        facts.last_step, facts.last_value, facts.last_time, facts.spread if facts.finite else 0.0,
    )  # fmt: skip
    return FieldState(
        path, kind, number, facts.writer, facts.at, facts.value, facts.tags, facts.config, series, facts.pieces,
        facts.retired_at, facts.retired_by,
        facts.at if facts.defined_at is None else facts.defined_at,
        facts.writer if facts.defined_by is None else facts.defined_by,
        facts.members,
    )  # fmt: skip


def _writer_row(writer: WriterState) -> dict[str, Any]:
    facts = _encode(WriterFacts(*(getattr(writer, name) for name in WriterFacts.__struct_fields__)))
    fields = _ids(writer.fields).tobytes()
    return {"name": writer.name, "facts": facts, "fields": fields, "crc": _crc(writer.name, facts, fields)}


def _ids(states: Iterable[FieldState | None]) -> npt.NDArray[np.int64]:
    """The ids; 0 stands for a number whose definition was lost to damage."""
    return np.array([state.id if state else 0 for state in states], "<i8")


def _damaged(what: str) -> DatabaseError:
    return DatabaseError(what, None, Exception(what))
