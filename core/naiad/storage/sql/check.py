"""Checking the catalog in all respects: its structure, each row, and that tables show the values that searches find."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import select

from naiad.errors import DamagedData
from naiad.kinds import TAGS
from naiad.storage.catalog import Cell
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import integrity
from naiad.storage.sql.tables import cell, tag
from naiad.storage.sql.values import columns_of, fields, shown, shown_cells

_encode = msgspec.msgpack.Encoder().encode


def damages(connection: Connection) -> list[str]:
    """All that is wrong with a catalog, as sentences for a person."""
    found = integrity(connection)
    if found:
        return found
    try:
        is_same = _expected(connection) == _found(connection)
    except (DamagedData, msgspec.MsgspecError, KeyError, TypeError) as error:
        return [f"a row is damaged: {error}"]
    return [] if is_same else ["its tables for searching differ from what it shows"]


def _expected(connection: Connection) -> tuple[int, int]:
    """Return the sum over the expected rows of the search tables, computed from the shown cells."""
    kinds = {number: kind for number, (_path, kind) in fields(connection).items()}
    return _sum(
        each
        for row in shown(connection)
        for at, value in shown_cells(row).items()
        for each in chain(
            [("cell", at, row.number, *_columns(kinds[at], value))],
            [("tag", at, row.number, text) for text in value] if kinds[at] == TAGS else [],
        )
    )


def _columns(kind: str, value: Cell) -> Iterator[Any]:
    """The columns of the row of a cell behind its key, in their order."""
    found = dict(zip(*columns_of(kind, value), strict=True))
    return map(found.get, cell.c.keys()[2:])


def _found(connection: Connection) -> tuple[int, int]:
    cells = (("cell", *row) for row in connection.execute(select(cell)))
    tags = (("tag", row.field, row.container, row.tag) for row in connection.execute(select(tag)))
    return _sum(chain(cells, tags))


def _sum(rows: Iterable[tuple[Any, ...]]) -> tuple[int, int]:
    """A number that does not depend on the order of rows, and how many there are."""
    count = total = 0
    for row in rows:
        plain = [each + 0.0 if type(each) is float else each for each in row]  # SQLite has no -0.0
        count += 1
        total += zlib.crc32(_encode(plain))
    return count, total
