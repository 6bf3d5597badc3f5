"""Entries: a container summarized for the catalog. Loaded when a container has changed, or a catalog is made."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Protocol

from naiad import kinds
from naiad.errors import DamagedData, DamageWarning, NewerFormat
from naiad.kinds import DERIVED, SYS
from naiad.storage.catalog import NO_LOSSES, Cell, Losses
from naiad.storage.local.ids import Register
from naiad.storage.local.index.rows import MALFORMED
from naiad.storage.local.index.states import FieldState, Series
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.sql.entries import plain, stored
from naiad.storage.sql.values import Entry, Stamp


def read_entry(ids: Register, folder: RunDirectory, stamp: Stamp) -> Entry:
    """Summarize a container for the catalog; an unreadable one by its id and the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)  # opening the run says it; a listing need not
            return entry_of(Reader(folder), ids, stamp)
    except PermissionError:
        return _unreadable(ids, folder, stamp, "unreadable")
    except NewerFormat:
        return _unreadable(ids, folder, stamp, "newer")
    except (OSError, *MALFORMED):  # DamagedData too: one run is never the end of a table
        return _unreadable(ids, folder, stamp, "damaged")


def _unreadable(ids: Register, folder: RunDirectory, stamp: Stamp, state: str) -> Entry:
    number = ids.id_of(folder.uid) or folder.uid
    project = ids.projects().get(number.partition("-")[0], "")
    cells = {("sys/id", SYS["sys/id"]): number, ("sys/state", DERIVED["sys/state"]): state}
    losses = Losses(("",)) if state == "damaged" else NO_LOSSES
    return Entry(folder.uid, folder.kind.folder, number, project, state, None, stamp._replace(seal=""), cells, losses)


class Names(Protocol):
    """The registered names of containers, for one that has none in its fields."""

    def id_of(self, uid: str) -> str:
        """Return the id of a container; empty if there is none."""

    def projects(self) -> Mapping[str, str]:
        """Return the projects by key."""


def entry_of(reader: Reader, ids: Names, stamp: Stamp) -> Entry:
    """Summarize a container; id and project are those of its own fields, if it has them.

    Raises:
        DamagedData, NewerFormat, OSError: it cannot be read.
    """
    folder = reader.folder
    shown, derived, losses = reader.shown()
    cells: dict[tuple[str, str], Cell] = {}
    for state, facts in shown:
        try:
            cells[stored(state.path), state.kind] = _cell(state, facts, reader)
            if second := kinds.KINDS[state.kind].second:
                cells[f"{stored(state.path)}:{second}", kinds.ATOM_OF[str]] = plain(state.value, second) or None
        except DamagedData:
            losses = losses._replace(damaged=(*losses.damaged, state.path))
    values = {path: plain(value) for path, value in derived.items()}
    for path, kind in DERIVED.items():
        cells[path, kind] = values[path]
    for state, _facts in shown:
        if state.kind in kinds.ATOMS and SYS.get(state.path) == state.kind:
            values[state.path] = plain(state.value)
    number = str(values.get("sys/id") or (ids.id_of(folder.uid) or folder.uid))
    project = stored(str(values.get("sys/project") or ids.projects().get(number.partition("-")[0], "")))
    created = values.get("sys/creation_time")
    return Entry(
        folder.uid,
        folder.kind.folder,
        stored(number),
        project,
        str(values["sys/state"]),
        created if isinstance(created, int) else None,
        stamp._replace(seal="") if reader.damages else stamp,  # the rest of a copy may be on its way
        cells,
        losses,
    )


def _cell(state: FieldState, facts: Series | None, reader: Reader) -> Cell:
    kind = kinds.KINDS[state.kind]
    if not kind.has_value or (facts is not None and not facts.count):
        return None
    if kind.shape == "tags":
        return sorted({str(plain(tag)) for tag in state.tags})
    if facts is None:
        return plain(state.value, kind.fact)
    if kind.shape == "texts":
        last = facts.last_value  # None: too long to be remembered in its field's row
        return plain(last if last is not None else reader.text_page(state.path, -1, 1).texts[0], kind.fact)
    variance = facts.variance if facts.spread is not None or not facts.finite else _counted(reader, state.path)
    return [facts.last_value, facts.minimum, facts.maximum, facts.mean, variance]


def _counted(reader: Reader, path: str) -> float:
    """Return the variance of a series from its points, for an index without it."""
    import numpy as np

    values = reader.points(path).values
    return float(np.var(values[np.isfinite(values)]))
