"""Received journals: which containers a server takes, how far it has each of their files, and bytes on their way.

The bytes of a group and their new positions are committed in one transaction. `inbox` holds them until the files that
they were copied into are on the disk themselves.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Engine
from sqlalchemy.pool import StaticPool

from naiad.disk import is_network
from naiad.storage.receiving import Position
from naiad.storage.sql.database import BUSY_SECONDS, journal_mode, synchronous

metadata = MetaData()

about = Table("about", metadata, Column("format", Integer, nullable=False), Column("epoch", Text, nullable=False))

registered = Table(
    "registered",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # the name of the kind
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
)

position = Table(
    "position",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("upto", BigInteger, nullable=False),
    Column("crc", BigInteger, nullable=False),  # of the bytes behind the header, up to `upto`
    Column("is_sealed", Integer, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)


content = Table(
    "content",
    metadata,
    Column("project", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),  # content that the project has sent: of others it must not learn
)


FILE = "received.db"
"""The name of the database in the folder of the server's own files."""


class Row(NamedTuple):
    """Bytes on their way into a file."""

    uid: str
    name: str
    start: int
    data: bytes


class Database:
    """The database of a server, with one connection that stays open. Its users take turns, under `lock`."""

    def __init__(self, path: Path, *, is_writing: bool) -> None:
        self.lock = threading.RLock()
        self._engine = _engine(path, is_writing=is_writing)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction, committed at its end."""
        # Alone: of one connection, the transaction of one thread would else be that of all.
        with self.lock, self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def _engine(path: Path, *, is_writing: bool) -> Engine:
    is_remote = is_network(path)
    mode = "rwc" if is_writing else "ro"

    def connect() -> sqlite3.Connection:
        place = f"file:{quote(str(path))}?mode={mode}"
        connection = sqlite3.connect(
            place, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True
        )
        if is_writing:
            journal_mode(connection, is_remote=is_remote)
            synchronous(connection)
        return connection

    engine = sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=StaticPool)

    # sqlite3 begins late by itself, and never for reads; SQLAlchemy documents this replacement
    @sqlalchemy.event.listens_for(engine, "begin")
    def begin_now(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


def containers(connection: Connection) -> list[tuple[str, str, str, str]]:
    """Return uid, kind, id and project of every registered container."""
    return [tuple(row) for row in connection.execute(select(registered))]


def register(connection: Connection, uid: str, kind: str, name: str, project: str) -> None:
    """Note a container."""
    row = {"uid": uid, "kind": kind, "id": name, "project": project}
    connection.execute(insert(registered).on_conflict_do_nothing(), row)


def move(connection: Connection, uid: str, name: str, project: str) -> None:
    """Note another id and project of a container."""
    connection.execute(update(registered).where(registered.c.uid == uid).values(id=name, project=project))


def forget(connection: Connection, uid: str) -> None:
    """Drop all that is known of a container."""
    for table in (registered, position, inbox):
        connection.execute(delete(table).where(table.c.uid == uid))


def positions(connection: Connection, uid: str) -> dict[str, Position]:
    """Return the positions of a container's files."""
    wanted = select(position.c.name, position.c.upto, position.c.crc, position.c.is_sealed)
    found = connection.execute(wanted.where(position.c.uid == uid))
    return {file: Position(upto, crc, bool(is_sealed)) for file, upto, crc, is_sealed in found}


def put_positions(connection: Connection, changed: Iterable[tuple[str, str, Position]]) -> None:
    """Write positions anew."""
    rows = [
        {"uid": uid, "name": file, "upto": each.upto, "crc": each.crc, "is_sealed": int(each.is_sealed)}
        for uid, file, each in changed
    ]
    if rows:
        connection.execute(_put_position, rows)


_insert = insert(position)
_put_position = _insert.on_conflict_do_update(
    index_elements=[position.c.uid, position.c.name],
    set_={name: _insert.excluded[name] for name in ("upto", "crc", "is_sealed")},
)


def put_inbox(connection: Connection, rows: Sequence[Row]) -> None:
    """Add bytes to the inbox."""
    if rows:
        connection.execute(insert(inbox), [row._asdict() for row in rows])


def read_inbox(connection: Connection) -> list[tuple[int, Row]]:
    """Return the rows of the inbox, oldest first."""
    found: Any = connection.execute(select(inbox).order_by(inbox.c.id))
    return [(row.id, Row(row.uid, row.name, row.start, row.data)) for row in found]


def note_sent(connection: Connection, project: str, sha256: str) -> bool:
    """Note that a project has sent some content; return whether it had not."""
    added = connection.execute(insert(content).on_conflict_do_nothing(), {"project": project, "sha256": sha256})
    return added.rowcount == 1


def sent(connection: Connection, project: str, wanted: Sequence[str]) -> set[str]:
    """Return which content a project has sent, of some."""
    own = select(content.c.sha256).where(content.c.project == project)
    found: set[str] = set()
    for start in range(0, len(wanted), 500):  # SQLite takes a bounded number of parameters
        found.update(connection.execute(own.where(content.c.sha256.in_(wanted[start : start + 500]))).scalars())
    return found


def renew_epoch(connection: Connection, epoch: str) -> None:
    """Set another epoch."""
    connection.execute(update(about).values(epoch=epoch))


def newest(connection: Connection) -> int:
    """Return the id of the newest row of the inbox; 0 of an empty one."""
    return connection.execute(select(func.max(inbox.c.id))).scalar() or 0


def empty_inbox(connection: Connection, upto: int) -> None:
    """Drop rows of the inbox up to an id."""
    connection.execute(delete(inbox).where(inbox.c.id <= upto))


def begin(connection: Connection, version: int, epoch: str) -> tuple[int, str]:
    """Make the tables if they are not there; return version and epoch of those that are."""
    metadata.create_all(connection)
    row = connection.execute(select(about)).first()
    if row is None:
        connection.execute(insert(about), {"format": version, "epoch": epoch})
        return version, epoch
    return row.format, row.epoch
