"""Entries of the catalog, made through the storage interface alone: for a back end that has no quicker way."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from naiad.kinds import ATOM_OF, KINDS, SYS
from naiad.ops import Plain
from naiad.scalars import unpack_text
from naiad.storage.base import RunReader
from naiad.storage.catalog import Cell
from naiad.storage.sql.values import Entry, Stamp, as_stored


def entry_of(reader: RunReader) -> Entry:
    """Summarize a run for the catalog, with the id and the project that its fields give.

    Raises:
        DamagedData: it cannot be read.
    """
    cells: dict[tuple[str, str], Cell] = {}
    with reader.moment():
        for path, kind in reader.kinds().items():
            cells[stored(path), kind] = _cell(reader, path, kind)
            if second := KINDS[kind].second:
                cells[f"{stored(path)}:{second}", ATOM_OF[str]] = plain(reader.value(path), second) or None
    name, project, state, created = (
        cells.get((path, SYS[path])) for path in ("sys/id", "sys/project", "sys/state", "sys/creation_time")
    )
    run = reader.run
    return Entry(run.uid, run.kind.folder, name or run.uid, project or "", state, created, Stamp("", ""), cells)


def _cell(reader: RunReader, path: str, kind: str) -> Cell:
    row = KINDS[kind]
    if not row.has_value or (row.is_series and not reader.count(path)):
        return None
    if row.shape == "tags":
        return sorted(map(stored, reader.tags(path)))
    if row.aspects:
        return list(reader.aspects(path))
    if row.is_series:
        last = reader.last(path, kind)
        return plain(last.value, row.fact) if last else None
    return plain(reader.value(path), row.fact)


def plain(value: Plain, fact: str = "") -> Any:
    """Return a stored value as a table shows it; of a JSON text with facts, this one."""
    text = unpack_text(value) if isinstance(value, bytes) else value
    found = _fact(str(text), fact) if fact else text
    return stored(found) if isinstance(found, str) else found


def _fact(text: str, name: str) -> str | None:
    """Return one member of a JSON text."""
    with contextlib.suppress(ValueError, RecursionError):  # damaged, or of a later release
        facts = json.loads(text)
        found = facts.get(name) if isinstance(facts, dict) else None
        return found if isinstance(found, str) else None
    return None


def stored(text: str) -> str:
    """Return a text as a database takes it."""
    return text if text.isascii() else as_stored(text)  # a run has many texts, and few have anything to replace
