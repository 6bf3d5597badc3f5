"""Retention: `naiad server gc --monitoring-days` deletes the series below `monitoring/` of runs that are long over.

Everything else of a run stays: its other fields, and single values of monitoring such as the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import NamedTuple

from naiad.container_kinds import RUN, RunId
from naiad.errors import ContainerNotFound
from naiad.kinds import PROTECTED, SERIES
from naiad.ops import Delete
from naiad.storage.base import Change, Store
from naiad.storage.catalog import Summary
from naiad.storage.edits import edit

MONITORING = "monitoring/"


class Expired(NamedTuple):
    """The monitoring of one run."""

    id: str
    run: RunId
    paths: list[str]
    """Of its series."""


def is_old(row: Summary, before: datetime, arrivals: Mapping[str, datetime]) -> bool:
    """Whether a container was last changed before a time, and a server last heard of its writers before it.

    The change has its time from the program that made it, whose clock may be wrong, and which may send it much later.
    One from the future does not count if the arrival is known. What is edited on the server has no arrival.
    """
    arrived, changed = arrivals.get(row.run.uid), row.modified
    if arrived is not None and changed is not None and changed > datetime.now(timezone.utc):
        changed = None
    known = [each for each in (arrived, changed) if each is not None]
    return bool(known) and max(known) <= before


def expired(store: Store, project: str | None, before: datetime, arrivals: Mapping[str, datetime]) -> Iterator[Expired]:
    """Yield the runs with monitoring that are over and have not changed since a time, but protected ones.

    Args:
        store: the store.
        project: the one project; None: all.
        before: the time.
        arrivals: when a server last heard of each, by uid.

    Raises:
        StorageError: the store cannot be read now.
    """
    for row in store.catalog().summaries(project, kind=RUN):
        if row.state == "running" or not is_old(row, before, arrivals):
            continue
        try:
            reader = store.reader(row.run)
            # Of the run itself: a line of the catalog may be some seconds old.
            if reader.state() == "running" or reader.values("sys").get(PROTECTED) is True:
                continue
            kinds = reader.kinds()
        except ContainerNotFound:  # deleted meanwhile
            continue
        paths = sorted(path for path, kind in kinds.items() if path.startswith(MONITORING) and kind in SERIES)
        if paths:
            yield Expired(row.id, row.run, paths)


def drop(store: Store, found: Expired) -> None:
    """Delete the monitoring of one run; its points go with the next fold.

    Raises:
        StoreNotWritable: the store cannot be changed.
        StorageError: the database cannot be used now.
    """
    edit(store, found.run, [Change(path, "", (Delete(path),)) for path in found.paths])
