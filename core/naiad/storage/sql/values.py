"""Writing the facts of containers into the tables of the catalog, and reading them.

A **field** is a path with a kind, so that a path that is a Float in one run and an Integer in another is two fields.
The value of a field in a container is a **cell**, kept twice: all cells of a container together in its own row, to be
shown, and each alone in a table with indexes, to be found. The shown cells have a crc32 in their row:

    0xC1, three sizes as u32    MessagePack list of the values of `FACTS`, so that a listing decodes no others
                                u32 numbers of fields with a float, and after them of series with their aspects
                                f64 of each of them, `ASPECTS` of a series
                                MessagePack map: number of field -> cell, of all other fields

Floats lie beside each other, because most cells of most runs are floats: a table of many runs takes them as they are,
without an object for each. A row of a server's database may be older, and have the map of all cells alone, or a `bin`
of the facts before it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, count, repeat, starmap
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, NamedTuple

import msgspec

from naiad.errors import DamagedData
from naiad.kinds import ASPECTS, ATOM_OF, DERIVED, KINDS, PARENT, PARENT_UID, POINTS, SYS, TAGS
from naiad.ops import Plain
from naiad.scalars import unpack_text
from naiad.storage.catalog import MOST_DAMAGED, NO_LOSSES, Cell, Losses
from naiad.storage.sql.cells import INDEXED_TEXT
from naiad.storage.sql.connection import ALL, All, Clause, Connection, Part, Statement

MOST_PATHS = 5_000
"""Paths that one statement asks for."""

MOST_NUMBERS = 500
"""Rows that one statement asks for by their numbers."""

_WRITTEN = ("number", "uid", "kind", "id", "project", "state", "created", "losses", "stamp", "seal", "cells", "crc")
"""The columns of a container that are written whenever it has changed, in the order of its table."""

_statement = partial(Statement, "naiad.storage.sql.tables")
TABLES = _statement("catalog", lambda _sql, t: t.metadata)
BEGIN = _statement("about.add", lambda sql, t: sql.insert(t.about).inline())
FORMAT_OF = _statement("about.format", lambda sql, t: sql.select(t.about.c.format))
MADE = _statement("about.made", lambda sql, t: sql.select(t.about.c.made))
LISTED = _statement("about.listed", lambda sql, t: sql.select(t.about.c.listed))
LIST = _statement("about.list", lambda sql, t: sql.update(t.about).values(listed=sql.bindparam("listed")))
LAST_CONTAINER = _statement("container.last", lambda sql, t: sql.select(sql.func.max(t.container.c.number)))
REVISION = _statement("about.revision", lambda sql, t: sql.select(t.about.c.revision))
_SET_REVISION = _statement(
    "about.revise", lambda sql, t: sql.update(t.about).values(revision=sql.bindparam("revision"))
)
_LAST_FIELD = _statement("field.last", lambda sql, t: sql.select(sql.func.max(t.field.c.number)))
_FIELDS = _statement("field.all", lambda sql, t: sql.select(t.field).where(sql.text("({where})")))
AT_PATHS = _statement("field.at", lambda sql, t: t.field.c.path.in_(sql.bindparam("paths", expanding=True)))
_ADD_FIELD = _statement("field.add", lambda sql, t: sql.insert(t.field))
_SHOWN = _statement("container.shown", lambda sql, t: sql.select(*t.SHOWN).where(sql.text("({where})")))
_IDS = _statement(
    "container.ids",
    lambda sql, t: sql.select(t.container.c.uid, t.container.c.id).where(
        t.container.c.uid.in_(sql.bindparam("uids", expanding=True))
    ),
)
_STAMPS = _statement(
    "container.stamps",
    lambda sql, t: sql.select(t.container.c.uid, t.container.c.kind, t.container.c.stamp, t.container.c.seal).where(
        sql.text("({where})")
    ),
)
_UNSEALED = _statement("container.unsealed", lambda sql, t: t.container.c.seal == sql.literal_column("''"))
_AMONG = _statement("container.among", lambda sql, t: t.container.c.uid.in_(sql.bindparam("uids", expanding=True)))
_AT_NUMBERS = _statement(
    "container.at", lambda sql, t: t.container.c.number.in_(sql.bindparam("numbers", expanding=True))
)
_NUMBERED = _statement(
    "container.numbered",
    lambda sql, t: sql.and_(
        t.container.c.number >= sql.bindparam("first"), t.container.c.number < sql.bindparam("last")
    ),
)
_ADD_CONTAINER = _statement("container.add", lambda sql, t: sql.insert(t.container).inline())
_CHANGE_CONTAINER = _statement(
    "container.change",
    lambda sql, t: (
        sql.update(t.container)
        .where(t.container.c.number == sql.bindparam("number"))
        .values(
            {name: sql.bindparam(name) for name in _WRITTEN[1:]}
            | {"revision": sql.func.coalesce(sql.bindparam("changed"), t.container.c.revision)}
        )
    ),
)
_REMOVE_CONTAINER = _statement(
    "container.remove", lambda sql, t: sql.delete(t.container).where(t.container.c.number == sql.bindparam("number"))
)
_GONE = _statement("gone.add", lambda sql, t: sql.insert(t.gone))
_NOT_GONE = _statement("gone.remove", lambda sql, t: sql.delete(t.gone).where(t.gone.c.uid == sql.bindparam("uid")))
Form = tuple[str, ...]
_NUMBER, _INTEGER, _TEXT_ITSELF, _LONG_TEXT, _NOTHING = ("num",), ("num", "integer"), ("txt",), ("txt", "whole"), ()
_SUMMED = ("num", *ASPECTS[1:])
# One for each form, since sqlite3 takes as long for each None in a row as for a number and its place in an index.
_ADD_CELL: dict[Form, Statement] = {
    form: _statement(
        " ".join(("cell.add", *form)),
        lambda sql, t, form: sql.insert(t.cell).values(
            {each: sql.bindparam(each) for each in ("field", "container", *form)}
        ),
        form,
    )
    for form in (_NUMBER, _INTEGER, _TEXT_ITSELF, _LONG_TEXT, _NOTHING, _SUMMED)
}
_ADD_TAG = _statement("tag.add", lambda sql, t: sql.insert(t.tag))
_REMOVE_CELL, _REMOVE_TAG = (
    _statement(
        f"{name}.remove",
        lambda sql, t, name: sql.delete(t.metadata.tables[name]).where(
            t.metadata.tables[name].c.field == sql.bindparam("field"),
            t.metadata.tables[name].c.container == sql.bindparam("container"),
        ),
        name,
    )
    for name in ("cell", "tag")
)

SMALL_BYTES = 2_048
SMALL_ROWS = 4_096
"""So many decoded rows of up to so many bytes a process remembers: at most about 100 MB of typical values."""


class Shown(NamedTuple):
    """A row with the columns in `tables.SHOWN`."""

    number: int
    uid: str
    kind: str
    id: str
    project: str
    state: str
    created: int | None
    losses: str
    cells: bytes
    crc: int


class Stamp(NamedTuple):
    """A stamp that changes with every write to a container; empty where file times are unreliable."""

    files: str
    seal: str


Known = tuple[str, Stamp]
"""The folder of the kind of a container, and its stamp when it was read."""


class Entry(NamedTuple):
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

FACTS = tuple(
    (path, SYS.get(path, ATOM_OF[str]))
    for path in (
        *("sys/name", "sys/modification_time", "sys/ping_time", "sys/owner", "sys/tags", "sys/group_tags"),
        *("sys/description", "sys/size", "sys/failed", "sys/custom_run_id", "sys/trashed", "sys/model_id", "sys/stage"),
        *(PARENT, PARENT_UID),
    )
)
"""Path and kind of the fields that a listing shows; a field of another kind at such a path is not naiad's."""

_MARK = 0xC1
"""Begins packed cells; no value of MessagePack begins with it."""
_HEAD = struct.Struct("<BIII")
_BIN = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Bytes of the length behind the first byte of a `bin` of MessagePack."""
_SERIES = 1 << 31
"""Set in the number of a series, which has as many floats as there are aspects."""
_WIDTH = len(ASPECTS)
_FLOATS = [float] * _WIDTH
MANY_CELLS = 5_000
"""Cells from which on the search for reference cycles is paused while they are read or written together."""
LAYOUTS = 32
"""Layouts that are remembered. One of 100,000 fields takes 5 MB, and to make one takes less than to decode its row."""
_encode = msgspec.msgpack.Encoder().encode
decode_map = msgspec.msgpack.Decoder(dict[int, Any]).decode
_decode_facts = msgspec.msgpack.Decoder(list[Any]).decode


class Layout(NamedTuple):
    """The fields that a block of floats is of; the floats of series come last."""

    atoms: tuple[int, ...]
    series: tuple[int, ...]
    unpack: Callable[[bytes], tuple[float, ...]]


class Parts(NamedTuple):
    """The cells of a container by the number of their field, apart as they are written, in ascending order."""

    atoms: dict[int, float]
    series: dict[int, list[float]]
    others: dict[int, Cell]


def parted(cells: Mapping[int, Cell]) -> Parts:
    """Part the cells of a container, which may be very many: nothing is called for each of them."""
    atoms: dict[int, float] = {}
    series: dict[int, list[float]] = {}
    others: dict[int, Cell] = {}
    # Sorted, so that containers with the same fields have the same block of numbers, whatever came first in each.
    for number in sorted(cells):
        value = cells[number]
        if type(value) is float:
            atoms[number] = value
        elif type(value) is list and len(value) == _WIDTH:
            series[number] = value
        else:
            others[number] = value
    if not {float}.issuperset(map(type, chain.from_iterable(series.values()))):
        for number, value in [*series.items()]:
            if [*map(type, value)] != _FLOATS:
                others[number] = series.pop(number)
    return Parts(atoms, series, others)


def pack(facts: list[Cell], parts: Parts) -> bytes:
    """Pack the cells of a container, and the facts that a listing shows."""
    atoms, series, others = parts
    floats = [*atoms.values(), *chain.from_iterable(series.values())]
    numbers = struct.pack(f"<{len(atoms) + len(series)}I", *atoms, *map(_SERIES.__or__, series))
    return _joined(_encode(facts), numbers, struct.pack(f"<{len(floats)}d", *floats), others)


def _joined(facts: bytes, numbers: bytes, floats: bytes, others: Mapping[int, Cell]) -> bytes:
    head = _HEAD.pack(_MARK, len(facts), len(numbers), len(floats))
    return b"".join((head, facts, numbers, floats, _encode(others)))


def _pack_alike(group: Sequence[Entry], fields: Sequence[int], columns: Sequence[Sequence[Cell]]) -> Iterator[bytes]:
    """Pack the cells of containers with the same fields, of which each has a column of values of one type."""
    atoms: dict[int, Sequence[Any]] = {}
    series: dict[int, Sequence[Any]] = {}
    others: dict[int, Sequence[Any]] = {}
    is_mixed = False
    for number, column in zip(fields, columns, strict=True):
        if type(column[0]) is float:
            atoms[number] = column
            continue
        types = set(map(type, chain.from_iterable(column))) if type(column[0]) is list else set()
        if types == {float} and set(map(len, column)) == {len(ASPECTS)}:
            series[number] = column
        else:
            others[number] = column
            is_mixed = is_mixed or float in types  # series of which some have no finite value
    if is_mixed:
        for entry in group:
            parts = parted(dict(zip(fields, entry.cells.values(), strict=True)))
            yield pack([*map(entry.cells.get, FACTS)], parts)
        return
    own, summed = sorted(atoms), sorted(series)
    numbers = struct.pack(f"<{len(own) + len(summed)}I", *own, *map(_SERIES.__or__, summed))
    floats = [*map(atoms.__getitem__, own), *chain.from_iterable(zip(*series[each], strict=True) for each in summed)]
    blocks = starmap(struct.Struct(f"<{len(floats)}d").pack, zip(*floats, strict=True)) if floats else repeat(b"")
    rest: Iterable[tuple[Cell, ...]] = zip(*others.values(), strict=True) if others else repeat(())
    for entry, block, values in zip(group, blocks, rest, strict=False):
        facts = _encode([*map(entry.cells.get, FACTS)])
        yield _joined(facts, numbers, block, dict(zip(others, values, strict=True)))


def parts_of(packed: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Split packed cells: the facts, the numbers of fields with floats, the floats, and the map of all others."""
    if packed[0] == _MARK:
        _mark, facts, numbers, floats = _HEAD.unpack_from(packed)
        second = _HEAD.size + facts
        third = second + numbers
        last = third + floats
        return packed[_HEAD.size : second], packed[second:third], packed[third:last], packed[last:]
    begin = 1 + _BIN.get(packed[0], -1)  # 0 in a row that was written before there were facts
    end = begin + int.from_bytes(packed[1:begin], "big")
    return packed[begin:end], b"", b"", packed[end:]


@functools.lru_cache(maxsize=LAYOUTS)
def layout_of(numbers: bytes) -> Layout:
    """The fields of a block of floats; remembered, as most containers of a store have the same."""
    every = struct.unpack(f"<{len(numbers) // 4}I", numbers)
    first = bisect_left(every, _SERIES)
    series = tuple(map(_SERIES.__xor__, every[first:]))
    return Layout(every[:first], series, struct.Struct(f"<{first + len(ASPECTS) * len(series)}d").unpack)


def cells_in(packed: bytes) -> dict[int, Cell]:
    """The cells of a container by the number of their field."""
    _facts, numbers, block, others = parts_of(packed)
    atoms, series, unpack = layout_of(numbers)
    floats = unpack(block)
    found: dict[int, Cell] = dict(zip(atoms, floats, strict=False))
    at = len(atoms)
    for number in series:
        found[number] = [*floats[at : at + len(ASPECTS)]]
        at += len(ASPECTS)
    found.update(decode_map(others))
    return found


def facts_in(packed: bytes) -> list[Cell] | None:
    """The facts of a listing; None in a row without them."""
    facts = parts_of(packed)[0]
    return _decode_facts(facts) if facts else None


_TEXT = ("utf-8", "surrogateescape")


def _crc(cells: bytes, *facts: object) -> int:
    return zlib.crc32(cells, zlib.crc32(repr(facts).encode(*_TEXT)))


def whole_cells(row: Any) -> bytes:
    """The packed cells of a row with the columns in `tables.SHOWN`.

    Raises:
        DamagedData: the row differs from the one written.
    """
    *facts, cells, crc = row
    if not isinstance(cells, bytes) or crc != _crc(cells, *facts):
        raise _damaged("container", row.number)
    return cells


def shown_cells(row: Any) -> Mapping[int, Cell]:
    """The cells of a row with the columns in `tables.SHOWN`, by the number of their field.

    Raises:
        DamagedData: the row differs from the one written.
    """
    # Large rows are not remembered: a few of them would push out all others.
    return cells_in(whole_cells(row)) if len(row.cells or b"") > SMALL_BYTES else _small_cells(*row)


def require_whole(rows: Iterable[Shown]) -> None:
    """Check many rows.

    Raises:
        DamagedData: a row differs from the one written.
    """
    crc32 = zlib.crc32
    for row in rows:
        packed: Any = row[-2]
        # The same as `whole_cells`, without a call of a function of Python's for each row.
        if type(packed) is not bytes or row[-1] != crc32(packed, crc32(repr(row[:-2]).encode(*_TEXT))):
            raise _damaged("container", row.number)


@functools.lru_cache(maxsize=SMALL_ROWS, typed=True)
def _small_cells(*row: Any) -> Mapping[int, Cell]:
    """Check and decode a row, once as long as all of its columns stay the same."""
    return cells_in(whole_cells(Shown(*row)))


def losses_of(row: Shown) -> Losses:
    """The losses of a row.

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


def fields(connection: Connection, condition: Clause = ALL) -> dict[int, tuple[str, str]]:
    """Path and kind of the fields of which a condition holds, by number.

    Raises:
        DamagedData: a row differs from the one written.
    """
    found = {}
    crc32 = zlib.crc32
    kinds: dict[str, tuple[str, str]] = {}  # one text for all fields of a kind
    for number, path, kind, crc in connection.run(_FIELDS, where=condition):
        if kind not in kinds:
            kinds[kind] = kind, f"{kind!r})"
        kind, end = kinds[kind]
        # The same as `_crc`, without a call of a function of Python's for each of very many fields.
        if crc != crc32(f"({number!r}, {path!r}, {end}".encode()):
            raise _damaged("field", number)
        found[number] = path, kind
    return found


def _damaged(table: str, number: int) -> DamagedData:
    return DamagedData(
        f"Row {number} of table {table} of the catalog is not what was written.",
        file="catalog.db",
        what="a damaged row",
    )


def cells_of(fields: Iterable[tuple[str, str, Any]]) -> dict[tuple[str, str], Cell]:
    """Return the cells of fields by path and kind, from path, kind and stored value of each.

    The value is the last one of a series of texts, `ASPECTS` of one of numbers, the strings of a set, and None where
    there is nothing to show.
    """
    cells: dict[tuple[str, str], Cell] = {}
    for path, kind, value in fields:
        place = path if path.isascii() else as_stored(path)
        if type(value) is float or kind == POINTS:  # as most are: with nothing more to it
            cells[place, kind] = value
            continue
        row = KINDS[kind]
        if value is None or row.aspects:
            cells[place, kind] = value
        elif row.shape == "tags":
            cells[place, kind] = sorted({_plain(tag) for tag in value})
        else:
            cells[place, kind] = _plain(value, row.fact)
        if row.second:
            cells[f"{place}:{row.second}", ATOM_OF[str]] = _plain(value, row.second) or None
    return cells


def _plain(value: Plain, fact: str = "") -> Any:
    """A stored value as a table shows it; of a JSON text with facts, this one."""
    text = unpack_text(value) if isinstance(value, bytes) else value
    found = _fact(str(text), fact) if fact else text
    return _stored(found) if isinstance(found, str) else found


def _fact(text: str, name: str) -> str | None:
    """One member of a JSON text."""
    with contextlib.suppress(ValueError, RecursionError):  # damaged, or of a later release
        facts = json.loads(text)
        found = facts.get(name) if isinstance(facts, dict) else None
        return found if isinstance(found, str) else None
    return None


def _stored(text: str) -> str:
    return text if text.isascii() else as_stored(text)  # a run has many texts, and few have anything to replace


def put(connection: Connection, entries: list[Entry]) -> None:
    """Update the facts of some containers, touching only rows that differ."""
    uids = [entry.uid for entry in entries]
    # All is read first, so that the changes are values until the end. Numbers are given here and not by the database,
    # because the crc of a row covers its own.
    last = connection.value(LAST_CONTAINER) or 0
    last_field = connection.value(_LAST_FIELD) or 0
    revision = (connection.value(REVISION) or 0) + 1
    known = _known(connection, uids)
    alike: dict[object, tuple[list[int], list[Entry]]] = {}
    others: list[Entry] = []
    keys: dict[tuple[str, str], object] = {}  # in their order, in which most are sorted already
    for entry in entries:
        if entry.uid in known:
            keys.update(entry.cells)
            others.append(entry)
            continue
        last += 1
        found = alike.setdefault((*entry.cells, *map(type, entry.cells.values())), ([], []))
        if not found[0]:
            keys.update(entry.cells)
        found[0].append(last)
        found[1].append(entry)
    numbers, new_fields = _field_numbers(connection, keys, last_field)
    signs = {numbers[key] for key in SIGNS_OF_LIFE if key in numbers}
    cells = _NewCells({number: kind for (_path, kind), number in numbers.items()})
    old_keys: list[tuple[int, int]] = []
    new_rows: list[tuple[object, ...]] = []
    changed_rows: list[dict[str, object]] = []
    for own, group in alike.values():
        ats = [*map(numbers.__getitem__, group[0].cells)]
        if len(group) == 1:
            parts = parted(dict(zip(ats, group[0].cells.values(), strict=True)))
            cells.add(own[0], parts)
            packed = pack([*map(group[0].cells.get, FACTS)], parts)
            new_rows.append((*_container_row(own[0], group[0], packed), revision, revision))
            continue
        columns = [*zip(*map(methodcaller("values"), map(attrgetter("cells"), group)), strict=True)]
        cells.add_columns(own, ats, columns)
        for number, entry, packed in zip(own, group, _pack_alike(group, ats, columns), strict=True):
            new_rows.append((*_container_row(number, entry, packed), revision, revision))
    for entry in others:
        number, before = known[entry.uid]
        now = {numbers[key]: value for key, value in entry.cells.items()}
        row = _container_row(number, entry, pack([*map(entry.cells.get, FACTS)], parted(now)))
        # Only cells that differ are written: a run of a thousand fields in which one metric grew touches one row of
        # the index.
        changed = {at: value for at, value in now.items() if at not in before or before[at] != value}
        # a sign of life alone would make every page that is open load again
        has_news = changed.keys() - signs or before.keys() - now.keys()
        changed_rows.append({**dict(zip(_WRITTEN, row, strict=True)), "changed": revision if has_news else None})
        old_keys += [(at, number) for at in before if at in changed or at not in now]
        cells.add(number, parted(changed))
    new_cells = cells.rows()
    connection.run_rows(_ADD_FIELD, new_fields)
    connection.run_rows(_ADD_CONTAINER, sorted(new_rows))
    connection.run_each(_CHANGE_CONTAINER, changed_rows)
    connection.run_rows(_REMOVE_CELL, old_keys)
    connection.run_rows(_REMOVE_TAG, old_keys)
    for form, rows in new_cells:
        connection.run_rows(_ADD_CELL[form], rows)
    connection.run_rows(_ADD_TAG, cells.tags)
    connection.run(_SET_REVISION, revision=revision)


def _container_row(number: int, entry: Entry, packed: bytes) -> tuple[object, ...]:
    """The columns of `_WRITTEN`."""
    losses = "" if entry.losses == NO_LOSSES else _losses_text(entry.losses)
    facts = (entry.uid, entry.kind, entry.id, entry.project, entry.state, entry.created, losses)
    return (number, *facts, *entry.stamp, packed, _crc(packed, number, *facts))


class _NewCells:
    """The rows for cells that are new or changed, which are added field by field, as they lie in their table."""

    def __init__(self, kinds: Mapping[int, str]) -> None:
        self._kinds = kinds
        self._rows: dict[Form, list[tuple[int, Iterable[tuple[Any, ...]]]]] = {}
        self._alone: dict[Form, list[tuple[Any, ...]]] = {form: [] for form in _ADD_CELL}
        self.tags: list[tuple[int, str, int]] = []

    def add(self, container: int, parts: Parts) -> None:
        """Add cells of one container, which may be very many: an iterator for each would take ten times as long."""
        atoms, series, others = parts
        self._alone[_NUMBER] += zip(atoms, repeat(container), atoms.values())
        self._alone[_SUMMED] += [(at, container, *aspects) for at, aspects in series.items()]
        for at, value in others.items():
            form, values = columns_of(self._kinds[at], value)
            self._alone[form].append((at, container, *values))
            if self._kinds[at] == TAGS:
                self.tags += zip(repeat(at), value, repeat(container))

    def add_columns(self, containers: Sequence[int], fields: Iterable[int], columns: Iterable[Sequence[Cell]]) -> None:
        """Add the cells of containers with the same fields, a column of values of one type for each field."""
        for at, column in zip(fields, columns, strict=True):
            kind, type_ = self._kinds[at], type(column[0])
            form: Form = _NOTHING
            values: Iterable[Iterable[Any]] = ()
            # The same as `columns_of` for each cell, without a call for each.
            if type_ is float:
                form, values = _NUMBER, (column,)
            elif type_ is int:
                form, values = _INTEGER, (map(float, column), column)
            elif type_ is list and kind == POINTS:
                form, values = _SUMMED, zip(*column, strict=True)
            elif type_ is str and max(map(len, column)) <= INDEXED_TEXT:
                form, values = _TEXT_ITSELF, (column,)
            elif type_ is str or type_ is bool:
                for number, value in zip(containers, column, strict=True):
                    form, found = columns_of(kind, value)
                    self._rows.setdefault(form, []).append((at, ((at, number, *found),)))
                continue
            self._rows.setdefault(form, []).append((at, zip(repeat(at), containers, *values)))
            if kind == TAGS:
                for number, tags in zip(containers, column, strict=True):
                    self.tags += zip(repeat(at), tags, repeat(number))

    def rows(self) -> list[tuple[Form, Iterable[tuple[Any, ...]]]]:
        """Return all rows by form, those of a field together: they fall into few pages then."""
        found: list[tuple[Form, Iterable[tuple[Any, ...]]]] = []
        for form, parts in self._rows.items():
            parts.sort(key=itemgetter(0))
            found.append((form, chain.from_iterable(map(itemgetter(1), parts))))
        for rows in self._alone.values():
            rows.sort()  # by field and container, which no two of them have in common
        return found + [(form, rows) for form, rows in self._alone.items() if rows]


def forget(connection: Connection, uids: list[str]) -> None:
    """Remove some containers."""
    known = _known(connection, uids)
    facts: list[dict[str, Any]] = []
    for start in range(0, len(uids), 500):
        some = connection.run(_IDS, uids=uids[start : start + 500])
        facts += [{"uid": uid, "id": name} for uid, name in some]
    cells = [(at, number) for number, cells in known.values() for at in cells]
    connection.run_rows(_REMOVE_CELL, cells)
    connection.run_rows(_REMOVE_TAG, cells)
    connection.run_each(_REMOVE_CONTAINER, [{"number": number} for number, _cells in known.values()])
    if facts:
        revision = (connection.value(REVISION) or 0) + 1
        # A container that was restored and removed again is listed once, with the later revision.
        connection.run_each(_NOT_GONE, facts)
        connection.run_each(_GONE, [{**each, "revision": revision} for each in facts])
        connection.run(_SET_REVISION, revision=revision)


def stamps(connection: Connection, marked: Iterable[str] | None, numbers: tuple[int, int] = (0, 0)) -> dict[str, Known]:
    """Kind and stamp of all containers; or of those without a seal, these, and those with numbers in a range."""
    conditions: list[Clause] = [ALL]
    if marked is not None:
        uids = list(marked)
        some = (uids[start : start + 500] for start in range(0, len(uids), 500))
        conditions = [Part(_UNSEALED), *(Part(_AMONG, {"uids": each}) for each in some)]
        if numbers[1] > numbers[0]:
            conditions.append(Part(_NUMBERED, {"first": numbers[0], "last": numbers[1]}))
    found: dict[str, Known] = {}
    for condition in conditions:
        for uid, kind, files, seal in connection.run(_STAMPS, where=condition):
            found[uid] = kind, Stamp(files, seal)
    return found


def _known(connection: Connection, uids: list[str]) -> dict[str, tuple[int, Mapping[int, Cell]]]:
    found = {}
    for start in range(0, len(uids), 500):
        for row in shown(connection, Part(_AMONG, {"uids": uids[start : start + 500]})):
            found[row.uid] = (row.number, shown_cells(row))
    return found


def fields_at(connection: Connection, paths: Iterable[str], condition: Clause = ALL) -> dict[tuple[str, str], int]:
    """The numbers of the fields at some paths of which a condition holds, by path and kind.

    Those that no container has are left out.
    """
    wanted, found = sorted(set(paths)), {}
    for start in range(0, len(wanted), MOST_PATHS):
        some = All([Part(AT_PATHS, {"paths": wanted[start : start + MOST_PATHS]}), condition])
        found.update({key: number for number, key in fields(connection, some).items()})
    return found


def _field_numbers(
    connection: Connection, keys: Mapping[tuple[str, str], object], last: int
) -> tuple[dict[tuple[str, str], int], list[tuple[object, ...]]]:
    """Number some fields, and make the rows of those that are new; the last one so far has the number `last`."""
    # All fields in one statement where most are asked for, as of a run with very many in a catalog that is new.
    if last <= 2 * len(keys):
        known = {key: number for number, key in fields(connection).items()}
    else:
        known = fields_at(connection, (path for path, _kind in keys))
    # By path, and equal paths by kind: comparing tuples takes three times as long as texts.
    new = sorted((key for key in keys if key not in known), key=itemgetter(1))
    new.sort(key=itemgetter(0))
    crc32 = zlib.crc32
    rows: list[tuple[object, ...]] = []
    for number, (path, kind) in enumerate(new, last + 1):
        # The same as `_crc`, without a call of a function of Python's for each of very many fields.
        rows.append((number, path, kind, crc32(f"({number}, {path!r}, {kind!r})".encode())))
    return {**known, **dict(zip(new, count(last + 1)))}, rows


def shown(connection: Connection, condition: Clause = ALL) -> Iterator[Shown]:
    """The shown columns of the containers of which a condition holds."""
    return map(Shown._make, connection.run(_SHOWN, where=condition))


def shown_at(connection: Connection, numbers: Sequence[int]) -> list[Shown]:
    """The shown columns of the containers with these numbers, in their order."""
    found: dict[int, Shown] = {}
    for start in range(0, len(numbers), MOST_NUMBERS):
        some = Part(_AT_NUMBERS, {"numbers": numbers[start : start + MOST_NUMBERS]})
        found.update((row.number, row) for row in shown(connection, some))
    return [found[number] for number in numbers]


def columns_of(kind: str, value: Cell) -> tuple[Form, tuple[Any, ...]]:
    """How a cell is found: the names of the columns that have a value, and these values."""
    if kind == POINTS and value is not None:
        return _SUMMED, tuple(value)
    # A float to compare with others; an int also exactly, as a float has only 53 bits.
    if isinstance(value, (bool, int, float)):
        return (_INTEGER, (float(value), value)) if type(value) is int else (_NUMBER, (float(value),))
    if isinstance(value, str):
        # An index holds the text as it is: with whole documents it would be larger than the table.
        return (_TEXT_ITSELF, (value,)) if len(value) <= INDEXED_TEXT else (_LONG_TEXT, (value[:INDEXED_TEXT], value))
    return _NOTHING, ()


def as_stored(text: str) -> str:
    """Lone surrogates replaced: a database takes none, and the run itself keeps them."""
    return text.encode("utf-8", "replace").decode()
