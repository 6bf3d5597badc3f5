"""Derived fields: values that follow from a run's writers and the files in its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping

from naiad.ops import Plain
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.states import WriterState
from naiad.storage.local.journal.leases import Liveness, read_writers
from naiad.storage.local.layout import RunDirectory

WORST_FIRST = ("unknown", "killed", "failed", "terminated", "finished")


def writers(projection: Projection, folder: RunDirectory) -> dict[str, Liveness]:
    """Return the writers without an end, with the signs of life of each; none of a sealed run."""
    if folder.seal.exists():
        return {}
    return read_writers(folder.journal, projection.writers)


def run_state(projection: Projection, leases: Mapping[str, Liveness]) -> str:
    """`running` while any writer lives; else the worst end of the owners of the latest session.

    An owner without an end was killed if it is proven, or was declared, that it does not live; else its end is
    `unknown`. Children that were forked or spawned do not count: they have no end of their own to report.
    """
    if any(each.state == "alive" for each in leases.values()):
        return "running"
    owners = [writer for writer in projection.writers.values() if writer.role == "owner"]
    silent = {name for name, each in leases.items() if each.state != "dead"}
    latest = max((writer.session for writer in owners), default=0)
    ends = {
        writer.state or ("unknown" if writer.name in silent else "killed")
        for writer in owners
        if writer.session == latest
    }
    return next((state for state in WORST_FIRST if state in ends), "unknown" if silent else "killed")


def values(projection: Projection, folder: RunDirectory) -> dict[str, Plain]:
    """The values of all derived fields."""
    leases = writers(projection, folder)
    modified = max([_newest(folder, (".ops", ".seg")), *(writer.at for writer in projection.writers.values())])
    pinged = max(_newest(folder, (".lease",)), modified)
    return {
        "sys/state": run_state(projection, leases),
        "sys/modification_time": round(modified * 1e6),
        "sys/ping_time": round(pinged * 1e6),
        "sys/running_time": _running_time(projection, leases, pinged),
        "sys/size": float(_size(folder)),  # the reader adds what lies in blobs
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


def _newest(folder: RunDirectory, suffixes: tuple[str, ...]) -> float:
    newest = 0.0
    try:
        with os.scandir(folder.journal) as entries:
            for entry in entries:
                if entry.name.endswith(suffixes):
                    newest = max(newest, entry.stat().st_mtime)
    except FileNotFoundError:
        pass
    return newest


def _size(folder: RunDirectory) -> int:
    total = 0
    for directory, _folders, names in os.walk(folder.path):
        for name in names:
            try:
                total += os.stat(os.path.join(directory, name)).st_size
            except FileNotFoundError:
                continue
    return total
