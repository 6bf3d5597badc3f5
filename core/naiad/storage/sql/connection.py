"""Statements, and the connections on which they run.

SQL is written in SQLAlchemy, beside its use, and compiled ahead of time for SQLite, because importing SQLAlchemy takes
longer than reading a table of a thousand runs. The texts in `compiled.json` are made by
`python -m naiad.storage.sql.compiling`; a test compares them with their definitions. SQLAlchemy is imported where a
text is missing, as for another database, and for `Connection.execute`.

    statement    KNOWN = Statement("known", lambda sql, t: sql.select(t.container.c.uid).where(sql.text("({where})")))
    text         SELECT container.uid FROM container WHERE {where}
    clause       All([Part(OF_KIND, {"kind": "runs"}), Part(OF_PROJECT, {"project": "p"})])
    run          connection.run(KNOWN, where=clause): texts in the places named in braces, one parameter for each value

Only the text of a clause is put into a text, never a value: each value is a parameter.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from naiad.forks import holding_forks

Row = Mapping[str, object]
Build = Callable[..., Any]
"""From SQLAlchemy, a module of tables and further arguments to an expression."""
_named = re.compile(r"(?<![:\w]):(\w+)").sub
parameter_names = re.compile(r"(?<![:\w]):(\w+)").findall
"""The names of the parameters in a text, in its order."""
_listed = re.compile(r"__\[POSTCOMPILE_(\w+)\]").sub
MOST_PARAMETERS = 500
"""Parameters of a statement that inserts several rows; more of them gain nothing, and SQLite takes at least 999."""
_INDEX = "CREATE INDEX"
"""Begins the statement of an index that is not unique."""
SOURCE = Path(__file__).with_name("compiled.json")
"""The texts of all statements for SQLite, by name."""
TEXTS: dict[str, str] = json.loads(SOURCE.read_bytes())


class Statement:
    """One statement, or a part of one, under a name of its own."""

    known: dict[str, Statement] = {}
    """Those that are compiled ahead of time, by name."""

    def __init__(self, tables: str, name: str, build: Build, *arguments: object, is_ahead: bool = True) -> None:
        self._tables = tables
        self.name = name
        self._build = build
        self._arguments = arguments
        if is_ahead:
            Statement.known[name] = self

    @property
    def text(self) -> str:
        """Its SQL for SQLite."""
        if self.name not in TEXTS:
            with holding_forks():  # a child that is forked while another thread imports could never import
                TEXTS[self.name] = self.compiled()
        return TEXTS[self.name]

    def compiled(self) -> str:
        """Its SQL, made now; of the definition of tables, a script that makes them."""
        import sqlalchemy

        expression = self.expression()
        if isinstance(expression, sqlalchemy.MetaData):
            return _script(expression)
        return " ".join(str(expression.compile(dialect=_dialect())).split())

    def expression(self) -> Any:
        """Build it in SQLAlchemy."""
        from importlib import import_module

        import sqlalchemy

        return self._build(sqlalchemy, import_module(self._tables), *self._arguments)


class Clause(Struct, frozen=True):
    """A part of a statement, as data. It becomes text when the statement runs, and only then."""

    def expression(self) -> Any:
        """Return it as a part of an expression of SQLAlchemy."""
        import sqlalchemy

        text, parameters = rendered(self)
        return sqlalchemy.text(text).bindparams(**parameters)


class Part(Clause, frozen=True):
    """A statement, or its text, with values for its parameters and clauses for the places that are named like them."""

    statement: Statement | str
    values: Mapping[str, object] = {}


class All(Clause, frozen=True):
    """True where all of some clauses are, and of none."""

    clauses: Sequence[Clause]


class Either(Clause, frozen=True):
    """True where at least one of some clauses is, and never of none."""

    clauses: Sequence[Clause]


class Negated(Clause, frozen=True):
    """True where a clause is not."""

    clause: Clause


ALL = All(())
"""The condition that holds of everything."""


def rendered(clause: Clause) -> tuple[str, dict[str, object]]:
    """Return the text of a clause, and its parameters by name."""
    parameters: dict[str, object] = {}
    return _text(clause, parameters, itertools.count()), parameters


def _text(clause: Clause, parameters: dict[str, object], numbers: Iterator[int]) -> str:
    """Return the text of a clause, and add its parameters to those of the others."""
    if isinstance(clause, Negated):
        return f"NOT ({_text(clause.clause, parameters, numbers)})"
    if isinstance(clause, (All, Either)):
        texts = [_text(each, parameters, numbers) for each in clause.clauses]
        word, empty = (" AND ", "1 = 1") if isinstance(clause, All) else (" OR ", "1 = 0")
        return texts[0] if len(texts) == 1 else word.join(f"({text})" for text in texts) or empty
    assert isinstance(clause, Part)
    text = clause.statement.text if isinstance(clause.statement, Statement) else clause.statement
    # A number of its own in each name, because one statement may hold the same clause with different values. The
    # numbers begin anew with every statement, so that a database knows its text again. The statement itself has none.
    number = next(numbers)
    end = f"_{number}" if number else ""
    text = _numbered(text, end) if end else text
    if "POSTCOMPILE" in text:  # most statements have no list
        text = _listed(lambda found: _members(f"{found[1]}{end}", clause.values[found[1]], parameters), text)
    for name, value in clause.values.items():
        if isinstance(value, Clause):
            text = text.replace(f"{{{name}}}", _text(value, parameters, numbers))
        elif not isinstance(value, (list, tuple)):
            parameters[f"{name}{end}"] = value
    return text


@lru_cache(maxsize=4096)
def _numbered(text: str, end: str) -> str:
    """Return a text with the same end for the name of each parameter; remembered, as numbers begin anew."""
    return _named(rf":\1{end}", text)


def _members(name: str, values: object, parameters: dict[str, object]) -> str:
    """Return a parameter for each member of a list."""
    assert isinstance(values, (list, tuple))
    named = {f"{name}__{place}": value for place, value in enumerate(values)}
    parameters.update(named)
    # `IN ()` is no SQL; this is a list without members.
    return ", ".join(f":{each}" for each in named) or "SELECT NULL WHERE 1 != 1"


class Connection:
    """One transaction."""

    has_columns = False
    """Whether `columns` returns any."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def run(self, statement: Statement, **parameters: object) -> sqlite3.Cursor:
        """Run one statement. A parameter that is a clause takes the place that is named like it.

        Raises:
            sqlite3.Error: the database is damaged or in use, or the disk reports an error.
        """
        return self.raw.execute(*rendered(Part(statement, parameters)))

    def run_each(self, statement: Statement, rows: Sequence[Row]) -> int:
        """Run one statement for each row of parameters; how many rows of the database that touched.

        Raises:
            sqlite3.Error: the database is damaged or in use, or the disk reports an error.
        """
        return self.raw.executemany(statement.text, rows).rowcount if rows else 0

    def run_rows(self, statement: Statement, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each row of values, which are in the order of its parameters.

        A third quicker than `run_each`, which looks each value up by its name. Many rows are inserted by statements
        for several at a time, each of which takes half of the time of as many for one.

        Raises:
            sqlite3.Error: the database is damaged or in use, or the disk reports an error.
        """
        text = _named("?", statement.text)
        head, _, values = text.partition(" VALUES ")
        if values:
            width = values.count("?")
            together = MOST_PARAMETERS // width
            flat = itertools.chain.from_iterable(rows)
            part = tuple(itertools.islice(flat, together * width))

            def whole() -> Iterator[tuple[object, ...]]:
                nonlocal part
                while len(part) == together * width:
                    yield part
                    part = tuple(itertools.islice(flat, together * width))

            if len(part) == together * width:
                self.raw.executemany(f"{head} VALUES {', '.join([values] * together)}", whole())
            rows = zip(*[iter(part)] * width, strict=True)
        self.raw.executemany(text, rows)

    @contextlib.contextmanager
    def valid_text(self) -> Iterator[None]:
        """Take the texts that are read in the block as SQLite decodes them, each in a quarter of the time.

        Raises:
            sqlite3.OperationalError: one of them is no UTF-8.
        """
        usual = self.raw.text_factory
        self.raw.text_factory = str
        try:
            yield
        finally:
            self.raw.text_factory = usual

    def value(self, statement: Statement, **parameters: object) -> Any:
        """The first value of the first row; None without one.

        Raises:
            sqlite3.Error: the database is damaged or in use, or the disk reports an error.
        """
        row = self.run(statement, **parameters).fetchone()
        return None if row is None else row[0]

    def columns(self, statement: Statement, forms: Mapping[str, str], **parameters: object) -> list[Any] | None:  # noqa: ARG002 (of databases behind a network)
        """Return the columns of what a statement selects, each as a whole; None where rows are as quick.

        Args:
            statement: selects columns of these names; its order is kept.
            forms: the form of each: `number`, an array of floats, NaN for a null; `integer`, an array with 0 for a
                null; `text`, a list with None for a null; or `count`, the number of values that are no null.
            parameters: as of `run`.
        """
        return None

    def make(self, tables: Statement, *, is_indexed: bool = True) -> None:
        """Make tables from the statement with their definitions; `is_indexed`: with the indexes that are not unique.

        Raises:
            sqlite3.Error: the disk reports an error.
        """
        # One by one: sqlite3's executescript() would commit the transaction first.
        for step in tables.text.split(";\n"):
            if is_indexed or not step.startswith(_INDEX):
                self.raw.execute(step)

    def make_indexes(self, tables: Statement) -> None:
        """Make the indexes that tables were made without; sorting their rows takes less time than inserting each.

        Raises:
            sqlite3.Error: the disk reports an error, or has no room for that.
        """
        for step in tables.text.split(";\n"):
            if step.startswith(_INDEX):
                self.raw.execute(step)

    def execute(self, expression: Any, rows: Row | Sequence[Row] = ()) -> Rows:
        """Run an expression of SQLAlchemy, which is compiled now.

        Raises:
            sqlite3.Error: the database is damaged or in use, or the disk reports an error.
        """
        with holding_forks():  # a child that is forked while another thread imports could never import
            dialect = _dialect()
        every = [rows] if isinstance(rows, Mapping) else list(rows)
        compiled = expression.compile(
            dialect=dialect, column_keys=list(every[0]) if every else None, compile_kwargs={"render_postcompile": True}
        )
        # executemany() gives no rows back, so a single one goes through execute().
        if isinstance(rows, Mapping) or not every:
            return Rows(self.raw.execute(str(compiled), compiled.construct_params(every[0] if every else {})))
        return Rows(self.raw.executemany(str(compiled), [compiled.construct_params(row) for row in every]))

    def exec_driver_sql(self, text: str, rows: Any = ()) -> Rows:
        """Run a text."""
        return Rows(self.raw.execute(text, rows))


class Rows:
    """The rows that an expression of SQLAlchemy selected, with its names for the columns."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self.rowcount = cursor.rowcount

    def __iter__(self) -> Iterator[Any]:
        if self._cursor.description is None:
            return iter(())
        return map(_row_type(tuple(column[0] for column in self._cursor.description))._make, self._cursor)

    def all(self) -> list[Any]:
        """Every row."""
        return list(self)

    def one(self) -> Any:
        """The only row."""
        (row,) = self
        return row

    def scalars(self) -> Iterator[Any]:
        """The first value of every row."""
        return (row[0] for row in self)

    def scalar(self) -> Any:
        """The first value of the first row; None without one."""
        return next(self.scalars(), None)

    def scalar_one(self) -> Any:
        """The only value of the only row."""
        return self.one()[0]


@lru_cache(maxsize=256)
def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names, rename=True)


@cache
def _dialect() -> Any:
    from sqlalchemy.dialects import sqlite

    return sqlite.dialect(paramstyle="named")


def _script(tables: Any) -> str:
    """The statements that make tables, each with its indexes in the order of their names, as SQLAlchemy has a set."""
    import sqlalchemy

    steps: list[list[str]] = []

    def note(step: Any, *_others: object) -> None:
        text = str(step.compile(dialect=_dialect())).strip()
        if text.startswith("CREATE TABLE"):
            steps.append([])
        steps[-1].append(text)

    tables.create_all(sqlalchemy.create_mock_engine("sqlite://", note), checkfirst=False)
    return ";\n".join(text for table, *indexes in steps for text in (table, *sorted(indexes)))
