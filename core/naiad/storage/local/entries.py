"""Entries: a container summarized for the catalog. Loaded when a container has changed, or a catalog is made."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Protocol

from naiad.cycles import search_paused
from naiad.errors import DamageWarning, NewerFormat
from naiad.kinds import DERIVED, SYS
from naiad.storage.catalog import NO_LOSSES, Losses
from naiad.storage.local.ids import Register
from naiad.storage.local.index.rows import MALFORMED
from naiad.storage.local.journal.leases import Liveness
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.short_run import Files, ShortRun, read_short_run
from naiad.storage.sql.values import MANY_CELLS, Entry, Stamp, as_stored, cells_of

ID, PROJECT, CREATED = ((path, SYS[path]) for path in ("sys/id", "sys/project", "sys/creation_time"))
STATE = ("sys/state", DERIVED["sys/state"])


def read_entry(
    ids: Register,
    folder: RunDirectory,
    stamp: Stamp,
    looked: dict[str, Liveness] | None = None,
    files: Files | None = None,
) -> Entry:
    """Summarize a container for the catalog; an unreadable one by its id and the reason.

    Args:
        ids: the registered names of containers.
        folder: that of the container.
        stamp: of its files.
        looked: the signs of life of its writers, if they were looked at for the stamp.
        files: those of its folder, where it is sealed and to be read as a short run if it is one.
    """
    if files is not None:
        with contextlib.suppress(OSError, *MALFORMED):  # which reading it in the usual way meets again, and says
            run = read_short_run(folder, files)
            if run is not None:
                return entry_of(run, ids, stamp)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)  # opening the run says it; a listing need not
            return entry_of(Reader(folder), ids, stamp, looked)
    except PermissionError:
        return _unreadable(ids, folder, stamp, "unreadable")
    except NewerFormat:
        return _unreadable(ids, folder, stamp, "newer")
    except (OSError, *MALFORMED):  # DamagedData too: one run is never the end of a table
        return _unreadable(ids, folder, stamp, "damaged")


def _unreadable(ids: Register, folder: RunDirectory, stamp: Stamp, state: str) -> Entry:
    number = ids.id_of(folder.uid) or folder.uid
    project = ids.projects().get(number.partition("-")[0], "")
    cells = {ID: number, STATE: state}
    losses = Losses(("",)) if state == "damaged" else NO_LOSSES
    return Entry(folder.uid, folder.kind.folder, number, project, state, None, stamp._replace(seal=""), cells, losses)


class Names(Protocol):
    """The registered names of containers, for one that has none in its fields."""

    def id_of(self, uid: str) -> str:
        """Return the id of a container; empty if there is none."""

    def projects(self) -> Mapping[str, str]:
        """Return the projects by key."""


def entry_of(reader: Reader | ShortRun, ids: Names, stamp: Stamp, looked: dict[str, Liveness] | None = None) -> Entry:
    """Summarize a container; id and project are those of its own fields, if it has them.

    Raises:
        DamagedData, NewerFormat, OSError: it cannot be read.
    """
    folder = reader.folder
    shown, losses = reader.shown(looked)
    is_small = isinstance(shown, list) and len(shown) <= MANY_CELLS
    with contextlib.nullcontext() if is_small else search_paused():
        cells = cells_of(shown)
    number = str(cells.get(ID) or ids.id_of(folder.uid) or folder.uid)
    created = cells.get(CREATED)
    return Entry(
        folder.uid,
        folder.kind.folder,
        number,
        cells.get(PROJECT) or as_stored(ids.projects().get(number.partition("-")[0], "")),
        str(cells[STATE]),
        created if isinstance(created, int) else None,
        stamp._replace(seal="") if losses.damaged else stamp,  # the rest of a copy may be on its way
        cells,
        losses,
    )
