"""Entries: a container summarized for the catalog. Loaded when a container has changed, or a catalog is made."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

from naiad.errors import DamagedData, DamageWarning, NewerFormat
from naiad.kinds import DERIVED, KINDS, SYS
from naiad.storage.catalog import NO_LOSSES, Losses
from naiad.storage.local.ids import Register
from naiad.storage.local.index.rows import MALFORMED
from naiad.storage.local.index.states import FieldState, Series, shown_values
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.sql.values import Entry, Stamp, as_stored, cells_of


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
    fields: list[tuple[str, str, Any]] = []
    for (state, facts), value in zip(shown, shown_values(shown), strict=True):
        try:
            if facts is not None and facts.count:
                value = _completed(state, facts, value, reader)
            fields.append((state.path, state.kind, value))
        except DamagedData:
            losses = losses._replace(damaged=(*losses.damaged, state.path))
    cells = cells_of([*fields, *((path, kind, derived[path]) for path, kind in DERIVED.items())])
    own_id, own_project, run_state, created = (
        cells.get((path, SYS[path])) for path in ("sys/id", "sys/project", "sys/state", "sys/creation_time")
    )
    number = str(own_id or ids.id_of(folder.uid) or folder.uid)
    return Entry(
        folder.uid,
        folder.kind.folder,
        number,
        own_project or as_stored(ids.projects().get(number.partition("-")[0], "")),
        str(run_state),
        created if isinstance(created, int) else None,
        stamp._replace(seal="") if reader.damages else stamp,  # the rest of a copy may be on its way
        cells,
        losses,
    )


def _completed(state: FieldState, facts: Series, value: Any, reader: Reader) -> Any:
    """The value of a series, with the parts that are not remembered in its field's row."""
    if value is None and KINDS[state.kind].has_value:  # a text that is too long for that
        return reader.text_page(state.path, -1, 1).texts[0]
    if KINDS[state.kind].aspects and facts.spread is None and facts.finite:
        return [*value[:-1], _counted(reader, state.path)]
    return value


def _counted(reader: Reader, path: str) -> float:
    """Return the variance of a series from its points, for an index without it."""
    import numpy as np

    values = reader.points(path).values
    return float(np.var(values[np.isfinite(values)]))
