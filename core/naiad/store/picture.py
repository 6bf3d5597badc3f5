"""The picture of a run: its fields as the ops say they are. The one place where ops take effect.

The reader builds it to show a run, the fold to bring the index up to date; both apply the same frames to it. Points of
float series never pass through it: it only knows which number of which writer means which field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from naiad.ops import (
    Assign,
    Configure,
    Define,
    Delete,
    Dropped,
    End,
    Members,
    Op,
    Open,
    Printed,
    Stored,
    Strings,
    Tags,
)
from naiad.store.frames import Frame
from naiad.store.lines import Lines
from naiad.store.states import FILE_SET, FLOAT_SERIES, STRING_SERIES, STRING_SET, FieldState, WriterState

__all__ = ["Picture", "Shadowed"]


class Shadowed(NamedTuple):
    """A field that is kept but not shown, since it cannot be beside one that was defined before it."""

    path: str
    kind: str
    by: str  # path and kind of that one
    by_kind: str

    def __str__(self) -> str:
        return f'two processes defined "{self.by}" ({self.by_kind}) and then "{self.path}" ({self.kind})'


class Picture:
    """All fields and writers of a run, at some point of the journal."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, FieldState]] = {}  # path -> kind -> state, alive ones only
        self.writers: dict[str, WriterState] = {}
        self.touched: dict[int, FieldState] = {}  # by identity: what the fold has to write
        self.retired: list[FieldState] = []  # their points have to go
        self.graves: dict[str, FieldState] = {}  # path -> the float series that was deleted there last
        self.version = 0  # changes whenever a number may mean something else
        self._orphans: tuple[int, list[tuple[str, int, FieldState]]] = (0, [])
        self._namespaces: set[str] = set()  # all that ever held a field
        self._contested: set[str] = set()  # paths at which two kinds, or a field and a namespace, may have met
        self._hidden: tuple[int, dict[tuple[str, str], FieldState]] = (0, {})
        self.touched_writers: set[str] = set()

    def at(self, path: str) -> FieldState | None:
        """The field that is shown at a path."""
        kinds = self.fields.get(path)
        if not kinds:
            return None
        if not self._contested:
            return next(iter(kinds.values()))
        hidden = self.hidden()
        return next((state for kind, state in kinds.items() if (path, kind) not in hidden), None)

    def hidden(self) -> dict[tuple[str, str], FieldState]:
        """The fields that are not shown, by path and kind, and what is shown instead of each."""
        if self._hidden[0] != self.version:
            self._hidden = (self.version, self._decide() if self._contested else {})
        return self._hidden[1]

    def shadowed(self) -> list[Shadowed]:
        """The same as plain data."""
        return [Shadowed(path, kind, by.path, by.kind) for (path, kind), by in self.hidden().items()]

    def _decide(self) -> dict[tuple[str, str], FieldState]:
        """The rule for what processes defined without knowing of each other: the one that was defined first is shown.

        That holds for two kinds at one path, and for a field and others below it. Nothing is removed.
        """
        hidden: dict[tuple[str, str], FieldState] = {}
        shown: dict[str, FieldState] = {}  # by path and by each namespace above it
        leaves: set[str] = set()
        for state in sorted(self._rivals(), key=lambda state: (state.defined_at, state.defined_by)):
            above = [*_above(state.path)]
            rival = shown.get(state.path) or next((shown[path] for path in above if path in leaves), None)
            if rival is not None:
                hidden[state.path, state.kind] = rival
                continue
            leaves.add(state.path)
            for path in (state.path, *above):
                shown.setdefault(path, state)
        return hidden

    def _rivals(self) -> Iterable[FieldState]:
        for path, kinds in self.fields.items():
            if path in self._contested or not self._contested.isdisjoint(_above(path)):
                yield from kinds.values()

    def states(self) -> Iterable[FieldState]:
        """Every alive state, shadowed ones included."""
        for kinds in self.fields.values():
            yield from kinds.values()

    def add(self, state: FieldState) -> None:
        """Put a state that the index knows in its place."""
        self.version += 1
        if state.retired_at is None:
            kinds = self.fields.setdefault(state.path, {})
            kinds[state.kind] = state
            if len(kinds) > 1 or state.path in self._namespaces:
                self._contested.add(state.path)
            self._note_namespaces(state.path)
        else:
            self._bury(state)

    def _note_namespaces(self, path: str) -> None:
        for above in _above(path):
            if above in self._namespaces:
                return  # and so is all that lies above it
            self._namespaces.add(above)
            if above in self.fields:
                self._contested.add(above)

    def writer(self, name: str) -> WriterState:
        """The writer of this name, known or new."""
        found = self.writers.get(name)
        if found is None:
            found = self.writers[name] = WriterState(name)
        self.touched_writers.add(name)
        return found

    def apply_all(self, frames: Iterable[tuple[str, Frame]]) -> None:
        """Let frames of several writers, each with the name of its own, take effect in the order of their time."""
        for name, frame in sorted(frames, key=lambda item: (item[1].ops[0].at, item[0], item[1].sequence)):
            self.apply(name, frame.ops)

    def apply(self, name: str, ops: Iterable[Op]) -> None:
        """Let the ops of one frame of writer `name` take effect."""
        writer = self.writer(name)
        for op in ops:
            writer.at = max(writer.at, op.at)
            _EFFECTS[type(op)](self, writer, op)

    def resolve(self, name: str) -> str:
        """The name under which content is found now: its sha256 if that is known."""
        writer = self.writers.get(name.partition(".")[0])
        return (writer.blobs.get(name) if writer else None) or name

    def owner_of(self, writer: str, fid: int) -> FieldState | None:
        """The field that a writer's number means; None for a number whose definition was lost to damage."""
        fields = self.writers[writer].fields if writer in self.writers else []
        return fields[fid - 1] if 0 < fid <= len(fields) else None

    def meaning(self, writer: str, number: int) -> tuple[FieldState | None, float]:
        """Where points with a writer's number go, and the time from which on they do.

        A writer may go on appending to a series that *another* writer has deleted. What it appended before belongs to
        the deleted one; what came later is not lost but goes to the `heir` of the deleted state that is returned.
        """
        state = self.owner_of(writer, number)
        if state is None or state.retired_at is None:
            return state, -math.inf
        grave = self.graves.get(state.path, state)
        return (grave, grave.retired_at or 0.0) if self._may_be_late(writer, grave) else (None, math.inf)

    def heir(self, grave: FieldState, writer: str) -> FieldState:
        """The field that lives where another one was deleted; a new one if there is none."""
        alive = self.alive(grave.path, grave.kind)
        return alive or self._new(grave.path, grave.kind, writer, grave.retired_at or 0.0)

    def orphans(self) -> list[tuple[str, int, FieldState]]:
        """Writers and numbers that mean a deleted series and may yet get points, and that series."""
        if self._orphans[0] != self.version:
            found = []
            for writer in self.writers.values() if self.graves else ():
                for number, state in enumerate(writer.fields, 1):
                    if state is not None and state.retired_at is not None:
                        grave, _since = self.meaning(writer.name, number)
                        if grave is not None:
                            found.append((writer.name, number, grave))
            self._orphans = (self.version, found)
        return self._orphans[1]

    def touch(self, state: FieldState) -> None:
        """Note that the index has to be told of this state."""
        self.touched[id(state)] = state

    def alive(self, path: str, kind: str) -> FieldState | None:
        """The field of this kind at a path, be it shadowed by one of another kind or not."""
        return self.fields.get(path, {}).get(kind)

    def _may_be_late(self, name: str, grave: FieldState) -> bool:
        """Whether a writer may have appended to a series after it was deleted: it lived then, and did not know."""
        writer, deleter = self.writers[name], self.writers.get(grave.retired_by)
        if name == grave.retired_by or (deleter is not None and writer.session < deleter.session):
            return False
        return writer.state is None or grave.retired_at is None or writer.at > grave.retired_at

    def _new(self, path: str, kind: str, writer: str, at: float) -> FieldState:
        state = FieldState(path, kind, writer=writer, at=at, defined_at=at, defined_by=writer)
        self.add(state)
        self.touch(state)
        return state

    def _state(self, path: str, kind: str, writer: WriterState, at: float) -> FieldState:
        state = self.alive(path, kind)
        if state is None:
            return self._new(path, kind, writer.name, at)
        self._date(state, writer, at)
        return state

    def _date(self, state: FieldState, writer: WriterState, at: float) -> None:
        """Note who was the first to define a field: frames of several writers may arrive in any order."""
        if at <= state.defined_at and (at, writer.name) < (state.defined_at, state.defined_by):
            state.defined_at, state.defined_by = at, writer.name
            self.version += 1
            self.touch(state)

    def _retire(self, path: str, writer: WriterState, at: float, only: str | None = None) -> None:
        """Remove what was written at a path before `at`, or by this writer. Others' later writes stay.

        `only` leaves other kinds alone: who begins a series anew does not know of them.
        """
        self.version += 1
        grave = self.graves.get(path)
        if grave is not None and only in (None, FLOAT_SERIES) and (grave.retired_at or 0.0) < at:
            # what came late to the earlier one goes too
            grave.retired_at, grave.retired_by = at, writer.name
            self.touch(grave)
        kinds = self.fields.get(path, {})
        for kind, state in list(kinds.items()):
            if only not in (None, kind):
                continue
            if state.writer == writer.name or state.at <= at:
                state.retired_at, state.retired_by = at, writer.name
                self.retired.append(state)
                self._bury(state)
                self.touch(state)
                del kinds[kind]
            else:  # what is left of it is younger
                state.defined_at, state.defined_by = state.at, state.writer
                self.touch(state)
        if not kinds:
            self.fields.pop(path, None)

    def _bury(self, state: FieldState) -> None:
        known = self.graves.get(state.path)
        if state.kind == FLOAT_SERIES and (known is None or (known.retired_at or 0.0) <= (state.retired_at or 0.0)):
            self.graves[state.path] = state

    def _open(self, writer: WriterState, op: Open) -> None:
        writer.pid, writer.host, writer.boot = op.pid, op.host, op.boot
        writer.session, writer.role, writer.started = op.session, op.role, op.at

    def _end(self, writer: WriterState, op: End) -> None:
        writer.state = op.state

    def _define(self, writer: WriterState, op: Define) -> None:
        if op.fresh:
            self._retire(op.path, writer, op.at, FLOAT_SERIES)
        grave = self.graves.get(op.path)
        state = self.alive(op.path, FLOAT_SERIES)
        if state is not None:
            self._date(state, writer, op.at)
        if state is None and grave is not None and (grave.retired_at or 0.0) > op.at:
            state = grave  # a forked child says what it inherited, after the series was deleted
        self.version += 1
        while len(writer.fields) < op.fid:
            writer.fields.append(None)
        writer.fields[op.fid - 1] = state or self._new(op.path, FLOAT_SERIES, writer.name, op.at)

    def _assign(self, writer: WriterState, op: Assign) -> None:
        state = self._state(op.path, op.kind, writer, op.at)
        if state.writer == writer.name or (op.at, writer.name) >= (state.at, state.writer):
            state.value, state.at, state.writer = op.value, op.at, writer.name
            self.touch(state)

    def _configure(self, writer: WriterState, op: Configure) -> None:
        state = self._state(op.path, FLOAT_SERIES, writer, op.at)
        state.config = (op.min, op.max, op.unit)
        self.touch(state)

    def _strings(self, writer: WriterState, op: Strings) -> None:
        if op.fresh:
            self._retire(op.path, writer, op.at, op.kind)
        state = self._state(op.path, op.kind, writer, op.at)
        state.texts.extend(zip(op.steps, op.times, op.texts, strict=True))
        self.touch(state)

    def _printed(self, writer: WriterState, op: Printed) -> None:
        state = self._state(op.path, STRING_SERIES, writer, op.at)
        lines = state.printed.setdefault(
            writer.name, Lines()
        )  # each writer has lines of its own: files come as they come
        state.lines.extend(lines.feed(op.data, op.line, op.at))
        self.touch(state)

    def _tags(self, writer: WriterState, op: Tags) -> None:
        state = self._state(op.path, STRING_SET, writer, op.at)
        kept = [] if op.clear else [tag for tag in state.tags if tag not in op.remove]
        state.tags = kept + [tag for tag in dict.fromkeys(op.add) if tag not in kept]
        self.touch(state)

    def _members(self, writer: WriterState, op: Members) -> None:
        state = self._state(op.path, FILE_SET, writer, op.at)
        gone = tuple(f"{name}/" for name in op.remove)
        kept = {} if op.clear else state.members
        kept = {name: file for name, file in kept.items() if not f"{name}/".startswith(gone)} if gone else kept
        state.members = {**kept, **op.add}
        self.touch(state)

    def _stored(self, _writer: WriterState, op: Stored) -> None:
        for name, sha256 in op.blobs.items():  # of this writer, or of a dead one that it tidies up after
            blobs = self.writer(name.partition(".")[0]).blobs
            blobs[name] = sha256 or blobs.get(name, "")

    def _delete(self, writer: WriterState, op: Delete) -> None:
        self._retire(op.path, writer, op.at)

    def _dropped(self, writer: WriterState, op: Dropped) -> None:
        writer.dropped_points += op.points
        writer.dropped_frames += op.frames


_EFFECTS: dict[type, Callable[[Picture, WriterState, Any], None]] = {
    Open: Picture._open,
    End: Picture._end,
    Define: Picture._define,
    Assign: Picture._assign,
    Configure: Picture._configure,
    Strings: Picture._strings,
    Printed: Picture._printed,
    Tags: Picture._tags,
    Members: Picture._members,
    Stored: Picture._stored,
    Delete: Picture._delete,
    Dropped: Picture._dropped,
}


def _above(path: str) -> Iterator[str]:
    """The namespaces that hold a path, nearest first; without the root, which holds all."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
