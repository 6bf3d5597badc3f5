"""Reading a container's folder into an entry of the catalog."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from typing import Any

from naiad.errors import DamagedData, DamageWarning, NewerFormat
from naiad.kinds import DERIVED, KINDS, SYS
from naiad.ops import Plain
from naiad.scalars import unpack_text
from naiad.storage.base import Cell
from naiad.storage.local.ids import Register
from naiad.storage.local.index.states import FieldState, Series
from naiad.storage.local.journal.leases import SUFFIX, read_writers
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.sql.values import Entry, Stamp, as_stored

SEAL = "seal.json"


def stamp_of(folder: RunDirectory) -> Stamp:
    """Changes with every write to the container; empty while it is being written, or this user may not look."""
    try:
        return _stamp(folder)
    except PermissionError:
        return Stamp("", "")


def _stamp(folder: RunDirectory) -> Stamp:
    seal = seal_stamp(folder)  # first: what comes in after it is not what it seals
    if not seal and any(each.is_alive for each in read_writers(folder.journal, {}).values()):
        return Stamp("", "")
    files = []
    for directory in (folder.path, folder.journal):
        with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith((".db", ".json", ".ops", ".seg", SUFFIX)) or entry.name == folder.journal.name:
                    stat = entry.stat()
                    size = 0 if entry.is_dir() else stat.st_size
                    files.append(f"{entry.name}:{size}:{stat.st_mtime_ns}")
    return Stamp(" ".join(sorted(files)), seal)


def seal_stamp(folder: RunDirectory) -> str:
    """Changes with every seal of the container; empty while it has none."""
    try:
        stat = os.stat(f"{folder.path}/{SEAL}")
    except OSError:
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def read_entry(ids: Register, folder: RunDirectory, stamp: Stamp) -> Entry:
    """Summarize a container for the catalog; an unreadable one by its id and the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamageWarning)  # opening the run says it; a listing need not
            return _entry(ids, folder, stamp)
    except PermissionError:
        return _unreadable(ids, folder, stamp, "unreadable")
    except (DamagedData, OSError):
        return _unreadable(ids, folder, stamp, "damaged")
    except NewerFormat:
        return _unreadable(ids, folder, stamp, "newer")


def _unreadable(ids: Register, folder: RunDirectory, stamp: Stamp, state: str) -> Entry:
    number = ids.id_of(folder.uid) or folder.uid
    project = ids.projects().get(number.partition("-")[0], "")
    cells = {("sys/id", SYS["sys/id"]): number}
    return Entry(folder.uid, folder.kind.folder, number, project, state, None, stamp._replace(seal=""), cells)


def _entry(ids: Register, folder: RunDirectory, stamp: Stamp) -> Entry:
    reader = Reader(folder)
    cells: dict[tuple[str, str], Cell] = {
        (_stored(state.path), state.kind): _cell(state, facts, reader) for state, facts in reader.shown()
    }
    values = {path: _plain(value) for path, value in reader.values("sys").items()}
    for path, kind in DERIVED.items():
        cells[path, kind] = values[path]
    number = str(values.get("sys/id") or (ids.id_of(folder.uid) or folder.uid))
    project = _stored(str(values.get("sys/project") or ids.projects().get(number.partition("-")[0], "")))
    created = values.get("sys/creation_time")
    return Entry(
        folder.uid,
        folder.kind.folder,
        _stored(number),
        project,
        str(values["sys/state"]),
        created if isinstance(created, int) else None,
        stamp._replace(seal="") if reader.damages else stamp,  # the rest of a copy may be on its way
        cells,
    )


def _cell(state: FieldState, facts: Series | None, reader: Reader) -> Cell:
    kind = KINDS[state.kind]
    if not kind.has_value or (facts is not None and not facts.count):
        return None
    if kind.shape == "tags":
        return sorted({str(_plain(tag)) for tag in state.tags})
    if facts is None:
        return _plain(state.value, kind.fact)
    if kind.shape == "texts":
        last = facts.last_value  # None: too long to be remembered in its field's row
        return _plain(last if last is not None else reader.texts(state.path).texts[-1], kind.fact)
    variance = facts.variance if facts.spread is not None or not facts.finite else _counted(reader, state.path)
    return [facts.last_value, facts.minimum, facts.maximum, facts.mean, variance]


def _fact(text: str, name: str) -> str | None:
    """One member of a JSON text."""
    with contextlib.suppress(ValueError, RecursionError):  # damaged, or of a later release
        facts = json.loads(text)
        found = facts.get(name) if isinstance(facts, dict) else None
        return found if isinstance(found, str) else None
    return None


def _counted(reader: Reader, path: str) -> float:
    """Return the variance of a series from its points, for an index without it."""
    import numpy as np

    values = reader.points(path).values
    return float(np.var(values[np.isfinite(values)]))


def _plain(value: Plain, fact: str = "") -> Any:
    """A stored value as a table shows it; of a JSON text with facts, this one."""
    text = unpack_text(value) if isinstance(value, bytes) else value
    found = _fact(str(text), fact) if fact else text
    return _stored(found) if isinstance(found, str) else found


def _stored(text: str) -> str:
    return text if text.isascii() else as_stored(text)  # a run has many texts, and few have anything to replace
