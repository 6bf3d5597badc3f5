"""Entries of the catalog, made through the storage interface alone: for a back end that has no quicker way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
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
    with reader.moment():
        cells = cells_of([(path, kind, _value(reader, path, kind)) for path, kind in reader.kinds().items()])
    name, project, state, created = (
        cells.get((path, SYS[path])) for path in ("sys/id", "sys/project", "sys/state", "sys/creation_time")
    )
    run = reader.run
    return Entry(run.uid, run.kind.folder, name or run.uid, project or "", state, created, Stamp("", ""), cells)


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


def cells_of(fields: Iterable[tuple[str, str, Any]]) -> dict[tuple[str, str], Cell]:
    """Return the cells of fields by path and kind, from path, kind and stored value of each.

    The value is the last one of a series of texts, `ASPECTS` of one of numbers, the strings of a set, and None where
    there is nothing to show.
    """
    cells: dict[tuple[str, str], Cell] = {}
    for path, kind, value in fields:
        row, place = KINDS[kind], _stored(path)
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
