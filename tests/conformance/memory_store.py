"""A second back end, deliberately small: all that is stored is in dicts of this process.

It shows that runs need nothing of storage but `naiad.storage.base`. Its names and its catalog are those that any back
end may use.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from naiad import clock
from naiad.container_kinds import RUN, RunId
from naiad.disk import Report
from naiad.errors import DamagedData, FieldConflict, FileNotFound, MissingField
from naiad.file import File
from naiad.integers import EXACT
from naiad.kinds import ATOMS, DERIVED, LINES, MEMBERS, POINTS, TAGS, TEXTS
from naiad.ops import Assign, Configure, Define, Delete, Members, Op, Plain, Strings, Tags
from naiad.refs import FileRef
from naiad.rewinds import is_below
from naiad.scalars import unpack_text
from naiad.slots import DEAD_SLOT
from naiad.storage import base, edits
from naiad.storage.base import Change
from naiad.storage.names import ClaimingStore
from naiad.storage.results import Points, Texts
from naiad.storage.sql.entries import ReadCatalog

STORES: dict[str, MemoryStore] = {}
INLINE = 1000
ENDS = ("killed", "failed", "terminated", "finished")  # the worst first


def text_of(value: Any) -> Any:
    return unpack_text(value) if isinstance(value, bytes) else value


@dataclass
class Data:
    """One field; a point is step, seconds and value."""

    kind: str
    value: Any = None
    points: list[tuple[Any, float, Any]] = field(default_factory=list)
    config: tuple[float | None, float | None, str | None] = (None, None, None)
    rewinds: list[tuple[int, float]] = field(default_factory=list)
    """How many points there were at each rewind, and its step."""

    def is_hidden(self, number: int, step: Any) -> bool:
        return any(number < before and step > above for before, above in self.rewinds)


class MemoryRun(base.RunReader):
    """All that is stored of one run, read; `apply` is how writers change it."""

    run = RunId("", RUN)

    def __init__(self, store: MemoryStore, run: RunId) -> None:
        self.store, self.run, self.lock = store, run, threading.RLock()
        self.fields: dict[str, Data] = {}
        self.writers: list[MemoryWriter] = []
        self.began = self.modified = clock.now()
        self.lost = 0
        self.rewound: set[tuple[int, float]] = set()  # sessions that began with a rewind

    def at(self, path: str, kind: str, fresh: bool = False) -> Data:
        known = self.fields.get(path)
        if known is None or fresh or known.kind != kind:
            self.fields[path] = known = Data(kind, {TAGS: set(), MEMBERS: {}}.get(kind))
        return known

    def apply(self, op: Op) -> None:
        if isinstance(op, Define):
            self.at(op.path, POINTS, op.fresh)
        elif isinstance(op, Assign):
            self.at(op.path, op.kind).value = op.value
        elif isinstance(op, Configure):
            self.at(op.path, POINTS).config = (op.min, op.max, op.unit)
        elif isinstance(op, Strings):
            self.at(op.path, op.kind, op.fresh).points += zip(op.steps, op.times, op.texts, strict=True)
        elif isinstance(op, Tags):
            found = self.at(op.path, TAGS)
            left = set() if op.clear else found.value - {text_of(tag) for tag in op.remove}
            found.value = left | {text_of(tag) for tag in op.add}
        elif isinstance(op, Members):
            found = self.at(op.path, MEMBERS)
            gone = tuple(f"{name}/" for name in op.remove)
            left = {} if op.clear else found.value
            found.value = {n: f for n, f in left.items() if n not in op.remove and not n.startswith(gone)} | op.add
        elif isinstance(op, Delete):
            self.fields.pop(op.path, None)

    def found(self, path: str, *kinds: str) -> Data:
        data = self.fields.get(path)
        if data is None:
            raise MissingField(f'{self.run.uid} has no field "{path}".', path=path)
        if kinds and data.kind not in kinds:
            raise FieldConflict(f'"{path}" is of kind {data.kind} now.', path=path)
        return data

    def columns(self, path: str, *kinds: str, include_rewound: bool = False) -> list[list[Any]]:
        with self.lock:
            data = self.found(path, *kinds)
            shown = [p for n, p in enumerate(data.points) if include_rewound or not data.is_hidden(n, p[0])]
        shown.sort(key=lambda point: point[0])
        return [[point[place] for point in shown] for place in range(3)]

    def kinds(self) -> dict[str, str]:
        with self.lock:
            return {path: data.kind for path, data in self.fields.items()} | DERIVED

    def atom(self, path: str) -> tuple[str, Plain]:
        data = self.found(path) if path not in DERIVED else None
        return (data.kind, data.value) if data else self.atoms("sys")[path]

    def atoms(self, prefix: str = "") -> dict[str, tuple[str, Plain]]:
        changed = round(self.modified * 1e6)
        derived: tuple[Plain, ...] = (self.state(), changed, changed, self.modified - self.began, 0.0)
        found = {path: (kind, value) for (path, kind), value in zip(DERIVED.items(), derived, strict=True)}
        with self.lock:
            found |= {path: (data.kind, data.value) for path, data in self.fields.items() if data.kind in ATOMS}
        return {path: atom for path, atom in found.items() if not prefix or path.startswith(f"{prefix}/")}

    def tags(self, path: str) -> set[str]:
        return set(self.found(path, TAGS).value)

    def members(self, path: str) -> dict[str, str]:
        return dict(self.found(path, MEMBERS).value)

    def config(self, path: str) -> tuple[float | None, float | None, str | None]:
        return self.found(path, POINTS).config

    def state(self) -> str:
        if any(writer.is_active and writer.role != "editor" for writer in self.writers):
            return "running"
        owners = [(writer.session, writer.end) for writer in self.writers if writer.role == "owner"]
        return next((end for end in ENDS if owners and (owners[-1][0], end) in owners), "killed")

    def is_incomplete(self) -> int:
        return self.lost

    def points(self, path: str, *, include_rewound: bool = False) -> Points:
        steps, times, values = self.columns(path, POINTS, include_rewound=include_rewound)
        is_wide = any(isinstance(step, int) and abs(step) > EXACT for step in steps)
        milliseconds = np.array([round(time * 1000) for time in times], np.int64)
        return Points(np.array(steps, np.int64 if is_wide else np.float64), np.array(values, float), milliseconds)

    def texts(self, path: str, *kinds: str, include_rewound: bool = False) -> Texts:
        steps, times, texts = self.columns(path, *(kinds or TEXTS), include_rewound=include_rewound)
        return Texts(steps, [text_of(text) for text in texts], [round(time * 1000) for time in times])

    def read_file(self, file: FileRef) -> bytes:
        content = file.content if file.content is not None else self.store.blobs.get(file.blob)
        if content is None:
            raise DamagedData(f"{file.blob} is missing.", file=file.blob, offset=0, what="it is missing")
        return content


class MemoryWriter(base.RunWriter):
    """One writer of a run. It has no slot, so that all points come by `points`."""

    slot = DEAD_SLOT
    is_active = True
    end = "killed"

    def __init__(self, run: MemoryRun, role: str) -> None:
        others = run.writers
        self.stored, self.role, self.numbers, self.point_log = run, role, [""], self
        self.session = max((each.session for each in others), default=0) + (run.state() != "running")
        others.append(self)

    def require_active(self) -> None:
        if not self.is_active:
            raise self.stored.run.kind.inactive(f"{self.stored.run.uid} was stopped.")

    def write(self, changes: Sequence[Change]) -> list[Change]:
        self.require_active()
        with self.stored.lock:
            for op in (op for change in changes for op in change.ops):
                self.numbers += [op.path] if isinstance(op, Define) else []
                self.stored.apply(op)
            self.stored.modified = clock.now()
            numbers = {path: number for number, path in enumerate(self.numbers)}
        return [msgspec.structs.replace(each, number=each.number or numbers.get(each.path, 0)) for each in changes]

    def points(self, number: int, values: Iterable[float], steps: Iterable[Any], times: Iterable[float]) -> None:
        self.require_active()
        with self.stored.lock:
            self.stored.at(self.numbers[number], POINTS).points += zip(steps, times, values, strict=True)

    def log_printed(self, path: str, data: bytes, line: int) -> None:
        with self.stored.lock:
            lines = {step: text for step, _at, text in self.stored.at(path, LINES).points}
            for number, text in enumerate(data.splitlines(keepends=True), line):
                lines[number] = lines.get(number, b"") + text
            self.stored.at(path, LINES).points = [(step, clock.now(), text) for step, text in lines.items()]

    def rewind(self, path: str, step: float, *, is_first: bool = False, but: Sequence[str] = ()) -> None:
        with self.stored.lock:
            if is_first and (self.session, step) in self.stored.rewound:
                return
            self.stored.rewound.add((self.session, step))
            for known, data in self.stored.fields.items():
                if is_below(known, path) and not any(is_below(known, each) for each in ("monitoring", *but)):
                    data.rewinds.append((len(data.points), step))

    def ingest(self, file: File, report: Report = id) -> FileRef:
        self.require_active()
        try:
            content = file.content if file.path is None else Path(file.path).expanduser().read_bytes()
        except OSError as error:
            raise FileNotFound(f"{file.path} cannot be read: {error}") from error
        report(len(content))
        if len(content) <= INLINE:
            return FileRef.of_bytes(content, file.extension)
        name = hashlib.sha256(content).hexdigest()
        self.stored.store.blobs[name] = content
        return FileRef(len(content), file.extension, blob=name)

    def count_lost(self) -> None:
        self.stored.lost += 1

    def stop(self, state: str = "finished", seconds: float | None = None) -> None:
        if self.is_active:
            self.is_active, self.end = False, state


class MemoryStore(ClaimingStore):
    """The store of a name, in one process."""

    def __init__(self, name: str) -> None:
        STORES[name] = self
        self.name, self.lock = name, threading.RLock()
        self.runs: dict[RunId, MemoryRun] = {}
        self.texts: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.known = ReadCatalog(lambda: [*self.runs.values()])

    def __reduce__(self) -> tuple[Any, ...]:
        return store_named, (self.name,)

    def __str__(self) -> str:
        return self.name

    def has_begun(self) -> bool:
        return bool(self.texts)

    def url(self, run: RunId | None = None) -> str:
        return f"memory:{self.name}/{run.uid if run else ''}"

    def claim(self, key: str, text: str = "") -> str:
        with self.lock:
            return self.texts.setdefault(key, text) if text else self.texts.get(key, "")

    def claims(self, prefix: str) -> dict[str, str]:
        with self.lock:
            return {key.removeprefix(prefix): text for key, text in self.texts.items() if key.startswith(prefix)}

    def unclaim(self, key: str) -> None:
        self.texts.pop(key, None)

    def lock_source(self, source: str) -> AbstractContextManager[Any]:
        return self.lock

    def exists(self, run: RunId) -> bool:
        return run in self.runs

    def reader(self, run: RunId) -> MemoryRun:
        return self.runs.get(run) or MemoryRun(self, run)

    def writer(
        self, run: RunId, *, role: str = "owner", first_ops: Sequence[Op] = (), on_error: str = "warn"
    ) -> MemoryWriter:
        stored = self.runs.setdefault(run, MemoryRun(self, run))
        for op in first_ops:
            stored.apply(op)
        return MemoryWriter(stored, role)

    def catalog(self) -> ReadCatalog:
        return self.known

    def delete(self, runs: Sequence[tuple[str, RunId]]) -> None:
        edits.refuse_deletion(self, runs)
        for _name, run in runs:
            del self.runs[run]


def store_named(name: str) -> MemoryStore:
    return STORES[name]
