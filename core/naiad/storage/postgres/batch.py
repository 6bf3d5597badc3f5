"""A batch: several short runs that are folded in one transaction, with the same few statements for all of them.

    one statement a table -- what there is of all runs: tails, and rows of indexes
    each run              -- its fold reads and changes these rows in memory
    one statement a table -- the rows that are new or changed

A statement of an index that is not known here, as of a merge or a deletion, ends that for its run: its changed rows are
written first, and that statement and all later ones go to the database.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
import psycopg

from naiad.storage.local.index.rows import decode_head
from naiad.storage.local.layout import RunDirectory
from naiad.storage.postgres.connection import RUN, PostgresConnection, parameter
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.scratch import Scratch
from naiad.storage.sql.connection import Connection, Row, Statement
from naiad.storage.sql.database import Database

MOST_FIELDS = 1_000
"""Fields of a run that is folded with others; to read those of many more takes longer than all statements."""

Rows = dict[Any, tuple[Any, ...]]
"""Rows of a table by their key."""
COLUMNS: Mapping[str, Mapping[str, str]] = {
    table: dict(column.split() for column in columns.split(", "))
    for table, columns in {
        "head": "id int, format int, facts bytea, crc bigint",
        "writer": "name text, facts bytea, fields bytea, crc bigint",
        "position": "file text, upto bigint, is_done int, crc bigint",
        "field": "id int, path text, kind text, facts bytea, crc bigint",
        "chunk": "key bigint, count int, crc bigint, pyramid bytea, data bytea",
        "pack": "id int, first_field int, last_field int, count int, crc bigint, data bytea",
    }.items()
}
"""The columns of the tables of an index, with their types; the first one is the key of a row in its run."""
KEYS = {"head": "run"}
COUNTED = ("chunk", "pack")
"""Tables of which a fold needs no rows, only how many there are."""
NULLABLE = ("pyramid",)
RECEIVED = "select run, file, upto, crc, is_sealed from naiad.received where run = any(%s)"
TAILS = """
select run, file, start, upto, extract(epoch from at)::float8, object is null from naiad.inbox
where run = any(%s) order by run, file, start
"""
DATA = "select run, file, start, data from naiad.inbox where run = any(%s)"
WRITERS = """
select run, name, state, extract(epoch from now() - seen_at)::float8 from naiad.writer where run = any(%s)
"""


class Answer:
    """The rows that answer a statement."""

    def __init__(self, rows: Sequence[tuple[Any, ...]], rowcount: int = -1) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row."""
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Every row."""
        return list(self._rows)


class RunRows(PostgresConnection):
    """The index of one run in a transaction; its rows are in memory as long as only known statements are run."""

    def __init__(self, raw: psycopg.Connection[Any], run: int) -> None:
        self.transaction = raw
        self.number = run
        self.release = int
        self.is_in_memory = True
        self.rows: dict[str, Rows] = {table: {} for table in COLUMNS}
        self.counts = dict.fromkeys(COUNTED, 0)
        self._changed: dict[str, dict[Any, None]] = {table: {} for table in COLUMNS}

    @property
    def own(self) -> psycopg.Connection[Any]:  # type: ignore[override]  # an attribute there
        """The transaction, for statements that the database runs: from now on all of this run are."""
        if self.is_in_memory:
            write([self])
            self.is_in_memory = False
            self.choose(self.transaction, RUN, self.number)
        return self.transaction

    @property
    def positions(self) -> dict[str, tuple[int, bool]]:
        """The folded position of each journal file, and whether that is its end."""
        return {file: (row[1], bool(row[2])) for file, row in self.rows["position"].items()}

    def changes(self, table: str) -> tuple[list[tuple[Any, ...]], list[Any]]:
        """The rows of a table that are new or changed, and the keys of those that are gone."""
        rows, changed = self.rows[table], self._changed[table]
        return [rows[key] for key in changed if key in rows], [key for key in changed if key not in rows]

    def run(self, statement: Statement, **parameters: object) -> Any:
        """Run one statement."""
        table, action = _meaning(statement.name)
        if not self.is_in_memory or not table:
            return super().run(statement, **parameters)
        if action == "":
            return Answer([row for _key, row in sorted(self.rows[table].items())])
        if action == "count":
            return Answer([(self.counts[table] + len(self.rows[table]),)])
        return Answer([], self._change(table, action, [parameters]))

    def run_each(self, statement: Statement, rows: Sequence[Row]) -> int:
        """Run one statement for each row of parameters; how many rows of the database that touched."""
        table, action = _meaning(statement.name)
        if not rows:
            return 0
        if not self.is_in_memory or not table or action in ("", "count"):
            return super().run_each(statement, rows)
        return self._change(table, action, rows)

    def _change(self, table: str, action: str, rows: Sequence[Row]) -> int:
        known, changed = self.rows[table], self._changed[table]
        touched = 0
        for each in rows:
            values = {name: parameter(value) for name, value in each.items()}
            if action == "remove":
                key: Any = values["name"]
                touched += known.pop(key, None) is not None
            elif table == "field" and action == "change":
                key = values["b_id"]
                if key in known:
                    known[key] = (*known[key][:3], values["facts"], values["crc"])
                    touched += 1
            else:
                row = tuple(values[column] for column in COLUMNS[table])
                key = row[0]
                known[key] = row
                touched += 1
            changed[key] = None
        return touched


@cache
def _meaning(name: str) -> tuple[str, str]:
    """The table that a statement is about, and its action, if both are known here; else two empty texts."""
    index, _, rest = name.partition(".")
    table, _, action = rest.partition(" ")
    actions = {
        "head": ("", "add", "change"),
        "field": ("", "add", "change"),
        "writer": ("", "add", "remove"),
        "position": ("", "add", "remove"),
        "chunk": ("add", "count"),
        "pack": ("add", "count"),
    }
    return (table, action) if index == "index" and action in actions.get(table, ()) else ("", "")


def write(runs: Sequence[RunRows]) -> None:
    """Write the changed rows of runs of one transaction."""
    for table, columns in COLUMNS.items():
        new, gone = [], []
        for each in runs:
            rows, keys = each.changes(table)
            new += [(each.number, *row) for row in rows]
            gone += [(each.number, key) for key in keys]
        raw = runs[0].transaction
        if gone:
            name = next(iter(columns))
            with raw.cursor() as cursor:
                cursor.executemany(f"delete from naiad.run_{table} where run = %s and {name} = %s", gone)
        if new:
            raw.execute(_write(table), [*map(list, zip(*(map(_stored, row) for row in new), strict=True))])


def _stored(value: object) -> object:
    return b"" if value is None else value  # `NULLABLE`, since an array of nulls alone has no type


@cache
def _write(table: str) -> Any:
    columns = COLUMNS[table]
    values = ", ".join(f"nullif({each}, '')" if each in NULLABLE else each for each in columns)
    key = KEYS.get(table, f"run, {next(iter(columns))}")
    return (
        f"insert into naiad.run_{table} (run, {', '.join(columns)}) select run, {values} "
        f"from unnest(%b::bigint[], {', '.join(f'%b::{type_}[]' for type_ in columns.values())}) "
        f"as new (run, {', '.join(columns)}) "
        f"on conflict ({key}) do update set {', '.join(f'{each} = excluded.{each}' for each in columns)}"
    )


class Tail(NamedTuple):
    """The rows about the tail of one run, as `Scratch` reads them."""

    received: list[tuple[str, int, int, bool]]
    rows: list[tuple[str, int, int, float]]
    data: dict[tuple[str, int], bytes]
    writers: list[tuple[str, str, float]]


class BatchScratch(Scratch):
    """The tail of a run of a batch, out of rows that were read for all of them."""

    def __init__(self, folder: RunDirectory, run: RunRows, objects: Objects, tail: Tail) -> None:
        super().__init__(folder, run.number, objects)
        self._rows_of = run
        self._tail = tail

    def received(self, raw: psycopg.Connection[Any]) -> list[Any]:
        """File, end, crc and whether it is complete of each file, with its folded position."""
        if not self._rows_of.is_in_memory:
            return super().received(raw)
        known = self._rows_of.positions
        return [(*row, *known.get(row[0], (0, False))) for row in self._tail.received]

    def rows(self, raw: psycopg.Connection[Any]) -> list[Any]:
        """File, start, end and time of the rows of the inbox."""
        return self._tail.rows if self._rows_of.is_in_memory else super().rows(raw)

    def data(self, raw: psycopg.Connection[Any], file: str, start: int) -> Any:
        """The bytes of a row, with their place in an object."""
        if not self._rows_of.is_in_memory:
            return super().data(raw, file, start)
        return self._tail.data[file, start], None, 0, 0, 0

    def writers(self, raw: psycopg.Connection[Any]) -> list[Any]:
        """Name, state and seconds since the last sign of life of each writer."""
        return self._tail.writers if self._rows_of.is_in_memory else super().writers(raw)


class RowsDatabase(Database):
    """The index of one run of a batch."""

    def __init__(self, rows: RunRows) -> None:
        self._rows = rows

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """Return the transaction."""
        yield self._rows

    connect = begin

    def dispose(self) -> None:
        """Do nothing: the transaction is its owner's."""


def loaded(raw: psycopg.Connection[Any], numbers: Collection[int], most_bytes: int) -> dict[int, tuple[RunRows, Tail]]:
    """Read the indexes and tails of some runs, which are locked; without those that are to be folded alone.

    These have bytes in objects, which may be away, very many fields, or a head that cannot be read.
    """
    runs = {number: RunRows(raw, number) for number in numbers}
    for table in ("head", "writer", "position", "field"):
        if table == "writer":
            runs = {number: run for number, run in runs.items() if _is_small(run)}
        # Most have no index yet.
        wanted = [number for number, run in runs.items() if table == "head" or run.rows["head"]]
        if wanted:
            text = f"select run, {', '.join(COLUMNS[table])} from naiad.run_{table} where run = any(%s)"
            for number, *row in raw.execute(text, [wanted]):
                runs[number].rows[table][row[0]] = tuple(row)
    wanted = [number for number, run in runs.items() if run.rows["head"]]
    for table in COUNTED if wanted else ():
        text = f"select run, count(*) from naiad.run_{table} where run = any(%s) group by run"
        for number, count in raw.execute(text, [wanted]):
            runs[number].counts[table] = count
    tails = {number: Tail([], [], {}, []) for number in runs}
    # Before the rows of the inbox, so that no row of a sealed file is missed.
    for number, *row in raw.execute(RECEIVED, [[*runs]]):
        tails[number].received.append(tuple(row))
    size: dict[int, int] = {}
    for number, file, start, upto, at, is_here in raw.execute(TAILS, [[*runs]]):
        tails[number].rows.append((file, start, upto, at))
        size[number] = size.get(number, 0) + (upto - start if is_here else most_bytes + 1)
    tails = {number: tail for number, tail in tails.items() if size.get(number, 0) <= most_bytes}
    for number, file, start, data in raw.execute(DATA, [[*tails]], binary=True):
        tails[number].data[file, start] = data
    for number, *row in raw.execute(WRITERS, [[*tails]]):
        tails[number].writers.append(tuple(row))
    return {number: (runs[number], tail) for number, tail in tails.items()}


def _is_small(run: RunRows) -> bool:
    try:
        return all(decode_head(row[2]).fields <= MOST_FIELDS for row in run.rows["head"].values())
    except (msgspec.MsgspecError, ValueError):
        return False
