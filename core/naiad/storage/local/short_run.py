"""Short runs, read for the catalog: sealed, never folded, of one writer and without a deletion, as most runs are.

The values of their fields are taken straight from the ops and records, without the states of a projection, so that a
catalog of 100,000 runs is made in half the time. The one rule: whatever is unusual about a run is left to the reader,
damage above all. A property test compares the two.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from naiad import rewinds
from naiad.kinds import DERIVED, FILES, KINDS, LINES, MEMBERS, POINTS, TAGS, TEXTS
from naiad.lines import Lines
from naiad.ops import (
    Assign,
    Configure,
    Define,
    Dropped,
    End,
    Members,
    Op,
    Open,
    Plain,
    Printed,
    Stored,
    Strings,
    Tags,
)
from naiad.storage.catalog import Losses
from naiad.storage.local.files import stored_bytes
from naiad.storage.local.index.derived import values
from naiad.storage.local.index.projection import Projection, change
from naiad.storage.local.index.short_tail import LONGEST, Columns, facts_of, read_columns
from naiad.storage.local.index.states import FieldState, Series, WriterState, shown_values, with_texts
from naiad.storage.local.integrity.seal import Seal, whole_seal
from naiad.storage.local.journal.bit_errors import BLOCK
from naiad.storage.local.journal.frames import whole_frames
from naiad.storage.local.layout import SEAL, RunDirectory

Files = Mapping[str, os.stat_result]
"""The files below a folder by their place in it, as they were before it was read."""
JOURNAL = "journal/"


class ShortRun:
    """One short run that was read, with the part of a reader that the catalog needs."""

    def __init__(self, folder: RunDirectory, fields: _Fields, segments: list[Columns], files: Files) -> None:
        self.folder = folder
        self._fields = fields
        self._segments = segments
        self._files = files

    def shown(self, _looked: object = None) -> tuple[list[tuple[str, str, Any]], Losses]:
        """Path, kind and value of each field, and the losses of the run, as `Reader.shown` returns them."""
        writer, projection = self._fields.writer, Projection()
        projection.writers[writer.name] = writer
        written = max(stat.st_mtime for place, stat in self._files.items() if place != SEAL)
        look = sum(stat.st_size for stat in self._files.values()), written, 0.0
        derived = values(projection, self.folder, sealed=look)
        losses = Losses((), writer.dropped_points + writer.dropped_ops)
        return self._fields.shown(derived, self._segments), losses


def read_short_run(folder: RunDirectory, files: Files) -> ShortRun | None:
    """Read a run; None where it is not short, or anything about it is unusual.

    Args:
        folder: its folder.
        files: those in it, as they were before this call.

    Raises:
        OSError: a file cannot be read.
    """
    path = os.fspath(folder.path)
    seal = whole_seal(_content(f"{path}/{SEAL}", files[SEAL].st_size))
    if seal is None or {SEAL, *seal.files} != files.keys() or not seal.records.keys() <= seal.files.keys():
        return None
    journal = _journal(path, seal)
    # The seal is removed before anything else changes, and a new one is another file.
    if journal is None or _identity(os.stat(f"{path}/{SEAL}")) != _identity(files[SEAL]):
        return None
    writer, ops, segments = journal
    fields = _Fields(writer)
    for data in ops:
        frames = whole_frames(data)
        if frames is None or not all(map(fields.apply, frames)):
            return None
    columns: list[Columns] = []
    for data in segments:
        found = read_columns(data, 0, None)
        if found is None:
            return None
        columns.append(found)
    return ShortRun(folder, fields, columns, files) if fields.are_usual() else None


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _content(path: str, size: int) -> bytes:
    """Read a file, and the byte after it if there is one."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size + 1)
    finally:
        os.close(fd)


def _journal(folder: str, seal: Seal) -> tuple[str, list[bytes], list[bytes]] | None:
    """The writer, its ops files and its segments, as they were sealed; None where anything differs."""
    found: dict[str, list[tuple[int, bytes]]] = {"ops": [], "seg": []}
    writers = set()
    for place, (size, crcs) in seal.files.items():
        writer, _, rest = place.removeprefix(JOURNAL).partition(".")
        number, _, suffix = rest.partition(".")
        if not place.startswith(JOURNAL) or not number.isdecimal() or size > LONGEST:
            return None
        data = _content(f"{folder}/{place}", size)
        if len(data) != size or [zlib.crc32(data[at : at + BLOCK]) for at in range(0, size, BLOCK)] != crcs:
            return None
        writers.add(writer)
        found[suffix].append((int(number), data))
    if len(writers) != 1 or not found["ops"] or sys.byteorder != "little":
        return None
    ops, segments = ([data for _number, data in sorted(found[suffix])] for suffix in ("ops", "seg"))
    return writers.pop(), ops, segments


class _Fields:
    """The fields that the ops of one writer add up to, as long as nothing about them is unusual."""

    def __init__(self, writer: str) -> None:
        self.writer = WriterState(writer)
        self._opened = 0
        self._kinds: dict[str, str] = {}
        self._values: dict[str, Plain] = {}  # of atoms and documents
        self._states: dict[str, FieldState] = {}  # of sets and of series of texts
        self._numbers: dict[str, int] = {}  # of series of points

    def apply(self, ops: list[Op]) -> bool:
        """Let the ops of a frame take effect; False where one is unusual."""
        kinds, values, writer = self._kinds, self._values, self.writer
        for op in ops:
            if op.at > writer.at:
                writer.at = op.at
            if type(op) is Assign:  # as most are: they go without a call for each
                path = op.path
                if kinds.setdefault(path, op.kind) != op.kind:
                    return False
                values[path] = op.value
            elif type(op) not in _EFFECTS or not _EFFECTS[type(op)](self, op):
                return False
        return True

    def are_usual(self) -> bool:
        """Whether the writer owned the run, no field hides another one, and none hides points."""
        namespaces: set[str] = set()
        for path in {path.rpartition("/")[0] for path in self._kinds}:
            while path and path not in namespaces:
                namespaces.add(path)
                path = path.rpartition("/")[0]
        is_owner = self._opened == 1 and self.writer.role == "owner"
        return is_owner and namespaces.isdisjoint(self._kinds) and rewinds.PATH not in self._kinds

    def shown(self, derived: dict[str, Any], segments: list[Columns]) -> list[tuple[str, str, Any]]:
        """Path, kind and value of each field; `derived` are the values of the derived ones, without stored files."""
        found: dict[str, Any] = {**self._values}
        series = [(_POINTS, _facts(number, segments)) for number in self._numbers.values()]
        found.update(zip(self._numbers, shown_values(series), strict=True))
        texts = [(state, with_texts(state) if state.kind in TEXTS else None) for state in self._states.values()]
        found.update(zip(self._states, shown_values(texts), strict=True))
        if not FILES.isdisjoint(self._kinds.values()):
            files = [(path, kind) for path, kind in self._kinds.items() if kind in FILES]
            states = [self._states.get(path) or FieldState(path, kind, value=found[path]) for path, kind in files]
            derived["sys/size"] += stored_bytes([(state, []) for state in states], self._resolve)
        shown = [(path, kind, derived[path]) for path, kind in DERIVED.items()]
        for path, kind in self._kinds.items():
            if path not in DERIVED:
                shown.append((path, kind, found.get(path) if KINDS[kind].has_value else None))
        return shown

    def _resolve(self, name: str) -> str:
        return self.writer.blobs.get(name) or name

    def _state(self, path: str, kind: str) -> FieldState | None:
        """The state of a set or a series of texts; None where its path has a field of another kind."""
        if self._kinds.setdefault(path, kind) != kind:
            return None
        if path not in self._states:
            self._states[path] = FieldState(path, kind, writer=self.writer.name)
        return self._states[path]

    # Effects; each returns whether its op is usual

    def _open(self, op: Open) -> bool:
        self._opened += 1
        self.writer.session, self.writer.role, self.writer.started = op.session, op.role, op.at
        return not self._numbers  # the facts of a run with a custom id may come before

    def _end(self, op: End) -> bool:
        self.writer.state = op.state
        return True

    def _define(self, op: Define) -> bool:
        is_next = op.path not in self._numbers and op.fid == len(self._numbers) + 1
        if not is_next or (op.fresh and op.path in self._kinds):
            return False
        self._numbers[op.path] = op.fid
        return self._kinds.setdefault(op.path, POINTS) == POINTS

    def _configure(self, op: Configure) -> bool:
        return self._kinds.setdefault(op.path, POINTS) == POINTS

    def _strings(self, op: Strings) -> bool:
        if op.kind in FILES or (op.fresh and op.path in self._kinds):
            return False
        state = self._state(op.path, op.kind)
        if state is None:
            return False
        if op.texts:
            state.texts.setdefault(self.writer.name, []).extend(zip(op.steps, op.times, op.texts, strict=True))
        return True

    def _printed(self, op: Printed) -> bool:
        state = self._state(op.path, LINES)
        if state is None:
            return False
        finished = state.printed.setdefault(self.writer.name, Lines()).feed(op.data, op.line, self.writer.at)
        if finished:
            state.lines.setdefault(self.writer.name, []).extend(finished)
        return True

    def _tags(self, op: Tags) -> bool:
        state = self._state(op.path, TAGS)
        if state is not None:
            change(state, op, (self.writer.at, self.writer.name), dict.fromkeys(op.add, ""))
        return state is not None

    def _members(self, op: Members) -> bool:
        state = self._state(op.path, MEMBERS)
        if state is not None:
            change(state, op, (self.writer.at, self.writer.name), op.add)
        return state is not None

    def _stored(self, op: Stored) -> bool:
        for name, sha256 in op.blobs.items():
            self.writer.blobs[name] = sha256 or self.writer.blobs.get(name, "")
        return all(name.partition(".")[0] == self.writer.name for name in op.blobs)

    def _dropped(self, op: Dropped) -> bool:
        self.writer.dropped_points += op.points
        self.writer.dropped_ops += op.ops
        return True


_EFFECTS: dict[type, Callable[[_Fields, Any], bool]] = {
    Open: _Fields._open,
    End: _Fields._end,
    Define: _Fields._define,
    Configure: _Fields._configure,
    Strings: _Fields._strings,
    Printed: _Fields._printed,
    Tags: _Fields._tags,
    Members: _Fields._members,
    Stored: _Fields._stored,
    Dropped: _Fields._dropped,
}


_POINTS = FieldState("", POINTS)
"""Any series of points: of the state of one, the value that is shown depends on its kind alone."""


def _facts(number: int, segments: list[Columns]) -> Series:
    """The facts of a series of points."""
    series = Series()
    for columns in segments:
        if number in columns.rows:
            series.add(*facts_of(columns, number))
    return series
