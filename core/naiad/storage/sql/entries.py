"""A catalog and its entries, made through the storage interface alone: for a back end that has no quicker way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from naiad import ids
from naiad.container_kinds import RunId
from naiad.kinds import KINDS, SYS
from naiad.storage.base import RunReader
from naiad.storage.catalog import Cell
from naiad.storage.sql.catalog import SqlCatalog
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import open_in_memory
from naiad.storage.sql.values import BEGIN, TABLES, Entry, Stamp, cells_of, forget, put, stamps

T = TypeVar("T")


class ReadCatalog(SqlCatalog):
    """A catalog in the memory of this process. Each call reads all runs, so it is for a back end with few of them."""

    def __init__(self, readers: Callable[[], Iterable[RunReader]]) -> None:
        self._readers = readers
        self._lock = threading.RLock()
        self._tables = open_in_memory()
        with self._tables.begin() as connection:
            connection.make(TABLES)
            connection.run(BEGIN, format=0, listed="", made=ids.new_uid(), revision=0)

    def read(self, read: Callable[[Connection], T]) -> T:
        """Read in a transaction, after every run was read."""
        with self._lock, self._tables.begin() as connection:
            entries = [entry_of(reader) for reader in self._readers()]
            forget(connection, [*stamps(connection, None).keys() - {entry.uid for entry in entries}])
            put(connection, entries)
            return read(connection)

    def cells(self, run: RunId) -> Mapping[tuple[str, str], Cell]:
        """Return the cells of one container."""
        return next(entry_of(reader).cells for reader in self._readers() if reader.run == run)


def entry_of(reader: RunReader) -> Entry:
    """Summarize a run for the catalog, with the id and the project that its fields give.

    Raises:
        DamagedData: it cannot be read.
    """
    with reader.moment():
        cells = cells_of([(path, kind, _value(reader, path, kind)) for path, kind in reader.kinds().items()])
    name, project, state, created = (
        cells.get((path, SYS[path])) for path in ("sys/id", "sys/project", "sys/state", "sys/creation_time")
    )
    run = reader.run
    return Entry(run.uid, run.kind.folder, name or run.uid, project or "", str(state), created, Stamp("", ""), cells)


def _value(reader: RunReader, path: str, kind: str) -> Any:
    row = KINDS[kind]
    if not row.has_value or (row.is_series and not reader.count(path)):
        return None
    if row.aspects:
        return list(reader.aspects(path))
    if row.is_series:
        last = reader.last(path, kind)
        return last and last.value
    return reader.tags(path) if row.shape == "tags" else reader.value(path)
