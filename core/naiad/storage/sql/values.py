"""The tables of the catalog, and writing the facts of containers into them.

A **field** is a path with a kind, so that a path that is a Float in one run and an Integer in another is two fields.
The value of a field in a container is a **cell**, kept twice: all cells of a container together in its own row, to be
shown, and each alone in a table with indexes, to be found. The shown cells have a crc32 in their row.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    update,
)

from naiad.errors import DamagedData
from naiad.kinds import ASPECTS, DERIVED, POINTS, TAGS
from naiad.storage.base import MOST_DAMAGED, NO_LOSSES, Cell, Losses

INDEXED_TEXT = 200
"""Characters of a text that the index holds; of a longer one the whole stands beside it."""

MOST_PATHS = 5_000
"""Paths that one statement asks for."""

metadata = MetaData()

about = Table(
    "about",
    metadata,
    Column("format", Integer, primary_key=True, autoincrement=False),
    Column("listed", Text, nullable=False),  # the folders of containers as they were when they were listed last
    Column("made", Text, nullable=False),  # differs in each catalog that was made
    Column("revision", BigInteger, nullable=False),  # grows with each change
)

container = Table(
    "container",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # the folder of its kind: runs, models, versions, projects
    Column("id", Text),
    Column("project", Text),
    Column("state", Text, nullable=False),
    Column("created", BigInteger),  # microseconds
    Column("losses", Text, nullable=False),  # JSON: damaged paths, number of dropped points and ops; empty without any
    Column("stamp", Text, nullable=False),  # of the files it was read from
    Column("seal", Text, nullable=False),  # of its seal alone; empty of what is to be looked at on each read
    Column("cells", LargeBinary, nullable=False),  # msgpack: field number -> Cell
    Column("crc", BigInteger, nullable=False),  # of the columns in `SHOWN`
    Column("begun", BigInteger, nullable=False),  # the revision at which it was found first
    Column("revision", BigInteger, nullable=False),  # the one at which it changed last, but for its signs of life
    Index("container_created", "created"),
    Index("container_project", "kind", "project", "created"),  # to count them without their cells
    Index("container_revision", "revision"),
    Index("container_seal", "seal"),
    Index("container_id", "id"),
)
Index("container_losses", container.c.losses, sqlite_where=container.c.losses != "")  # few have any

gone = Table(
    "gone",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("id", Text),
    Column("revision", BigInteger, nullable=False),  # at which it was found to be gone
    Index("gone_revision", "revision"),
)

field = Table(
    "field",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("crc", BigInteger, nullable=False),
    Index("field_path", "path", "kind", unique=True),
)

cell = Table(
    "cell",
    metadata,
    Column("field", Integer, primary_key=True, autoincrement=False),
    Column("container", Integer, primary_key=True, autoincrement=False),
    Column("num", Float),  # numbers, booleans, moments, last values; NaN is null here
    Column("integer", BigInteger),  # exact, where num may round
    Column("txt", Text),  # the first characters
    Column("whole", Text),  # of a text with more of them
    Column("min", Float),
    Column("max", Float),
    Column("average", Float),
    Column("variance", Float),
    sqlite_with_rowid=False,  # its rows lie in the order of the key: those of a field together
)
Index("cell_num", cell.c.field, cell.c.num, cell.c.integer, cell.c.container)
_has_text = cell.c.txt.is_not(None)
Index(
    "cell_txt", cell.c.field, cell.c.txt, cell.c.container, sqlite_where=_has_text
)  # naming another database loads it

tag = Table(
    "tag",
    metadata,
    Column("field", Integer, primary_key=True, autoincrement=False),
    Column("tag", Text, primary_key=True),
    Column("container", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)


SMALL_BYTES = 2_048
SMALL_ROWS = 4_096
"""So many decoded rows of up to so many bytes a process remembers: at most about 100 MB of typical values."""

_FACTS = ("number", "uid", "kind", "id", "project", "state", "created", "losses")
SHOWN: tuple[Column[Any], ...] = tuple(container.c[name] for name in (*_FACTS, "cells", "crc"))
"""What a listing or a table is made of. A wrong stamp or seal only leads to reading the container again."""


class _Shown(NamedTuple):
    """A row with the columns in `SHOWN`."""

    number: int
    uid: str
    kind: str
    id: str | None
    project: str | None
    state: str
    created: int | None
    losses: str
    cells: bytes
    crc: int


class Stamp(NamedTuple):
    """A stamp that changes with every write to a container; empty where file times are unreliable."""

    files: str
    seal: str


@dataclass(frozen=True)
class Entry:
    """The catalog's facts of one container; `cells` by path and kind."""

    uid: str
    kind: str
    id: str
    project: str
    state: str
    created: int | None
    stamp: Stamp
    cells: Mapping[tuple[str, str], Cell]
    losses: Losses = NO_LOSSES


SIGNS_OF_LIFE = [(path, DERIVED[path]) for path in ("sys/ping_time", "sys/running_time", "sys/size")]
"""Cells that change by themselves while a run lives."""

_encode = msgspec.msgpack.Encoder().encode
decode_cells = msgspec.msgpack.Decoder(dict[int, Any]).decode
"""The cells of a container by the number of their field."""


def _crc(cells: bytes, *facts: object) -> int:
    return zlib.crc32(cells, zlib.crc32(repr(facts).encode("utf-8", "surrogateescape")))


def whole_cells(row: Any) -> bytes:
    """The packed cells of a row with the columns in `SHOWN`.

    Raises:
        DamagedData: the row differs from the one written.
    """
    *facts, cells, crc = row
    if not isinstance(cells, bytes) or crc != _crc(cells, *facts):
        raise _damaged("container", row.number)
    return cells


def shown_cells(row: Any) -> Mapping[int, Cell]:
    """The cells of a row with the columns in `SHOWN`, by the number of their field.

    Raises:
        DamagedData: the row differs from the one written.
    """
    if len(row.cells or b"") > SMALL_BYTES:
        return decode_cells(whole_cells(row))
    return _small_cells(*row)


@functools.lru_cache(maxsize=SMALL_ROWS, typed=True)
def _small_cells(*row: Any) -> Mapping[int, Cell]:
    """Check and decode a row, once as long as all of its columns stay the same."""
    return decode_cells(whole_cells(_Shown(*row)))


def losses_of(row: Any) -> Losses:
    """The losses of a row with the columns in `SHOWN`.

    Raises:
        DamagedData: the row differs from the one written.
    """
    if not row.losses:
        return NO_LOSSES
    whole_cells(row)
    damaged, dropped = json.loads(row.losses)
    return Losses(tuple(damaged), dropped)


def _losses_text(losses: Losses) -> str:
    damaged = [as_stored(path) for path in losses.damaged[:MOST_DAMAGED]]
    return json.dumps([damaged, losses.dropped])


def fields(connection: Connection, *conditions: ColumnElement[bool]) -> list[tuple[int, str, str]]:
    """Number, path and kind of the fields of which all conditions hold.

    Raises:
        DamagedData: a row differs from the one written.
    """
    found = []
    for number, path, kind, crc in connection.execute(select(field).where(*conditions)):
        if crc != _crc(b"", number, path, kind):
            raise _damaged("field", number)
        found.append((number, path, kind))
    return found


def _damaged(table: str, number: int) -> DamagedData:
    return DamagedData(
        f"Row {number} of table {table} of the catalog is not what was written.",
        file="catalog.db",
        what="a damaged row",
    )


def put(connection: Connection, entries: list[Entry]) -> None:
    """Update the facts of some containers, touching only rows that differ."""
    known = _known(connection, [entry.uid for entry in entries])
    last = last_number(connection, container)
    numbers = _field_numbers(connection, {key for entry in entries for key in entry.cells})
    kinds = {number: kind for (_path, kind), number in numbers.items()}
    signs = {numbers[key] for key in SIGNS_OF_LIFE if key in numbers}
    revision = (connection.execute(select(about.c.revision)).scalar() or 0) + 1
    old_keys: list[tuple[int, int]] = []
    new_cells: list[tuple[int, int, Cell]] = []
    for entry in entries:
        cells = {numbers[key]: value for key, value in entry.cells.items()}
        number, before = known.get(entry.uid, (None, {}))
        is_new = number is None
        if number is None:
            number = last = last + 1
        facts = {name: getattr(entry, name) for name in _FACTS[1:]}
        facts["losses"] = "" if entry.losses == NO_LOSSES else _losses_text(entry.losses)
        packed = _encode(cells)
        row = {"number": number, **facts, "stamp": entry.stamp.files, "seal": entry.stamp.seal, "cells": packed}
        row["crc"] = _crc(packed, number, *facts.values())
        changed = {at: value for at, value in cells.items() if at not in before or before[at] != value}
        # a sign of life alone would make every page that is open load again
        if changed.keys() - signs or before.keys() - cells.keys():
            row["revision"] = revision
        if is_new:
            connection.execute(insert(container), row | {"begun": revision, "revision": revision})
        else:
            connection.execute(update(container).where(container.c.number == number), row)
        old_keys += [(at, number) for at in before if at in changed or at not in cells]
        new_cells += [(at, number, value) for at, value in changed.items()]
    _remove(connection, old_keys)
    _insert(connection, new_cells, kinds)
    connection.execute(update(about).values(revision=revision))


def forget(connection: Connection, uids: list[str]) -> None:
    """Remove some containers."""
    known = _known(connection, uids)
    facts: list[dict[str, Any]] = []
    for start in range(0, len(uids), 500):
        some = select(container.c.uid, container.c.id).where(container.c.uid.in_(uids[start : start + 500]))
        facts += [{"uid": uid, "id": name} for uid, name in connection.execute(some)]
    _remove(connection, [(at, number) for number, cells in known.values() for at in cells])
    _each(connection, delete(container).where(container.c.number == bindparam("b_number")),
          [{"b_number": number} for number, _cells in known.values()])  # fmt: skip
    if facts:
        revision = (connection.execute(select(about.c.revision)).scalar() or 0) + 1
        _each(connection, delete(gone).where(gone.c.uid == bindparam("uid")), facts)
        _each(connection, insert(gone), [{**each, "revision": revision} for each in facts])
        connection.execute(update(about).values(revision=revision))


def stamps(connection: Connection, marked: Iterable[str] | None, numbers: tuple[int, int] = (0, 0)) -> dict[str, Stamp]:
    """The stamps of all containers; or of those without a seal, these, and those numbered from one to below another."""
    found = select(container.c.uid, container.c.stamp, container.c.seal)
    conditions: list[ColumnElement[bool]] = [true()]
    if marked is not None:
        uids = list(marked)
        some = (container.c.uid.in_(uids[start : start + 500]) for start in range(0, len(uids), 500))
        conditions = [container.c.seal == "", *some]
        if numbers[1] > numbers[0]:
            conditions.append(and_(container.c.number >= numbers[0], container.c.number < numbers[1]))
    rows = (row for condition in conditions for row in connection.execute(found.where(condition)))
    return {uid: Stamp(files, seal) for uid, files, seal in rows}


def _known(connection: Connection, uids: list[str]) -> dict[str, tuple[int, Mapping[int, Cell]]]:
    found = {}
    for start in range(0, len(uids), 500):
        some = container.c.uid.in_(uids[start : start + 500])
        for row in connection.execute(select(*SHOWN).where(some)):
            found[row.uid] = (row.number, shown_cells(row))
    return found


def fields_at(connection: Connection, paths: Iterable[str]) -> dict[tuple[str, str], int]:
    """The numbers of the fields at some paths, by path and kind; those that no container has are left out."""
    wanted, found = sorted(set(paths)), {}
    for start in range(0, len(wanted), MOST_PATHS):
        some = field.c.path.in_(wanted[start : start + MOST_PATHS])
        found.update({(path, kind): number for number, path, kind in fields(connection, some)})
    return found


def _field_numbers(connection: Connection, keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    known = fields_at(connection, (path for path, _kind in keys))
    missing = enumerate(sorted(keys - known.keys()), last_number(connection, field) + 1)
    new = {key: number for number, key in missing}
    rows = [
        {"number": number, "path": path, "kind": kind, "crc": _crc(b"", number, path, kind)}
        for (path, kind), number in new.items()
    ]
    _each(connection, insert(field), rows)
    return known | new


def last_number(connection: Connection, table: Table) -> int:
    """The largest number in a table; the next row gets the one after it."""
    return connection.execute(select(func.max(table.c.number))).scalar() or 0


def _remove(connection: Connection, keys: list[tuple[int, int]]) -> None:
    rows = [{"b_field": at, "b_container": number} for at, number in keys]
    for table in (cell, tag):
        is_it = and_(table.c.field == bindparam("b_field"), table.c.container == bindparam("b_container"))
        _each(connection, delete(table).where(is_it), rows)


def _insert(connection: Connection, cells: list[tuple[int, int, Cell]], kinds: Mapping[int, str]) -> None:
    rows = [{"field": at, "container": number, **columns_of(kinds[at], value)} for at, number, value in cells]
    tags = [
        {"field": at, "container": number, "tag": each}
        for at, number, value in cells
        if kinds[at] == TAGS
        for each in value
    ]
    _each(connection, insert(cell), rows)
    _each(connection, insert(tag), tags)


def _each(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


_EMPTY = dict.fromkeys(column.name for column in cell.c if not column.primary_key)


def columns_of(kind: str, value: Cell) -> dict[str, Any]:
    """How a cell is found."""
    if kind == POINTS and value is not None:
        return {**_EMPTY, "num": value[0], **dict(zip(ASPECTS[1:], value[1:], strict=True))}
    if isinstance(value, str):
        is_long = len(value) > INDEXED_TEXT
        return {**_EMPTY, "txt": value[:INDEXED_TEXT], "whole": value if is_long else None}
    if isinstance(value, (bool, int, float)):
        return {**_EMPTY, "num": float(value), "integer": value if type(value) is int else None}
    return _EMPTY


def as_stored(text: str) -> str:
    """Lone surrogates replaced: a database takes none, and the run itself keeps them."""
    return text.encode("utf-8", "replace").decode()
