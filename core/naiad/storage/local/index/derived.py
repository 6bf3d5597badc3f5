"""Derived fields: values that follow from a run's writers and the files in its folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.states import WriterState
from naiad.storage.local.journal.leases import Liveness, read_writers
from naiad.storage.local.layout import RunDirectory

WORST_FIRST = ("unknown", "killed", "failed", "terminated", "finished")


def writers(
    projection: Projection, folder: RunDirectory, looked: dict[str, Liveness] | None = None
) -> dict[str, Liveness]:
    """Return the writers without an end, with the signs of life of each; none of a sealed run.

    Args:
        projection: the run.
        folder: its folder.
        looked: the signs of life before the run was read, by the leases alone. They are not looked at again if the run
            has nothing to add.
    """
    if folder.seal.exists():
        return {}
    if looked is not None and _stand(looked, projection):
        return looked
    return read_writers(folder.journal, projection.writers)


def _stand(looked: Mapping[str, Liveness], projection: Projection) -> bool:
    """Whether the signs of life by leases alone are those of exactly the writers without an end, and beyond doubt."""
    # A writer that came after the look has no lease in it, and would be shown as killed. One that ended since would be
    # shown as running.
    count = 0
    for name, writer in projection.writers.items():
        if writer.state is None:
            count += 1
            each = looked.get(name)
            # Of a lock that is held, and of a death that is proven, the time of the last sign was not asked for. All
            # else depends on what the ops of the run say of the writer.
            if each is None or each.state == "silent" or each.seen:
                return False
    return count == len(looked)


def run_state(projection: Projection, leases: Mapping[str, Liveness]) -> str:
    """`running` while an owner or a child of one lives; else the worst end of the owners of the latest session.

    An owner without an end was killed if it is proven, or was declared, that it does not live; else its end is
    `unknown`. Children that were forked or spawned do not count: they have no end of their own to report.
    """
    owners = [writer for writer in projection.writers.values() if writer.role == "owner"]
    for name, each in leases.items():
        writer = projection.writers.get(name)
        # A writer takes its lease before it can say its role. Until then a run stays as its last owner left it.
        is_running = writer.role != "editor" if writer is not None else not owners
        if is_running and each.state == "alive":
            return "running"
    silent = {name for name, each in leases.items() if each.state != "dead"}
    latest = max((writer.session for writer in owners), default=0)
    ends = {
        writer.state or ("unknown" if writer.name in silent else "killed")
        for writer in owners
        if writer.session == latest
    }
    return next((state for state in WORST_FIRST if state in ends), "unknown" if silent else "killed")


def values(
    projection: Projection,
    folder: RunDirectory,
    looked: dict[str, Liveness] | None = None,
    sealed: tuple[int, float, float] | None = None,
) -> dict[str, Any]:
    """The values of all derived fields.

    Args:
        projection: the run.
        folder: its folder.
        looked: as for `writers`.
        sealed: the result of the look at the files of a run that is sealed, if they were looked at before.
    """
    leases = {} if sealed else writers(projection, folder, looked)
    size, written, seen = sealed or _look(os.fspath(folder.path), os.fspath(folder.journal))
    modified = max([written, *(writer.at for writer in projection.writers.values())])
    pinged = max(seen, modified)
    return {
        "sys/state": run_state(projection, leases),
        "sys/modification_time": round(modified * 1e6),
        "sys/ping_time": round(pinged * 1e6),
        "sys/running_time": _running_time(projection, leases, pinged),
        "sys/size": float(size),  # the reader adds what lies in blobs
    }


def _running_time(projection: Projection, leases: Mapping[str, Liveness], pinged: float) -> float:
    """Seconds, over all sessions, from the first sign of life to the last."""
    sessions: dict[int, list[WriterState]] = {}
    for writer in projection.writers.values():
        sessions.setdefault(writer.session, []).append(writer)
    total = 0.0
    for writers in sessions.values():
        last = max(pinged if writer.name in leases else writer.at for writer in writers)
        total += max(0.0, last - min(writer.started for writer in writers))
    return total


def _look(path: str, journal: str) -> tuple[int, float, float]:
    """Bytes of the files below a folder, and when those of the journal, and its leases, were written last."""
    size, written, seen = 0, 0.0, 0.0
    folders = [path]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                try:
                    found = entry.stat()
                except OSError:  # it is gone, or is no file; the others count all the same
                    continue
                size += found.st_size
                if folder == journal and entry.name.endswith((".ops", ".seg")):
                    written = max(written, found.st_mtime)
                elif folder == journal and entry.name.endswith(".lease"):
                    seen = max(seen, found.st_mtime)
    return size, written, seen
