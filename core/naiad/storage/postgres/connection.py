"""Connections to PostgreSQL that run the statements of `naiad.storage.sql`, compiled for SQLite ahead of time.

The texts are the same in both but for the form of parameters and the operator of regular expressions. Parameters keep
the meaning that they have in SQLite: NaN is null, and a text ends in no zero byte.
"""

from __future__ import annotations

import contextlib
import re
import select
import struct
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import psycopg
import sqlalchemy
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from naiad import clock
from naiad.errors import StorageError
from naiad.storage.receiving import NO_TABLES, lacks_tables
from naiad.storage.sql.connection import Connection, Part, Row, Statement, parameter_names, rendered
from naiad.storage.sql.database import Database

RUN, CATALOG = "naiad_run", "naiad_catalog"
"""The schemas with the tables of one run's index, and of the catalog."""
RUN_LOCKS, CATALOG_LOCK, ARCHIVE_LOCKS, GC_LOCK = 7_230_002, 7_230_003, 7_230_004, 7_230_005
"""The first key of the advisory locks of runs, the key of the one of the catalog, whose numbers are counted, the first
key of those of archives of runs, and the key of the one under which content gets a row or is freed."""
STATEMENT_SECONDS = 5
"""How long one statement of a reader may take."""
LIMITED = f"set local statement_timeout = '{STATEMENT_SECONDS}s'"
READING = f"set transaction isolation level repeatable read; {LIMITED}"
BEGIN = f"begin isolation level repeatable read; {LIMITED};"
"""All statements of a reader see one moment, or a fold between two of them would show points twice or not at all.

A reader's question may be any; without a limit of time a few of them would hold every connection.
"""
CONNECT_SECONDS = 5
OPTIONS: Mapping[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "prepare_threshold": None,  # of a pooler between (PgBouncer), prepared statements would be lost
    "client_encoding": "utf8",  # that of the role or the database may be another one
}
"""Of every connection."""
POOL = 8
"""Connections that a process keeps; it makes as many more while all are in use."""
FRESH_SECONDS = 1.0
LEAST_COPIED = 8
"""Rows that are inserted with COPY, which is asked for first: fewer of them are quicker with a statement each."""
BYTES, TEXT = 17, 25
"""The numbers of the types `bytea` and `text`."""
DIFFERENT = (
    ("%", "%%"),
    (" REGEXP ", " ~ "),
    ("NOT IN (SELECT NULL WHERE 1 != 1)", "!= ALL ('{}')"),  # an empty list: NULL would have the type of a text
    ("IN (SELECT NULL WHERE 1 != 1)", "= ANY ('{}')"),
)
"""The parts of a text for SQLite that PostgreSQL and psycopg write otherwise."""
ZERO = "\N{SYMBOL FOR NULL}"
_named = re.compile(r"(?<![:\w]):(\w+)").sub
_inserted = re.compile(r"INSERT INTO (?P<table>\w+) \((?P<columns>[\w, ]+)\) VALUES \((?P<values>[:\w, ]+)\)").fullmatch


def open_database(url: str) -> Engine:
    """Open a pool of connections. Nothing is connected before the first transaction.

    Raises:
        StorageError: this is no address of a PostgreSQL database.
    """
    engine = engine_of(
        url,
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=CONNECT_SECONDS,  # as for a connection that the database does not give
        pool_use_lifo=True,  # the process of the connection used last has the caches of the database filled
        pool_reset_on_return=None,  # `_end_transaction` does that
    )
    sqlalchemy.event.listen(engine, "checkout", _require_alive)
    sqlalchemy.event.listen(engine, "checkin", _note_use)
    sqlalchemy.event.listen(engine, "reset", _end_transaction)
    return engine


def engine_of(url: str, **pool: Any) -> Engine:
    """Make an engine of SQLAlchemy for a database, with the options of every connection and settings of its pool.

    Raises:
        StorageError: this is no address of a PostgreSQL database.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise StorageError(f"--database has to be postgresql://..., not {parts.scheme or 'a text without a scheme'}.")
    own = urllib.parse.urlunsplit(parts._replace(scheme="postgresql+psycopg"))
    return sqlalchemy.create_engine(own, connect_args=OPTIONS, **pool)


def _end_transaction(raw: Any, _record: Any, _state: Any) -> None:
    """Roll back a transaction that its owner has left open; psycopg takes its time if there is none too."""
    if not raw.closed and raw.pgconn.transaction_status != TransactionStatus.IDLE:
        raw.rollback()


def _note_use(_raw: Any, record: Any) -> None:
    record.info["used"] = clock.monotonic()


def _require_alive(raw: Any, record: Any, _proxy: Any) -> None:
    """Try a connection that has idled; if it is closed, the pool opens another one.

    One used just now is tried only if the database has sent something meanwhile, as it does when it ends a connection:
    each try is a wait for the database, which a busy server would have before each group.
    """
    is_fresh = clock.monotonic() < record.info.get("used", 0.0) + FRESH_SECONDS or "used" not in record.info
    try:
        if is_fresh and not _has_input(raw.fileno()):
            return
        raw.execute("select 1")
        raw.rollback()
    except psycopg.Error as error:
        raise sqlalchemy.exc.InvalidatePoolError from error


def _has_input(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@contextlib.contextmanager
def autocommit(engine: Engine) -> Iterator[psycopg.Connection[Any]]:
    """Take a connection on which each statement is a transaction of its own: one wait for the database, not three.

    Raises:
        StorageError: the database cannot be reached, or reports an error.
    """
    try:
        # From the pool itself: SQLAlchemy's own connection around it takes longer than a small statement.
        with contextlib.closing(engine.raw_connection()) as connection:
            raw: Any = connection.driver_connection
            raw.autocommit = True
            try:
                yield raw
            finally:
                if not raw.closed:
                    raw.autocommit = False
    except (psycopg.Error, SQLAlchemyError) as error:
        raise refusal(error) from error


def answered(engine: Engine, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Return the rows of one statement that reads, within the time of a reader's: one wait for the database.

    Raises:
        StorageError: the database cannot be reached, or reports an error.
    """
    # Several statements in one message are one transaction, so that the limit ends with it; that needs a cursor which
    # puts the parameters in here.
    with autocommit(engine) as raw, psycopg.ClientCursor(raw) as cursor:
        cursor.execute(f"{LIMITED}; {statement}", parameters)
        cursor.nextset()
        return cursor.fetchall()


class Calls:
    """One connection on which functions of the database are called, each call a transaction of its own.

    By libpq itself: psycopg looks at each value for its type, makes a cursor, and waits in steps that end soon, all of
    which takes several times as long as the rest of a small call.
    """

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._server = raw.pgconn

    def rows(self, text: bytes, *parameters: str | bytes) -> list[tuple[bytes | None, ...]]:
        """Run one statement, and return the values of its rows in the form of texts.

        Args:
            text: of the statement, with $1 for the first parameter.
            parameters: a text is a value as PostgreSQL writes it, and bytes are a value in its binary form.

        Raises:
            psycopg.Error: the database reports an error, or cannot be reached.
        """
        values = [each.encode() if isinstance(each, str) else each for each in parameters]
        formats = [isinstance(each, bytes) for each in parameters]
        found = self._server.exec_params(text, values, param_formats=formats)
        if found.status != ExecStatus.TUPLES_OK:
            raise error_from_result(found)
        columns = range(found.nfields)
        return [tuple(found.get_value(row, column) for column in columns) for row in range(found.ntuples)]


def array(values: Iterable[float | None]) -> str:
    """Return an array of numbers or booleans as PostgreSQL writes it."""
    return f"{{{','.join(map(str, values))}}}".replace("None", "null")


def contents(values: Collection[bytes], oid: int = BYTES) -> bytes:
    """Return an array of bytes, or of texts with the oid of their type, in PostgreSQL's binary form."""
    if not values:
        return struct.pack(">iii", 0, 0, oid)
    head = struct.pack(">iiiii", 1, 0, oid, len(values), 1)
    return head + b"".join([len(each).to_bytes(4, "big") + each for each in values])


def texts(values: Iterable[str]) -> bytes:
    """Return an array of texts in PostgreSQL's binary form."""
    return contents([each.encode() for each in values], TEXT)


@contextlib.contextmanager
def calls(engine: Engine) -> Iterator[Calls]:
    """Take a connection for calls of functions.

    Raises:
        StorageError: the database cannot be reached, or reports an error.
    """
    try:
        with contextlib.closing(engine.raw_connection()) as connection:
            yield Calls(cast("psycopg.Connection[Any]", connection.driver_connection))
    except (psycopg.Error, SQLAlchemyError) as error:
        raise refusal(error) from error


@contextlib.contextmanager
def transaction(engine: Engine, *, is_read_only: bool = False) -> Iterator[psycopg.Connection[Any]]:
    """Begin a transaction, committed at the end of the block.

    Raises:
        StorageError: the database cannot be reached, or reports an error.
    """
    try:
        with engine.connect() as connection, connection.begin():
            raw: Any = connection.connection.driver_connection
            if is_read_only:
                raw.execute(READING)
            yield raw
    except (psycopg.Error, SQLAlchemyError) as error:
        raise refusal(error) from error


@contextlib.contextmanager
def reading(engine: Engine, schema: str, run: int = 0) -> Iterator[PostgresConnection]:
    """Begin a reader's transaction, in the schema and with the run of `PostgresConnection`: one wait for the database.

    Raises:
        StorageError: the database cannot be reached, or reports an error.
    """
    with autocommit(engine) as raw:
        raw.execute(f"{BEGIN} select {_set(schema, run)}")
        try:
            yield PostgresConnection(raw, schema, run, is_set=True)
            raw.commit()
        finally:
            _end_transaction(raw, None, None)


def _set(schema: str, run: int) -> str:
    # Local to the transaction (true): the connection goes back to a pool that all runs share.
    return f"set_config('search_path', '{schema}', true), set_config('naiad.run', '{run:d}', true)"


def refusal(error: Exception) -> StorageError:
    """Return the error for trouble of the database."""
    if lacks_tables(error):
        return StorageError(NO_TABLES)
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    return StorageError(f"The database cannot do that now: {reason[:300]}")


class PostgresConnection(Connection):
    """One transaction in one schema; its statements are those of `naiad.storage.sql`."""

    has_columns = True
    has_tables = False
    """Whether its tables are tables: those of an index are views, into which PostgreSQL copies nothing."""

    def __init__(
        self,
        raw: psycopg.Connection[Any],
        schema: str,
        run: int = 0,
        release: Callable[[], object] = int,
        *,
        is_set: bool = False,
    ) -> None:
        """Choose the schema for the rest of the transaction, and the number of the run whose rows it shows.

        Args:
            raw: the transaction.
            schema: with the tables.
            run: the number.
            release: ends the transaction before its block does, if nothing more is asked; of a fold it does nothing.
            is_set: whether both are chosen already.
        """
        self.own = raw
        self.release = release
        self.has_tables = schema == CATALOG
        if not is_set:
            self.choose(raw, schema, run)

    @staticmethod
    def choose(raw: psycopg.Connection[Any], schema: str, run: int) -> None:
        """Choose them for the statements that follow."""
        raw.execute(f"select {_set(schema, run)}")

    def run(self, statement: Statement, **parameters: object) -> Any:
        """Run one statement."""
        text, found = rendered(Part(statement, parameters))
        return self.own.execute(_translated(text), _bound(found))

    def columns(self, statement: Statement, forms: Mapping[str, str], **parameters: object) -> list[Any] | None:
        """Return the columns of what a statement selects; see `Connection.columns`.

        None too if a text has the characters between two of them.
        """
        # The database puts each column together, in a tenth of the time that rows of single values take.
        whole = ", ".join(_WHOLE[form].format(name) for name, form in forms.items())
        text, found = rendered(Part(f"SELECT count(*), {whole} FROM ({statement.text}) AS found", parameters))
        with self.own.cursor(binary=True) as cursor:
            [(count, *values)] = cursor.execute(_translated(text), _bound(found)).fetchall()
        read = [_column(form, value, count) for form, value in zip(forms.values(), values, strict=True)]
        return None if any(each is None for each in read) else read

    def run_each(self, statement: Statement, rows: Sequence[Row]) -> int:
        """Run one statement for each row of parameters; how many rows of the database that touched."""
        if not rows:
            return 0
        with self.own.cursor() as cursor:
            cursor.executemany(_translated(statement.text), [_bound(row) for row in rows])
            return cursor.rowcount

    def run_rows(self, statement: Statement, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each row of values, which are in the order of its parameters.

        Rows of a table that are inserted are copied into it, in a sixth of the time of a statement for each.
        """
        names = parameter_names(statement.text)
        every = list(rows)
        copied = _copying(statement.text) if self.has_tables and len(every) >= LEAST_COPIED else None
        if copied is None:
            self.run_each(statement, [dict(zip(names, row, strict=True)) for row in every])
            return
        with self.own.cursor() as cursor, cursor.copy(copied) as copy:
            for row in every:
                copy.write_row([parameter(value) for value in row])

    @contextlib.contextmanager
    def valid_text(self) -> Iterator[None]:
        """Do nothing: the database has no other texts."""
        yield

    def execute(self, expression: Any, rows: Row | Sequence[Row] = ()) -> Any:
        """Run an expression of SQLAlchemy, which is compiled now."""
        # A reader's statements alone are compiled here; those that write are in `compiled.json`.
        assert not rows
        compiled = expression.compile(dialect=_dialect(), compile_kwargs={"render_postcompile": True})
        return _Rows(self.own.execute(_translated(str(compiled)), _bound(compiled.construct_params())))


_BETWEEN, _NULL = "\x1e\x1f", "\x1e\x1e"
"""What stands between two texts of a column, and in place of a null: characters that are met in no text of a person."""
_WHOLE = {
    "number": "string_agg(float8send(coalesce({}, 'NaN')), ''::bytea)",
    "integer": "string_agg(int8send(coalesce({}, 0)::bigint), ''::bytea)",
    "text": f"string_agg(coalesce({{}}, '{_NULL}'), '{_BETWEEN}')",
    "count": "count({})",
}
"""A whole column of some form as one value: numbers as their bytes in the order of the network."""


def _column(form: str, value: Any, count: int) -> Any:
    """The items of a whole column; None if they cannot be told apart."""
    if form == "text":
        texts = value.split(_BETWEEN) if count else []
        if len(texts) != count:
            return None
        return texts if _NULL not in value else [None if each == _NULL else each for each in texts] if count else []
    if form == "count":
        return value
    import numpy as np

    kind = "f8" if form == "number" else "i8"
    return np.frombuffer(value or b"", f">{kind}").astype(f"<{kind}")


class _Rows:
    """The rows that an expression selected."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def scalars(self) -> Iterator[Any]:
        """The first value of every row."""
        return (row[0] for row in self._cursor)


class RunDatabase(Database):
    """The index of one run, as `naiad.storage.local.index.index` opens it."""

    def __init__(self, engine: Engine, run: int) -> None:
        self._engine = engine
        self._run = run

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """Begin a transaction that shows the rows of the run."""
        with contextlib.ExitStack() as held:
            connection = held.enter_context(reading(self._engine, RUN, self._run))
            connection.release = held.close
            yield connection

    connect = begin

    def dispose(self) -> None:
        """Do nothing: the connections are of the pool."""


class OpenRunDatabase(Database):
    """The same inside a transaction that is open already, and is committed by its owner."""

    def __init__(self, raw: psycopg.Connection[Any], run: int) -> None:
        self._raw = raw
        self._run = run

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """Return the transaction."""
        yield PostgresConnection(self._raw, RUN, self._run)

    connect = begin

    def dispose(self) -> None:
        """Do nothing: the transaction is its owner's."""


def _dialect() -> Any:
    from sqlalchemy.dialects.postgresql import psycopg as dialects

    made: Any = dialects.PGDialect_psycopg
    return made(paramstyle="named")


@lru_cache(maxsize=1024)
def _translated(text: str) -> Any:
    """Return a text for SQLite as psycopg takes it."""
    # In their order: percent signs are doubled before any of psycopg's own are put in.
    for written, meant in DIFFERENT:
        text = text.replace(written, meant)
    return sql.SQL(_named(r"%(\1)s", text))


@lru_cache(maxsize=64)
def _copying(text: str) -> Any:
    """Return the COPY in place of an INSERT of rows of parameters; None for any other statement."""
    found = _inserted(text)
    if found is None or found["columns"] != found["values"].replace(":", ""):
        return None
    return sql.SQL(f"COPY {found['table']} ({found['columns']}) FROM STDIN")


def _bound(parameters: Mapping[str, object]) -> dict[str, object]:
    return {name: parameter(value) for name, value in parameters.items()}


def parameter(value: object) -> object:
    """Return a value as the database takes it."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, str) and "\0" in value:
        return value.replace("\0", ZERO)
    # The columns are numbers, as in SQLite, and PostgreSQL takes no boolean for one.
    return int(value) if value.__class__ is bool else value
