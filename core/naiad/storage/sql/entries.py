"""Entries of the catalog, made through the storage interface alone: for a back end that has no quicker way."""

from __future__ import annotations

from typing import Any

from naiad.kinds import KINDS, SYS
from naiad.storage.base import RunReader
from naiad.storage.sql.values import Entry, Stamp, cells_of


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
