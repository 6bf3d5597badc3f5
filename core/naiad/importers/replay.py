"""The replay of a container: its operations read twice, and those yielded that count in the end."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from naiad.importer import Progress
from naiad.importers.operation_files import NamedFiles
from naiad.importers.operation_points import LOGS, Buffer, empty
from naiad.importers.operations import Folder, Operation, Read, number_in, operations
from naiad.kinds import ATOM_OF, LINES, MEMBERS, POINTS, TAGS
from naiad.ops import Plain
from naiad.records import (
    Axis,
    Note,
    Record,
    Skipped,
    Tags,
    Upload,
    Value,
)
from naiad.refs import FileRef
from naiad.types import Artifact as ArtifactValue
from naiad.types import FileSeries

ATOMS: Final = {
    "AssignFloat": ATOM_OF[float],
    "AssignInt": ATOM_OF[int],
    "AssignBool": ATOM_OF[bool],
    "AssignString": ATOM_OF[str],
    "AssignDatetime": ATOM_OF[datetime],
}
CLEARS: Final = {"ClearFloatLog": POINTS, "ClearStringLog": LINES, "ClearImageLog": FileSeries.kind}
COPIED: Final = {
    "Float": ATOM_OF[float],
    "Integer": ATOM_OF[int],
    "Boolean": ATOM_OF[bool],
    "String": ATOM_OF[str],
    "Datetime": ATOM_OF[datetime],
}


@dataclass
class State:
    """The state of one path after the operations so far."""

    kind: str
    since: int = 0
    """The order of the operation that begins what counts: earlier points were cleared."""
    value: Plain = None
    is_newer: bool = True
    steps: list[Any] = field(default_factory=list)
    """Of a file set: the operations since it was reset. Of an artifact: the entries to track."""
    texts: dict[str, None] = field(default_factory=dict)
    where: str = ""


def _mark(state: State) -> str:
    """Return the identity of the operations that make a file set or an artifact."""
    return " ".join(map(repr, [state.value, *(step[:-1] for step in state.steps)]))


Elsewhere: TypeAlias = Callable[[str], Mapping[str, State]]


class Replay:
    """The replay of one container."""

    def __init__(self, uuid: str, folders: Sequence[Folder], files: NamedFiles, elsewhere: Elsewhere) -> None:
        """Take the folders of a container, and a function that returns the fields of another one of the source."""
        self._uuid = uuid
        self._folders = folders
        self._files = files
        self._elsewhere = elsewhere
        self._states: dict[str, State] = {}
        self._axes: dict[str, Axis] = {}
        self._refused: dict[int, str] = {}  # orders of operations that do not fit the field at their path
        self._acknowledged = {each.name: number_in(each, "last_ack_version") or 0 for each in folders}

    def values(self) -> Mapping[str, State]:
        """Return the state of each path at the end."""
        return self._states

    def _ordered(self, progress: Progress) -> Iterator[tuple[int, Read]]:
        """Yield the operations of all folders by their time, numbered."""
        logs = [operations(each, progress) for each in self._folders]
        if len(logs) == 1:
            yield from enumerate(logs[0], 1)
        else:
            # Several processes wrote one run, each its own queue. The server ordered them by arrival, which is lost;
            # their clocks are the next best.
            timed = heapq.merge(*map(_timed, logs), key=lambda each: each[0])
            yield from ((order, each) for order, (_at, each) in enumerate(timed, 1))

    # First reading

    def look(self) -> None:
        """Read all operations, and keep the final state of each path."""
        for order, each in self._ordered(int):
            if isinstance(each, Operation):
                self._look_at(order, each)

    def _look_at(self, order: int, op: Operation) -> None:
        name = op.type
        if name in LOGS:
            self._at(order, op, LOGS[name])
        elif name in ATOMS:
            self._set(order, op, ATOMS[name], op.facts.get("value"))
        elif name in CLEARS:
            state = self._at(order, op, CLEARS[name])
            if state is not None:
                state.since = order
        # A later write to the same path begins a new field, of which the points before count no more.
        elif name == "DeleteAttribute":
            self._states.pop(op.path, None)
            self._axes.pop(op.path, None)
        elif name == "ConfigFloatSeries":
            if self._at(order, op, POINTS) is not None:
                low, high, unit = (op.facts.get(key) for key in ("min", "max", "unit"))
                self._axes[op.path] = Axis(op.path, _real(low), _real(high), None if unit is None else str(unit))
        elif name in ("AddStrings", "RemoveStrings", "ClearStringSet"):
            self._look_at_texts(order, op)
        elif name in ("UploadFile", "UploadFileContent"):
            state = self._at(order, op, FileRef.kind)
            if state is not None:
                state.since, state.is_newer = order, self._is_newer(op)
        elif name in ("UploadFileSet", "DeleteFiles"):
            self._look_at_files(order, op)
        elif name in ("AssignArtifact", "TrackFilesToArtifact", "ClearArtifact"):
            self._look_at_artifact(order, op)
        elif name == "CopyAttribute":
            self._copy(order, op)
        else:
            self._refused[order] = f"{name!r} is not an operation that this release supports"

    def _at(self, order: int, op: Operation, kind: str) -> State | None:
        """Return the state of a path that is of this kind, a new one if there is none."""
        state = self._states.get(op.path)
        if state is None:
            state = self._states[op.path] = State(kind, order, where=op.where)
        elif state.kind != kind:
            self._refused[order] = f"{op.type} does not fit the field at its path"
            return None
        return state

    def _set(self, order: int, op: Operation, kind: str, value: Any) -> None:
        plain = _plain(kind, value)
        if plain is None:
            self._refused[order] = f"{op.type} has the value {value!r:.60}"
            return
        state = self._states.get(op.path)
        # A later assignment decides the type of a single value anew; a series or a file is never replaced by one.
        if state is not None and state.kind not in ATOMS.values():
            self._refused[order] = f"{op.type} does not fit the field at its path"
            return
        self._states[op.path] = State(kind, order, plain, self._is_newer(op), where=op.where)

    def _is_newer(self, op: Operation) -> bool:
        # An acknowledged value may have been changed on the web page since, which a dump has and this log has not.
        return op.version > self._acknowledged[op.folder.name]

    def _look_at_texts(self, order: int, op: Operation) -> None:
        state = self._at(order, op, TAGS)
        if state is None:
            return
        if op.type == "ClearStringSet":
            state.texts.clear()
            return
        for text in _texts(op.facts.get("values")):
            if op.type == "AddStrings":
                state.texts[text] = None
            else:
                state.texts.pop(text, None)

    def _look_at_files(self, order: int, op: Operation) -> None:
        state = self._at(order, op, MEMBERS)
        if state is None:
            return
        if op.type == "DeleteFiles":
            state.steps.append(("delete", _texts(op.facts.get("file_paths")), op.where))
            return
        if str(op.facts.get("reset")) == "True":  # the client writes the text of a bool
            state.steps.clear()
        state.steps.append(("add", _texts(op.facts.get("file_globs")), op.where))

    def _look_at_artifact(self, order: int, op: Operation) -> None:
        state = self._at(order, op, ArtifactValue.kind)
        if state is None:
            return
        if op.type == "TrackFilesToArtifact":
            state.steps.append((op.facts.get("entries"), op.where))
            return
        state.steps.clear()
        state.value = str(op.facts.get("hash")) if op.type == "AssignArtifact" else ""

    def _copy(self, order: int, op: Operation) -> None:
        source = "/".join(map(str, op.facts.get("source_path") or ()))
        kind = COPIED.get(str(op.facts.get("source_attr_name")))
        state = None
        if op.facts.get("container_id") == self._uuid:
            state = self._states.get(source)
        else:
            state = self._elsewhere(str(op.facts.get("container_id"))).get(source)
        if kind is None or state is None or state.kind != kind:
            self._refused[order] = (
                f"the field that it copies, {source!r} of {op.facts.get('container_id')}, is not there"
            )
            return
        self._states[op.path] = State(kind, order, state.value, self._is_newer(op), where=op.where)

    # Second reading

    def yielded(self, progress: Progress) -> Iterator[Record]:
        """Read the operations again, and yield those that count."""
        buffer = Buffer()
        for path, state in self._states.items():
            # A series may have been configured or cleared only: it exists, without a point.
            if state.kind in (POINTS, LINES, FileSeries.kind):  # also one without points
                yield from empty(path, state.kind, self._folders[0].name)
        for order, each in self._ordered(progress):
            if isinstance(each, Skipped | Note):
                yield each
            elif order in self._refused:
                kind = LOGS.get(each.type) or ATOMS.get(each.type, "")
                count = len(each.facts.get("values") or ()) if each.type in LOGS else 1
                yield Skipped(each.path, kind, self._refused[order], count, where=each.where)
            elif each.type in LOGS:
                known = self._states.get(each.path)
                if known is not None and known.kind == LOGS[each.type] and order >= known.since:
                    yield from buffer.add(each)
                    if buffer.is_full:
                        yield from buffer.flush()
            elif each.type in ("UploadFile", "UploadFileContent"):
                known = self._states.get(each.path)
                if known is not None and known.kind == FileRef.kind and order == known.since:
                    mark = f"{each.folder.name} {each.version}"
                    yield Upload(each.path, self._files.content(each), known.is_newer, mark)
        yield from buffer.flush()
        yield from self._axes.values()
        for path, state in self._states.items():
            yield from self._single(path, state)

    def _single(self, path: str, state: State) -> Iterator[Record]:
        if state.kind in ATOMS.values():
            yield Value(path, state.kind, state.value, state.is_newer)
        elif state.kind == TAGS:
            yield Tags(path, list(state.texts))
        elif state.kind == MEMBERS:
            yield self._files.members(path, state.steps, _mark(state))
        elif state.kind == ArtifactValue.kind:
            yield self._files.artifact(path, state.steps, str(state.value or ""), _mark(state))


def _timed(reads: Iterator[Read]) -> Iterator[tuple[float, Read]]:
    """Yield operations with a time that never goes back within a folder."""
    at = -math.inf
    for each in reads:
        at = max(at, each.at) if isinstance(each, Operation) else at
        yield at, each


def _plain(kind: str, value: Any) -> Plain:
    """Return the value of an atom as it is stored; None if it is of another type."""
    if kind == ATOM_OF[float] and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    if kind == ATOM_OF[int] and isinstance(value, int) and not isinstance(value, bool):
        return value if -(1 << 63) <= value < 1 << 63 else None
    if kind == ATOM_OF[bool] and isinstance(value, bool):
        return value
    if kind == ATOM_OF[str] and isinstance(value, str):
        return value
    if kind == ATOM_OF[datetime] and isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 1000) if math.isfinite(value) and abs(value) < 2.5e14 else None
    return None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _texts(values: object) -> list[str]:
    return [each for each in values if isinstance(each, str)] if isinstance(values, list) else []
