"""The index of a run, `run.db`: loading the projection from it, and putting a fold into it in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import starmap
from sqlite3 import DatabaseError, OperationalError
from typing import Any, NamedTuple

from naiad import paths, rewinds
from naiad.errors import NaiadPathError
from naiad.forks import holding_forks
from naiad.kinds import DERIVED, FILES
from naiad.ops import Assign, Op, Tags
from naiad.storage.local.index.chunk_rows import CHUNK_TYPES, EVERY_CHUNK, FIELD_SHIFT, ChunkRow, chunk_key
from naiad.storage.local.index.projection import Projection, Row, namespaces_of
from naiad.storage.local.index.rows import (
    CHUNK_HEAD_TYPES,
    FORMAT,
    MALFORMED,
    PYRAMID_TYPES,
    WITH_DELETIONS,
    Changes,
    ChunkHead,
    FieldRow,
    Head,
    HeadRow,
    PackRow,
    PositionRow,
    PyramidRow,
    WriterRow,
    damaged,
    decode_head,
    facts_of_row,
    field_state,
    head_row,
    is_whole,
    is_whole_pack,
    odd_paths,
    pack_crc,
    position_row,
    possibly_deleted,
    summed_rows,
    typed,
    whole_fields,
    writer_row,
    writer_state,
)
from naiad.storage.local.index.states import DELETED, FieldState
from naiad.storage.local.journal.frames import are_valid
from naiad.storage.local.layout import RunDirectory, newer_format
from naiad.storage.results import Damage
from naiad.storage.sql.connection import Connection, Statement
from naiad.storage.sql.database import Database, unchanged

UNKNOWN = -1
"""The `folds` of an index whose head is damaged."""
MOST_AROUND = 100
"""Fields that are looked up around one path; where there are more, all are loaded."""
MOST_FAILURES = 200_000
"""Queries for rows on damaged pages: seconds, and more than the rows of any page that a true index could lose."""


@contextmanager
def without_folds(folder: RunDirectory) -> Iterator[bool]:
    """Let no process fold a run in the block, as far as that is possible: False where one may.

    Folds wait for at most `BUSY_SECONDS`, and those that could not wait are made later.
    """
    if folder.seal.exists() or not folder.index.exists():
        yield True
        return
    with unchanged(folder.index) as is_held:
        yield is_held


class ChunkSize(NamedTuple):
    """A chunk without its content: its number in its series, its points, and the bytes that are stored of these."""

    number: int
    count: int  # type: ignore[assignment]  # the method of tuples is not used
    size: int


class Index:
    """The index of one run, opened for reading or for writing."""

    def __init__(self, folder: RunDirectory, engine: Database) -> None:
        self.folder = folder
        self.engine = engine

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction in which everything read belongs together."""
        with holding_forks(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def view(self) -> Iterator[Connection]:
        """Open the index for reading, without a commit, which SQLite rejects after a damaged page."""
        with holding_forks(), self.engine.connect() as connection:
            yield connection

    def create(self) -> None:
        """Make the tables of a new index."""
        with self.snapshot() as connection:
            connection.make(_TABLES)
            self.begin(connection)

    def begin(self, connection: Connection) -> None:
        """Give tables without rows their head."""
        connection.run(_ADD["head"], **head_row(Head()))

    def has_begun(self, connection: Connection) -> bool:
        """Whether the tables have a head."""
        return connection.run(_ALL["head"]).fetchone() is not None

    def head(self, connection: Connection) -> Head:
        """The counts.

        Raises:
            NewerFormat: a later release wrote this index.
            DatabaseError: it is damaged.
        """
        found = connection.run(_ALL["head"]).fetchone()
        if found is None:
            raise damaged("the head row is missing")
        row = HeadRow(*found)
        # The checksum before the format: a damaged number must not pass for a later release.
        if not is_whole("head", row._asdict()):
            raise damaged("the head row fails its crc")
        if row.format > FORMAT:
            raise newer_format(row.format, FORMAT, self.folder.index)
        try:
            return decode_head(row.facts)
        except MALFORMED as error:
            raise damaged(_malformed("head", error)) from error

    def folds(self, connection: Connection) -> int:
        """A number that every change of the index raises; `UNKNOWN` when the head is damaged."""
        return self._head_or_none(connection, []).folds

    def load(
        self, connection: Connection, *, has_fields: bool = True
    ) -> tuple[Projection, Head, dict[str, tuple[int, bool]], list[Damage]]:
        """Load the projection, the counts, the positions and the damage that is known before fields are needed.

        A damaged row, page or table is left out and reported; a caller that changes the index then has to raise.

        Args:
            connection: to the index.
            has_fields: False leaves the fields out, as of an index that is known to be whole.

        Raises:
            NewerFormat: a later release wrote this index.
            DatabaseError: nothing of it can be read.
        """
        damages: list[Damage] = []
        head = self._head_or_none(connection, damages)
        projection = self._load_fields(connection, head, damages) if has_fields else Projection()
        if has_fields and not projection.version and head.folds == UNKNOWN:
            raise damaged(damages[0].what)
        self._load_writers(connection, head, projection, damages)
        projection.link()
        positions = self.positions(connection, damages)
        if head.folds != UNKNOWN:
            damages += self._missing_rows(connection, head)
        projection.touched.clear()
        projection.touched_writers.clear()
        return projection, head, positions, damages

    def load_whole(self, connection: Connection) -> tuple[Projection, Head, dict[str, tuple[int, bool]], list[Damage]]:
        """Load the same and look at every field, so that all damage is known.

        Raises:
            NewerFormat: a later release wrote this index.
            DatabaseError: nothing of it can be read.
        """
        projection, head, positions, damages = self.load(connection)
        projection.make_all()
        return projection, head, positions, [*damages, *projection.damages]

    def positions(self, connection: Connection, damages: list[Damage]) -> dict[str, tuple[int, bool]]:
        """How many bytes of each journal file are in the index, and whether that is all of it.

        A file whose position is damaged counts as wholly there: better that points are missing than that they are
        there twice.
        """
        found = {}
        for row in self._scan(connection, "position", damages):
            if is_whole("position", row._asdict()):
                found[row.file] = (row.upto, bool(row.is_done))
            else:
                damages.append(self._damage(f"the position of {row.file!r} fails its crc"))
                found[str(row.file)] = (0, True)
        return found

    def fields_around(self, connection: Connection, path: str) -> dict[str, FieldState] | None:
        """The fields at, above and below a path, by path; None where that needs all rows.

        It does where fields conflict or were deleted there, where there are many, where something is damaged, and for
        a path that cannot be printed.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        if not path.isprintable():  # SQLite takes no lone surrogate
            return None
        found = connection.run(
            _FIELDS_AROUND, path=path, below=f"{path}/", end=f"{path}0", most=MOST_AROUND, offset=0
        ).fetchall()
        rows = [FieldRow(*row) for row in found if f"{row[1]}/".startswith(f"{path}/") or path.startswith(f"{row[1]}/")]
        there = {row.path for row in rows}
        is_plain = len(found) < MOST_AROUND and len(there) == len(rows) == len(whole_fields(rows))
        if not is_plain or possibly_deleted(rows) or odd_paths([*there]) or namespaces_of(there) & there:
            return None
        damages: list[Damage] = []
        states = _states_of(self.folder.index.name, rows, damages)
        return None if damages else {state.path: state for state in states.values()}

    def summed_fields(self, connection: Connection) -> tuple[dict[str, list[Any] | None], list[FieldState]] | None:
        """`ASPECTS` of each series of numbers, by path, and the states of all other fields.

        None where fields conflict or were deleted, where there are files or rewinds, or where something is damaged.
        The table of a run of 100,000 series needs no more of each, and a state takes longer to make.
        """
        try:
            with connection.valid_text():
                read = summed_rows(connection.run(_ALL["field"]))
        except (DatabaseError, *MALFORMED):
            return None
        if read is None or possibly_deleted(read[1]) or not FILES.isdisjoint(row[2] for row in read[1]):
            return None
        summed, others = read
        paths_found = [*summed, *(row[1] for row in others)]
        there = set(paths_found)
        is_plain = len(there) == len(paths_found) and there.isdisjoint([*DERIVED, rewinds.PATH])
        if not is_plain or odd_paths(paths_found) or namespaces_of(there) & there:
            return None
        damages: list[Damage] = []
        states = [*_states_of(self.folder.index.name, others, damages).values()]
        return None if damages else (summed, states)

    def kinds(self, connection: Connection) -> dict[str, str] | None:
        """The kind of each field, by path; None where fields conflict or were deleted, or where something is damaged.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        try:
            with connection.valid_text():
                found: dict[str, str] = dict(connection.run(_KINDS, begin=WITH_DELETIONS))
        except OperationalError:  # a text is no UTF-8 any more
            return None
        is_plain = {*map(type, found)} == {*map(type, found.values())} == {str} and DELETED not in found.values()
        is_plain = is_plain and len(found) == self.head(connection).fields
        if not is_plain or odd_paths([*found]) or namespaces_of(found) & found.keys():
            return None
        return found

    def all_rows(self, connection: Connection, table: str, keys: Sequence[int], damages: list[Damage]) -> list[Any]:
        """The rows of a table; where that fails, those of these ascending keys that are on undamaged pages."""
        return self._scan(connection, table, damages, keys)

    def commit(self, connection: Connection, projection: Projection, head: Head, changes: Changes) -> None:
        """Put a fold into the index, inside the caller's transaction."""
        # Before the new rows: what is left of a deleted field is among them, under another number.
        self._drop_retired(connection, projection, head)
        new = changes.new_fields
        are_new = set(map(id, new))
        known = [state for state in projection.touched.values() if id(state) not in are_new]
        # One after the other, since the garbage collector would look at 100,000 rows again and again.
        connection.run_rows(_ADD["field"], ((state.id, state.path, state.kind, *facts_of_row(state)) for state in new))
        connection.run_rows(_CHANGE_FIELD, ((*facts_of_row(state), state.id) for state in known))
        for row in changes.packs:
            row["id"] = head.next_pack
            row["crc"] = pack_crc(row)
            head.next_pack += 1
        connection.run_each(_ADD["chunk"], changes.chunks)
        connection.run_each(_ADD["pack"], changes.packs)
        self._commit_writers(connection, projection, head)
        # Removed and added, since an upsert is written differently for each database.
        connection.run_each(_REMOVE_POSITION, [{"name": name} for name in changes.positions])
        connection.run_each(_ADD["position"], [position_row(*item) for item in changes.positions.items()])
        # Last of all, and in the same transaction: readers compare this number to know whether anything has changed.
        head.folds += 1
        head.fields += len(new)
        head.chunks += len(changes.chunks)
        head.packs += len(changes.packs)
        head.points += changes.points
        self.put_head(connection, head)

    def put_head(self, connection: Connection, head: Head) -> None:
        """Write the head row."""
        connection.run(_CHANGE_HEAD, **head_row(head))

    def chunks(self, connection: Connection, field_id: int, numbers: range = EVERY_CHUNK) -> list[Any]:
        """The chunk rows of a field in the order in which they were folded, or those with some numbers.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        low = chunk_key(field_id, 0)
        rows = connection.run(_CHUNKS, low=low + numbers.start, high=low + numbers.stop)
        return typed(map(ChunkRow._make, rows), CHUNK_TYPES)

    def chunk_heads(self, connection: Connection, field_id: int) -> list[Any]:
        """The same without their content: its pages are not read, whatever their size.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        low = chunk_key(field_id, 0)
        rows = connection.run(_CHUNK_HEADS, low=low, high=low + (1 << FIELD_SHIFT))
        return typed(map(ChunkHead._make, rows), CHUNK_HEAD_TYPES)

    def pyramids(self, connection: Connection, field_id: int, numbers: range = EVERY_CHUNK) -> list[Any]:
        """The same without the points.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        low = chunk_key(field_id, 0)
        rows = connection.run(_PYRAMIDS, low=low + numbers.start, high=low + numbers.stop)
        return typed(starmap(PyramidRow, rows), PYRAMID_TYPES)

    def coarse_pyramids(self, connection: Connection, field_id: int) -> list[Any]:
        """The same with coarser ones in place of many, where there are some: a folder has none.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        return self.pyramids(connection, field_id)

    def packs(self, connection: Connection, field_id: int) -> list[Any]:
        """Yield the packs that may hold points of a field, without damaged ones.

        The field's count of points shows whether one is missing.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        try:
            rows = list(map(PackRow._make, connection.run(_PACKS, field=field_id)))
        except DatabaseError:
            rows = self.all_rows(connection, "pack", range(1, self.head(connection).next_pack), [])
        return [row for row in rows if is_whole_pack(row) and row.first_field <= field_id <= row.last_field]

    def extents(self, connection: Connection) -> dict[int, list[ChunkSize]]:
        """The extents of all chunks by field.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        return extents_of(connection.run(_EXTENTS))

    def packed(self, connection: Connection) -> int:
        """How many points lie in packs.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        return int(connection.value(_PACKED))

    def drop_chunks(self, connection: Connection, field_id: int, first: int) -> int:
        """Delete the chunks of a field from a number on; how many there were."""
        low = chunk_key(field_id, 0)
        return int(connection.run(_REMOVE_CHUNKS, low=low + first, high=low + (1 << FIELD_SHIFT)).rowcount)

    def drop_every_chunk(self, connection: Connection) -> int:
        """Delete the chunks of all fields; how many there were."""
        return int(connection.run(_REMOVE_EVERY_CHUNK).rowcount)

    def drop_packs(self, connection: Connection) -> int:
        """Delete all packs; how many there were."""
        return int(connection.run(_REMOVE_PACKS).rowcount)

    def remnant(self, connection: Connection, state: FieldState) -> tuple[list[Any], list[Any]]:
        """The chunks and packs in which points of a series lie of which a deletion took some.

        Raises:
            DatabaseError: some of them cannot be read.
        """
        assert state.remnant is not None
        number = state.remnant.id
        return self.chunks(connection, number), self.packs(connection, number)

    def _head_or_none(self, connection: Connection, damages: list[Damage]) -> Head:
        try:
            return self.head(connection)
        except DatabaseError as error:
            damages.append(self._damage(f"its counts cannot be read: {error}"))
            return Head(folds=UNKNOWN)

    def _scan(self, connection: Connection, table: str, damages: list[Damage], keys: Sequence[int] = ()) -> list[Any]:
        """All rows in the order of their keys; where a page is damaged, the rows with these keys on other pages."""
        rows: list[Any] = []
        try:
            # Without a call of Python's for each row; those before a damaged page stay in the list.
            rows.extend(map(partial(tuple.__new__, _ROWS[table]), connection.run(_ALL[table])))
        except DatabaseError as error:
            damages.append(self._damage(f"its table of {table}s cannot be read whole: {error}"))
            return _rows_by_key(connection, table, keys) if keys else rows
        return rows

    def _load_fields(self, connection: Connection, head: Head, damages: list[Damage]) -> Projection:
        """The fields, as rows. States are made at once only of those that may be deleted, or at a path with others."""
        file = self.folder.index.name
        found = self._scan(connection, "field", damages, range(1, head.next_field))
        rows = whole_fields(found)
        if len(rows) < len(found):
            whole = {row.id for row in rows}
            broken = [row.path for row in found if row.id not in whole]
            damages += [Damage(file, "its field row fails its crc", _path_or_none(path)) for path in broken]
        odd = odd_paths([row.path for row in rows])
        if odd:
            damages += [Damage(file, _malformed("field", ValueError("a path")), _path_or_none(path)) for path in odd]
            rows = [row for row in rows if row.path not in odd]
        alone = {row[1]: row for row in rows}
        special = possibly_deleted(rows)
        if len(alone) < len(rows):
            shared = {row[1] for row in rows if alone[row[1]] is not row}.union(row[1] for row in special)
            special = [row for row in rows if row[1] in shared]
        for row in special:
            alone.pop(row[1], None)
        projection = Projection(alone, partial(_states_of, file))
        for state in _states_of(file, special, damages).values():
            projection.add(state)
        # A row that is not found is no error for SQLite; a count that does not agree is the only sign.
        if head.folds != UNKNOWN and len(found) != head.fields:
            damages.append(Damage(file, f"{len(found)} rows of fields where {head.fields} were written"))
        return projection

    def _load_writers(
        self,
        connection: Connection,
        head: Head,
        projection: Projection,
        damages: list[Damage],
    ) -> None:
        rows = self._scan(connection, "writer", damages)
        for row in rows:
            if not is_whole("writer", row._asdict()):
                damages.append(self._damage(f"the row of writer {row.name!r} fails its crc"))
                continue
            try:
                projection.writers[row.name] = writer_state(row.name, row.facts, row.fields)
            except MALFORMED as error:
                damages.append(self._damage(_malformed("writer", error)))
        if head.folds != UNKNOWN and len(rows) != head.writers:
            damages.append(self._damage(f"{len(rows)} rows of writers where {head.writers} were written"))

    def _missing_rows(self, connection: Connection, head: Head) -> list[Damage]:
        """Return the damage by rows that a flipped bit has made invisible, found by counting."""
        damages = []
        for table, expected in (("chunk", head.chunks), ("pack", head.packs)):
            try:
                has = connection.value(_COUNT[table])
            except DatabaseError as error:
                damages.append(self._damage(f"its {table}s cannot be counted: {error}"))
                continue
            if has != expected:
                damages.append(self._damage(f"{has} rows of {table}s where {expected} were written"))
        return damages

    def _drop_retired(self, connection: Connection, projection: Projection, head: Head) -> None:
        """Delete the rows and points of deleted fields; a remaining part has a new number."""
        for number in projection.retired:
            low = chunk_key(number, 0)
            head.chunks -= connection.run(_REMOVE_CHUNKS, low=low, high=low + (1 << FIELD_SHIFT)).rowcount
            head.fields -= connection.run(_REMOVE_FIELD, number=number).rowcount
        projection.retired = []
        for writer in projection.writers.values() if projection.renumbered else ():
            if any(id(state) in projection.renumbered for _number, state in projection.known_series(writer)):
                projection.touched_writers.add(writer.name)
        projection.renumbered.clear()

    def _commit_writers(self, connection: Connection, projection: Projection, head: Head) -> None:
        names = list(projection.touched_writers)
        gone = connection.run_each(_REMOVE_WRITER, [{"name": name} for name in names])
        rows = [writer_row(projection.writers[name], projection.made) for name in names]
        connection.run_each(_ADD["writer"], rows)
        head.writers += len(rows) - gone

    def _damage(self, what: str, path: str | None = None) -> Damage:
        return Damage(self.folder.index.name, what, path)


_ROWS: dict[str, Any] = {
    "head": HeadRow, "writer": WriterRow, "position": PositionRow, "field": FieldRow, "chunk": ChunkRow, "pack": PackRow
}  # fmt: skip
_statement = partial(Statement, "naiad.storage.local.index.schema")
_TABLES = _statement("index", lambda _sql, t: t.metadata)
_ALL = {
    name: _statement(
        f"index.{name}", lambda sql, t, name: sql.select(_table(t, name)).order_by(*_table(t, name).primary_key), name
    )
    for name in _ROWS
}
_SOME = {
    name: _statement(
        f"index.{name} between",
        lambda sql, t, name: (
            sql.select(_table(t, name))
            .where(*(key.between(sql.bindparam("low"), sql.bindparam("high")) for key in _table(t, name).primary_key))
            .order_by(*_table(t, name).primary_key)
        ),
        name,
    )
    for name in ("field", "pack", "chunk")
}
_FIELDS_AROUND = _statement(
    "index.field around",
    lambda sql, t: (
        sql.select(t.field)
        .where(
            ((t.field.c.path >= sql.bindparam("below")) & (t.field.c.path < sql.bindparam("end")))
            | (
                t.field.c.path
                == sql.func.substr(sql.bindparam("path"), sql.literal_column("1"), sql.func.length(t.field.c.path))
            )
        )
        .limit(sql.bindparam("most"))
        .offset(sql.bindparam("offset"))
    ),
)
_KINDS = _statement(
    "index.field kinds", lambda sql, t: sql.select(t.field.c.path, _shown_kind(sql, t)).order_by(t.field.c.id)
)
_COUNT = {
    name: _statement(
        f"index.{name} count", lambda sql, t, name: sql.select(sql.func.count()).select_from(_table(t, name)), name
    )
    for name in ("chunk", "pack")
}
_ADD = {
    name: _statement(f"index.{name} add", lambda sql, t, name: sql.insert(_table(t, name)).inline(), name)
    for name in _ROWS
}
_CHUNKS, _PYRAMIDS, _CHUNK_HEADS = (
    _statement(
        f"index.chunk of field, {', '.join(columns)}",
        lambda sql, t, columns: (
            sql.select(*(t.chunk.c[name] for name in columns)).where(_in_field(sql, t)).order_by(t.chunk.c.key)
        ),
        columns,
    )
    for columns in (ChunkRow._fields, ("key", "count", "pyramid"), ChunkHead._fields)
)
_PACKS = _statement(
    "index.pack of field",
    lambda sql, t: (
        sql.select(t.pack)
        .where(t.pack.c.last_field >= sql.bindparam("field"), t.pack.c.first_field <= sql.bindparam("field"))
        .order_by(t.pack.c.id)
    ),
)
_CHANGE_HEAD = _statement(
    "index.head change",
    lambda sql, t: sql.update(t.head).values({name: sql.bindparam(name) for name in HeadRow._fields}),
)
_CHANGE_FIELD = _statement(
    "index.field change",
    lambda sql, t: (
        sql.update(t.field)
        .where(t.field.c.id == sql.bindparam("b_id"))
        .values(facts=sql.bindparam("facts"), crc=sql.bindparam("crc"))
    ),
)
_REMOVE_POSITION = _statement(
    "index.position remove", lambda sql, t: sql.delete(t.position).where(t.position.c.file == sql.bindparam("name"))
)
_REMOVE_WRITER = _statement(
    "index.writer remove", lambda sql, t: sql.delete(t.writer).where(t.writer.c.name == sql.bindparam("name"))
)
_REMOVE_FIELD = _statement(
    "index.field remove", lambda sql, t: sql.delete(t.field).where(t.field.c.id == sql.bindparam("number"))
)
_EXTENTS = _statement(
    "index.chunk extents",
    lambda sql, t: sql.select(t.chunk.c.key, t.chunk.c.count, sql.func.length(t.chunk.c.data)).order_by(t.chunk.c.key),
)
_PACKED = _statement(
    "index.pack points",
    lambda sql, t: sql.select(sql.func.coalesce(sql.func.sum(t.pack.c.count), sql.literal_column("0"))),
)
_REMOVE_PACKS = _statement("index.pack remove", lambda sql, t: sql.delete(t.pack))
_REMOVE_EVERY_CHUNK = _statement("index.chunk remove all", lambda sql, t: sql.delete(t.chunk))
_REMOVE_CHUNKS = _statement("index.chunk remove", lambda sql, t: sql.delete(t.chunk).where(_in_field(sql, t)))


def _table(t: Any, name: str) -> Any:
    return t.metadata.tables[name]


def _shown_kind(sql: Any, t: Any) -> Any:
    """The kind of a field; that of a deletion wherever a row may be one, as in `possibly_deleted`."""
    is_odd = t.field.c.facts < sql.bindparam("begin")
    return sql.case((is_odd, sql.literal_column(f"'{DELETED}'")), else_=t.field.c.kind)


def _in_field(sql: Any, t: Any) -> Any:
    return (t.chunk.c.key >= sql.bindparam("low")) & (t.chunk.c.key < sql.bindparam("high"))


def extents_of(rows: Iterable[tuple[int, int, int]]) -> dict[int, list[ChunkSize]]:
    """Return the extents of chunks by field, from key, points and bytes of each."""
    found: dict[int, list[ChunkSize]] = {}
    for key, count, size in rows:
        found.setdefault(key >> FIELD_SHIFT, []).append(ChunkSize(key & (EVERY_CHUNK.stop - 1), count, size))
    return found


def _states_of(file: str, rows: Sequence[Row], damages: list[Damage]) -> dict[int, FieldState]:
    """Return the states of some rows by their numbers. Rows with content that no release writes are damage."""
    states: dict[int, FieldState] = {}
    written: list[Op] = []
    for number, path, kind, facts, _crc in rows:
        try:
            states[number] = field_state(number, path, kind, facts, written)
        except MALFORMED as error:
            damages.append(Damage(file, _malformed("field", error), _path_or_none(path)))
    # All at once, and one by one only if something is wrong: the checks are most of the time of loading.
    if not _are_valid(written):
        invalid = {op.path for op in written if isinstance(op, (Assign, Tags)) and not _are_valid([op])}
        damages += [Damage(file, _malformed("field", ValueError("a value")), path) for path in sorted(invalid)]
        states = {number: state for number, state in states.items() if state.path not in invalid}
    return states


def _malformed(noun: str, error: Exception) -> str:
    """Return the words for a row that fits its checksum and that no release writes."""
    return f"the row of a {noun} has content that no release writes: {str(error)[:200]}"


def _path_or_none(path: object) -> str | None:
    """Return a path out of a damaged row, if it can be one."""
    try:
        return paths.parse(path) if isinstance(path, str) else None
    except NaiadPathError:
        return None


def _are_valid(ops: list[Op]) -> bool:
    try:
        return are_valid(ops)
    except UnicodeDecodeError:
        return False


def _rows_by_key(connection: Connection, table: str, keys: Sequence[int]) -> list[Any]:
    """Rows one by one where they cannot be read together: halves of halves, so that sound stretches cost one query.

    It ends after so many queries in vain: the keys come from counts, and a hostile head counts to 2**53.
    """
    rows: list[Any] = []
    waiting, failures = [keys], 0
    while waiting and failures < MOST_FAILURES:
        some = waiting.pop()
        try:
            rows += map(_ROWS[table]._make, connection.run(_SOME[table], low=some[0], high=some[-1]))
        except DatabaseError:
            failures += 1
            if len(some) > 1:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
    return rows
