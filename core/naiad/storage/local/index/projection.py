"""The projection of a run: the fields that its ops add up to. The one place where ops take effect.

The reader builds it to show a run, the fold to bring the index up to date; both apply the same frames to it. Points of
float series never pass through it: it only maps the numbers of each writer to fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from naiad.kinds import LINES, MEMBERS, POINTS, SERIES, TAGS
from naiad.lines import Lines, is_after
from naiad.ops import (
    Assign,
    Configure,
    Define,
    Delete,
    Dropped,
    End,
    Frame,
    Members,
    Op,
    Open,
    Printed,
    Stored,
    Strings,
    Tags,
)
from naiad.scalars import NONE
from naiad.storage.local.index.states import (
    ANY,
    DELETED,
    NEVER,
    Deletions,
    FieldState,
    Key,
    Remnant,
    Shared,
    TextPoint,
    WriterState,
)
from naiad.storage.results import Damage, Shadowed

Row: TypeAlias = "tuple[int, str, str, bytes, int]"
"""Number, path, kind, facts and checksum of a field in the index."""
Make: TypeAlias = Callable[[Sequence[Row], list[Damage]], Mapping[int, FieldState]]
"""Makes states of rows, by number; those that no release writes are added to the damage instead."""
LEAST_MANY = 16
"""Definitions in one frame from which on looking at all of them together is cheaper than one by one."""
NO_ROWS: Mapping[str, Row] = MappingProxyType({})
UNMADE: dict[str, FieldState] = {}
"""The states at a path of which there is a row so far."""


class Projection:
    """All fields and writers of a run, at some point of the journal.

    It does not depend on the order in which files of several writers are applied, if those of each come in its order:
    every op counts by its key (time, writer), deletions are kept for ops that arrive late, and of one writer the order
    of its ops counts, even if its clock jumps.
    """

    def __init__(self, rows: Mapping[str, Row] = NO_ROWS, make: Make | None = None) -> None:
        """Begin with fields of an index, by path, each the only one there. A row becomes a state when it is needed.

        A program that opens a run of 100,000 fields reads a few of them.
        """
        self.fields: dict[str, dict[str, FieldState]] = dict.fromkeys(rows, UNMADE)  # path -> kind -> state, alive ones
        self.made: dict[int, FieldState] = {}  # number in the index -> state, of rows that were needed
        self.damages: list[Damage] = []  # of rows that no release writes, found when they were needed
        self._rows = dict(rows)  # path -> row, of those in `fields` that are not made
        self._make = make
        self._paths: dict[int, str] = {}  # number in the index -> path, once a row is needed by its number
        self.writers: dict[str, WriterState] = {}
        self.touched: dict[int, FieldState] = {}  # by identity: what the fold has to write
        self.retired: list[int] = []  # numbers in the index whose rows and points have to go
        self.renumbered: set[int] = set()  # by identity: states that writers' numbers may mean, with another number now
        self.tombstones: dict[str, FieldState] = {}  # path -> what was deleted there
        self.dead: dict[str, FieldState] = {}  # path -> a float series that is not there, for the numbers that mean it
        self.uncertain: dict[int, FieldState] = {}  # by identity: of whose points in the index a deletion took some
        self.version = len(self.fields)  # changes whenever a number may mean something else
        self._orphans: tuple[int, list[tuple[str, int, FieldState, float]]] = (0, [])
        self._namespaces = namespaces_of(rows) if rows else set()  # all that ever held a field
        # Paths at which two kinds, or a field and a namespace, may have met.
        self._contested = self._namespaces.intersection(rows)
        self._hidden: tuple[int, dict[tuple[str, str], FieldState]] = (0, {})
        self.touched_writers: set[str] = set()

    def at(self, path: str) -> FieldState | None:
        """The field that is shown at a path."""
        kinds = self.fields.get(path)
        if kinds is UNMADE:
            kinds = self._made(path)
        if not kinds:
            return None
        # Nearly all runs have no two fields at one path, and pay for conflicts only this test.
        if not self._contested:
            return next(iter(kinds.values()))
        hidden = self.hidden()
        return next((state for kind, state in kinds.items() if (path, kind) not in hidden), None)

    def visible(self, prefix: str = "") -> dict[str, FieldState]:
        """Return the fields that are shown, by path; of those below a prefix only."""
        if self._rows:
            self.make_all(prefix)
        hidden = self.hidden() if self._contested else {}
        return {
            path: state
            for path, kinds in self.fields.items()
            if path.startswith(prefix)
            for kind, state in kinds.items()
            if (path, kind) not in hidden
        }

    def kinds(self) -> dict[str, str]:
        """Return the kind of each field that is shown, by path."""
        hidden = self.hidden() if self._contested else {}
        found = {}
        for path, kinds in self.fields.items():
            if not kinds:  # a row; those that conflict with others are made by now
                found[path] = self._rows[path][2]
            for kind in kinds:
                if (path, kind) not in hidden:
                    found[path] = kind
        return found

    def hidden(self) -> dict[tuple[str, str], FieldState]:
        """Return the hidden fields by path and kind, with the field shown instead of each."""
        if self._hidden[0] != self.version:
            self._hidden = (self.version, self._decide() if self._contested else {})
        return self._hidden[1]

    def shadowed(self) -> list[Shadowed]:
        """The same as plain data."""
        return [
            Shadowed(path, kind, by.path, by.kind)
            for (path, kind), by in self.hidden().items()
            if self.fields[path][kind].value != NONE
        ]

    def _decide(self) -> dict[tuple[str, str], FieldState]:
        """Decide conflicts: of fields defined independently, the one defined first is shown.

        That holds for two kinds at one path, and for a field and others below it. Nothing is removed. An assigned None
        is shown only where nothing else is.
        """
        hidden: dict[tuple[str, str], FieldState] = {}
        shown: dict[str, FieldState] = {}  # by path and by each namespace above it
        leaves: set[str] = set()
        # In order of seniority, so that each field is compared only with those that win over it.
        for state in sorted(self._conflicts(), key=_seniority):
            above = [*_above(state.path)]
            rival = shown.get(state.path) or next((shown[path] for path in above if path in leaves), None)
            if rival is not None:
                hidden[state.path, state.kind] = rival
                continue
            leaves.add(state.path)
            for path in (state.path, *above):
                shown.setdefault(path, state)
        return hidden

    def _conflicts(self) -> Iterable[FieldState]:
        for path, kinds in [*self.fields.items()]:
            if path in self._contested or not self._contested.isdisjoint(_above(path)):
                yield from (kinds or self._made(path)).values()

    def states(self) -> Iterable[FieldState]:
        """Every alive state, shadowed ones included."""
        if self._rows:
            self.make_all()
        for kinds in self.fields.values():
            yield from kinds.values()

    def of_kinds(self, kinds: Collection[str]) -> list[FieldState]:
        """Every alive state of these kinds, shadowed ones included."""
        if self._rows:
            self._make_states([row for row in self._rows.values() if row[2] in kinds])
        return [state for each in self.fields.values() for kind, state in each.items() if kind in kinds]

    def make_all(self, prefix: str = "") -> None:
        """Make the states of all rows whose path begins like this."""
        self._make_states([row for path, row in self._rows.items() if path.startswith(prefix)])

    def _made(self, path: str) -> dict[str, FieldState]:
        """Make the state of the row at a path; where no release writes that row, the field is left out."""
        self._make_states([self._rows[path]])
        return self.fields.get(path, {})

    def _make_states(self, rows: list[Row]) -> None:
        assert self._make is not None  # there are rows
        states = self._make(rows, self.damages)
        for row in rows:
            del self._rows[row[1]]
            state = states.get(row[0])
            if state is None:
                del self.fields[row[1]]
            else:
                self.fields[row[1]] = {state.kind: state}
        self.made.update(states)

    def _numbered(self, number: int) -> FieldState | None:
        """The state of the row with a number in the index; None if it is not there, or damaged."""
        if number not in self.made:
            if not self._paths:
                self._paths = {row[0]: path for path, row in self._rows.items()}
            path = self._paths.get(number)
            if path in self._rows:
                self._made(path)
        return self.made.get(number)

    def known_series(self, writer: WriterState) -> Iterator[tuple[int, FieldState]]:
        """The numbers of a writer whose series were needed, by number or otherwise, and these series."""
        for number, found in enumerate(writer.fields, 1):
            state = self.made.get(found) if isinstance(found, int) else found
            if state is not None:
                yield number, state

    def add(self, state: FieldState) -> None:
        """Add a state loaded from the index."""
        self.version += 1
        self.made[state.id] = state
        if state.kind == DELETED:
            self.tombstones[state.path] = state
        elif state.retired_at is not None:
            self.dead[state.path] = state
        else:
            self._show(state)

    def link(self) -> None:
        """After all states and writers of an index are there: let every number mean the one state of its series.

        An earlier release kept a state for each deletion instead of the deletions of each path.
        """
        known = set(self.tombstones)
        for writer in self.writers.values() if self.dead else ():
            for number, state in self.known_series(writer):
                if state.retired_at is not None:
                    if state.path not in known:
                        self._know_deletion(state, writer.name, number)
                    writer.fields[number - 1] = self.alive(state.path, POINTS) or self.dead[state.path]

    def _know_deletion(self, state: FieldState, name: str, number: int) -> None:
        grave = self.tombstones.setdefault(state.path, FieldState(state.path, DELETED, deletions=Deletions()))
        deletions, at = _deletions(grave), state.retired_at or 0.0
        times = deletions.deleted.setdefault(POINTS, {})
        times[state.retired_by] = max(at, times.get(state.retired_by, at))
        if state.retired_by == name:
            deletions.buried[name] = max(number, deletions.buried.get(name, 0))
        else:
            deletions.continuing.setdefault(POINTS, set()).add(name)

    def _show(self, state: FieldState) -> None:
        path = state.path
        kinds = self.fields.setdefault(path, {})
        if kinds is UNMADE:
            self._made(path)
            kinds = self.fields.setdefault(path, {})
        kinds[state.kind] = state
        if len(kinds) > 1 or path in self._namespaces:
            self._contested.add(path)
        # As of nearly all fields; the loop takes three times as long to find that.
        if path.rpartition("/")[0] not in self._namespaces:
            self._note_namespaces(path)

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
        """Let frames of several writers, each with the name of its own, take effect; those of one in their order."""
        # By writer and sequence: files may be listed in any order, and the order between writers must not matter.
        for name, frame in sorted(frames, key=lambda item: (item[0], item[1].sequence)):
            self.apply(name, frame.ops)

    def apply(self, name: str, ops: Sequence[Op]) -> None:
        """Let the ops of one frame of writer `name` take effect."""
        writer = self.writer(name)
        if len(ops) >= LEAST_MANY and self._define_many(writer, ops):
            return
        for op in ops:
            is_inherited = type(op) is Define and not op.fresh and op.at < writer.started
            if not is_inherited:  # by a forked child; of all else the order of a writer's ops is that of their times
                writer.at = max(writer.at, op.at)
            _EFFECTS[type(op)](self, writer, op, op.at if is_inherited else writer.at)

    def resolve(self, name: str) -> str:
        """The name under which content is found now: its sha256 if that is known."""
        writer = self.writers.get(name.partition(".")[0])
        return (writer.blobs.get(name) if writer else None) or name

    def owner_of(self, writer: str, fid: int) -> FieldState | None:
        """The field that a writer's number means; None for a number whose definition was lost to damage."""
        fields = self.writers[writer].fields if writer in self.writers else []
        found = fields[fid - 1] if 0 < fid <= len(fields) else None
        if isinstance(found, int):
            found = fields[fid - 1] = self._numbered(found)
        return found

    def meaning(self, writer: str, number: int) -> tuple[FieldState | None, float]:
        """Where points with a writer's number go, and the time after which they do.

        A writer may go on appending to a series that *another* writer has deleted. Its earlier points are gone with
        the series; later points are not lost, and bring it back.
        """
        state = self.owner_of(writer, number)
        grave = self.tombstones.get(state.path) if state is not None else None
        if state is None or grave is None:
            return state, -math.inf
        # The writer itself has deleted the series under this number. If it goes on, it defines a new one.
        if number <= _deletions(grave).buried.get(writer, 0):
            return None, math.inf
        since = self._since(grave, state.kind, writer)
        return (None if since == math.inf else state), since

    def revive_after_deletion(self, state: FieldState, writer: str) -> None:
        """Revive a series, or date it back, for points younger than a deletion."""
        grave = self.tombstones[state.path]
        first = _deletions(grave).last(state.kind, writer)
        self.touch(state)
        if self.alive(state.path, state.kind) is state:
            self.version += state.date_by_points(first)
        else:
            self._revive(state, first, {})

    def orphans(self) -> list[tuple[str, int, FieldState, float]]:
        """Writers and numbers that mean a series deleted by another one, that series, and the time of the deletion."""
        if self._orphans[0] != self.version:
            found = []
            paths = {path for path, grave in self.tombstones.items() if _deletions(grave).continuing.get(POINTS)}
            for writer in self.writers.values() if paths else ():
                for number in range(1, len(writer.fields) + 1):
                    owner = self.owner_of(writer.name, number)
                    if owner is not None and owner.path in paths:
                        state, since = self.meaning(writer.name, number)
                        if state is not None and since > -math.inf:
                            found.append((writer.name, number, state, since))
            self._orphans = (self.version, found)
        return self._orphans[1]

    def settle(self, state: FieldState, writers: Collection[str]) -> None:
        """Note which writers have points left in the index after a deletion took some of them."""
        self.uncertain.pop(id(state), None)
        continuing = _deletions(self.tombstones[state.path]).continuing.get(state.kind, ())
        for writer in writers:
            if writer in continuing:
                self.revive_after_deletion(state, writer)
        if not writers:
            state.remnant = None
            if not self._is_alive(state):
                self._retire(state)

    def touch(self, state: FieldState) -> None:
        """Mark a state as changed, so that the next fold writes it."""
        self.touched[id(state)] = state

    def alive(self, path: str, kind: str) -> FieldState | None:
        """The field of this kind at a path, be it shadowed by one of another kind or not."""
        kinds = self.fields.get(path, UNMADE)
        if kinds is UNMADE and path in self._rows:
            kinds = self._made(path)
        return kinds.get(kind)

    # Writing

    def _at(self, path: str, kind: str, writer: WriterState, at: float) -> FieldState | None:
        """The field to which an op writes; None where another writer has deleted it later."""
        grave = self.tombstones.get(path)
        first = (at, writer.name)
        if grave is not None:
            last = _deletions(grave).last(kind, writer.name)
            # An op that arrives late and was written before the deletion: it may only show that its writer continues.
            if first < last:
                self._came_before(grave, kind, writer.name, last)
                return None
            if writer.name in _deletions(grave).continuing.get(kind, ()):
                first = last
        return self._write(path, kind, writer.name, at, first)

    def _came_before(self, grave: FieldState, kind: str, name: str, last: Key) -> None:
        """Apply ops that a writer wrote before a deletion, when later ones may be applied already."""
        state = self.alive(grave.path, kind)
        is_known = name in _deletions(grave).continuing.get(kind, ())
        self._continue(grave, kind, name)
        if state is not None and not is_known:
            if name in state.spans():
                self.version += state.note(name, state.spans()[name][1], last)
            self.touch(state)
            self._drop_points(state, grave)

    def _write(self, path: str, kind: str, name: str, at: float, first: Key) -> FieldState:
        state = self.alive(path, kind)
        if state is None:
            state = self.dead.get(path) if kind == POINTS else None
            if state is not None:
                self._revive(state, first, {name: (first, at)})
            else:
                state = FieldState(path, kind, writer=name, at=at, defined_at=first[0], defined_by=first[1])
                self.version += 1
                self._show(state)
        elif state.note(name, at, first):
            self.version += 1
        self.touch(state)
        return state

    def _revive(self, state: FieldState, first: Key, spans: dict[str, tuple[Key, float]]) -> None:
        """Show a dead series again."""
        self.version += 1
        self.dead.pop(state.path, None)
        state.retired_at, state.retired_by = None, ""
        state.set_spans(spans)
        state.defined_at, state.defined_by = first
        self._show(state)

    # Deleting

    def _grave(self, path: str) -> FieldState:
        found = self.tombstones.get(path)
        if found is None:
            found = self.tombstones[path] = FieldState(path, DELETED, deletions=Deletions())
        self.touch(found)
        return found

    def _continue(self, grave: FieldState, kind: str, name: str) -> None:
        """Note that a writer wrote before another one's deletion, and may go on without knowing of it."""
        known = _deletions(grave).continuing.setdefault(kind, set())
        if name not in known:
            known.add(name)
            self.version += 1
            self.touch(grave)

    def _remove(self, path: str, writer: WriterState, at: float, only: str = ANY) -> None:
        """Delete this writer's content at a path, and that of others before `at`; remember the deletion.

        `only` leaves other kinds alone: a writer that begins a series anew has not seen them.
        """
        self.version += 1
        grave, name = self._grave(path), writer.name
        deletions = _deletions(grave)
        times = deletions.deleted.setdefault(only, {})
        # The latest deletion of each writer is enough: it removes all that the earlier ones did.
        times[name] = max(at, times.get(name, -math.inf))
        if only in (ANY, POINTS) and (path in self.dead or self.alive(path, POINTS)):
            deletions.buried[name] = len(writer.fields)
        for kind, writers in deletions.continuing.items():
            if only in (ANY, kind):
                writers.discard(name)
        if only in (ANY, LINES):
            grave.printed.pop(name, None)
        if path in self._rows:
            self._made(path)
        for kind, state in list(self.fields.get(path, {}).items()):
            if only in (ANY, kind):
                self._cut(state, grave, (at, name))

    def _cut(self, state: FieldState, grave: FieldState, key: Key) -> None:
        """Take from a field all that a deletion removes."""
        spans = {}
        for name, (first, last) in state.spans().items():
            # All of the deleting writer goes, whatever its clock says: within one writer the order of ops counts, not
            # their times.
            if name == key[1]:
                continue
            if first < key:
                self._continue(grave, state.kind, name)
            if (last, name) > key:
                spans[name] = (max(first, key), last)
        state.set_spans(spans)
        state.date_by_ops()
        if state.entries is not None:
            state.entries.clear(key)
        if state.config_key <= key:
            state.config, state.config_key = (None, None, None), NEVER
        self.touch(state)
        self._drop_points(state, grave, key[1])

    def _drop_points(self, state: FieldState, grave: FieldState, deleter: str = "") -> None:
        """Take from a series the points that deletions remove: all of `deleter`, of others those from before."""
        if state.kind in SERIES:
            since = {name: self._since(grave, state.kind, name) for name in _writers_of(state)}
            since.update({name: math.inf for name in since if name == deleter})
            texts = {name: _after(since[name], rows) for name, rows in state.texts.items()}
            state.texts = {name: rows for name, rows in texts.items() if rows}
            _drop_lines(state, since, deleter)
            self._drop_indexed(state, since)
        self._date_points(state, grave)
        if not self._is_alive(state):
            self._retire(state)

    def _drop_indexed(self, state: FieldState, since: dict[str, float]) -> None:
        # Part of what is in the index goes. The series gets a new number, and the next fold writes what is left under
        # it; until then readers take it from the remnant.
        if state.pieces and max(since[name] for name in state.point_writers()) > -math.inf:
            state.remnant = Remnant(state.id, state.series, state.writers_of_pieces(), {})
            self._renumber(state)
            state.forget_points()
        remnant = state.remnant
        if remnant is not None:
            for name in set(remnant.pieces):
                remnant.since[name] = max(since[name], remnant.since.get(name, -math.inf))
            self.uncertain[id(state)] = state
            if min(remnant.since.values()) == math.inf:
                self.uncertain.pop(id(state))
                state.remnant = None

    def _date_points(self, state: FieldState, grave: FieldState) -> None:
        """Points that a deletion left keep a series alive from the deletion on."""
        for name in {**state.texts, **state.lines}:
            if name in _deletions(grave).continuing.get(state.kind, ()):
                self.version += state.date_by_points(_deletions(grave).last(state.kind, name))

    def _since(self, grave: FieldState, kind: str, name: str) -> float:
        """The time from which on a writer's points count in spite of the deletions at a path; infinite if none do.

        None count of a writer of an earlier session than one that deleted, nor of one that ended before.
        """
        if name not in _deletions(grave).continuing.get(kind, ()):
            return -math.inf
        writer, since = self.writer_of(name), -math.inf
        for each in (ANY, kind):
            for deleter, at in _deletions(grave).deleted.get(each, {}).items():
                if deleter == name:
                    continue
                # A later session, or a writer that had ended before the deletion: in both cases its points were there
                # to be deleted.
                if self.writer_of(deleter).session > writer.session or (writer.state is not None and writer.at <= at):
                    return math.inf
                since = max(since, at)
        return since

    def writer_of(self, name: str) -> WriterState:
        """The writer of this name, of which nothing may be known."""
        return self.writers.get(name) or WriterState(name)

    def _is_alive(self, state: FieldState) -> bool:
        return bool(state.spans() or state.texts or state.lines or state.pieces or state.remnant)

    def _retire(self, state: FieldState) -> None:
        """Take a field out of the shown ones."""
        self.version += 1
        kinds = self.fields.get(state.path, {})
        if kinds.get(state.kind) is state:
            del kinds[state.kind]
            if not kinds:
                self.fields.pop(state.path)
        if state.pieces or state.kind != POINTS:
            self._renumber(state)
            state.forget_points()
        if state.kind == POINTS:
            last = _deletions(self.tombstones[state.path]).last(state.kind, "")
            state.retired_at, state.retired_by = last
            self.dead[state.path] = state
        else:
            self.touched.pop(id(state), None)
            self._grave(state.path).printed.update(state.printed)

    def _renumber(self, state: FieldState) -> None:
        """Drop the rows of a state from the index; the rest gets a new number."""
        if state.id:
            self.retired.append(state.id)
            self.renumbered.add(id(state))
            state.id = 0

    # Effects

    def _open(self, writer: WriterState, op: Open, _at: float) -> None:
        writer.pid, writer.host, writer.boot = op.pid, op.host, op.boot
        writer.session, writer.role, writer.started = op.session, op.role, op.at

    def _end(self, writer: WriterState, op: End, _at: float) -> None:
        writer.state = op.state
        self.version += 1
        for path, grave in self.tombstones.items():
            for kind, names in _deletions(grave).continuing.items():
                state = self.alive(path, kind)
                if state is not None and writer.name in names:
                    self.touch(state)
                    state.date_by_ops()
                    self._drop_points(state, grave)

    def _define(self, writer: WriterState, op: Define, at: float) -> None:
        if op.fresh:
            self._remove(op.path, writer, at, POINTS)
        self.version += 1
        # Numbers may have gaps: a definition between them can be lost to damage.
        while len(writer.fields) < op.fid:
            writer.fields.append(None)
        state = self._at(op.path, POINTS, writer, at) or self.alive(op.path, POINTS)
        writer.fields[op.fid - 1] = state or self._dead(op.path)

    def _define_many(self, writer: WriterState, ops: Sequence[Any]) -> bool:
        """Define many series that are new, as of the first dict of 100,000; False, and nothing done, if one is not."""
        if {*map(type, ops)} != {Define}:
            return False
        paths, first = dict.fromkeys([op.path for op in ops]), len(writer.fields) + 1
        is_plain = len(paths) == len(ops) and self.fields.keys().isdisjoint(paths)
        # Nearly every run has deleted some field, such as one that capturing has set before.
        is_plain = is_plain and self.tombstones.keys().isdisjoint(paths) and self.dead.keys().isdisjoint(paths)
        is_plain = is_plain and [op.fid for op in ops] == [*range(first, first + len(ops))]
        if not is_plain or any(op.fresh or op.at != ops[0].at for op in ops) or ops[0].at < writer.started:
            return False
        name, at = writer.name, max(writer.at, ops[0].at)
        writer.at = at
        states = [FieldState(path, POINTS, writer=name, at=at, defined_at=at, defined_by=name) for path in paths]
        above = namespaces_of(paths)
        # Before the namespaces of these paths are known as such: a path may be one of them too.
        self._contested |= self._namespaces.intersection(paths) | above.intersection(paths)
        self._contested |= self.fields.keys() & above
        self._namespaces |= above
        self.fields.update((state.path, {POINTS: state}) for state in states)
        self.touched.update((id(state), state) for state in states)
        self.version += 1
        writer.fields += states
        return True

    def _dead(self, path: str) -> FieldState:
        """The float series that is not there."""
        state = self.dead.get(path)
        if state is None:
            state = self.dead[path] = FieldState(path, POINTS, shared=Shared({}))
            state.retired_at, state.retired_by = _deletions(self.tombstones[path]).last(POINTS, "")
            self.touch(state)
        return state

    def _assign(self, writer: WriterState, op: Assign, at: float) -> None:
        state = self._at(op.path, op.kind, writer, at)
        if state is not None and (state.at, state.writer) == (at, writer.name):
            if NONE in (state.value, op.value):  # it yields its path to others, or does not any more
                self.version += 1
            state.value = op.value

    def _configure(self, writer: WriterState, op: Configure, at: float) -> None:
        state = self._at(op.path, POINTS, writer, at)
        if state is not None and (at, writer.name) >= state.config_key:
            state.config, state.config_key = (op.min, op.max, op.unit), (at, writer.name)

    def _strings(self, writer: WriterState, op: Strings, at: float) -> None:
        if op.fresh:
            self._remove(op.path, writer, at, op.kind)
        state = self._at(op.path, op.kind, writer, at)
        rows = [*zip(op.steps, op.times, op.texts, strict=True)]
        grave = self.tombstones.get(op.path)
        since = -math.inf if grave is None else self._since(grave, op.kind, writer.name)
        rows = rows if since == -math.inf else _after(since, rows)
        if state is None and rows and grave is not None:  # it was written to before another writer deleted it
            first = _deletions(grave).last(op.kind, writer.name)
            state = self.alive(op.path, op.kind)
            if state is None:
                state = FieldState(op.path, op.kind, writer=writer.name, at=first[0], shared=Shared({}))
                state.defined_at, state.defined_by = first
                self._show(state)
            state.date_by_points(first)
            self.version += 1
            self.touch(state)
        if state is not None and rows:
            state.texts.setdefault(writer.name, []).extend(rows)

    def _printed(self, writer: WriterState, op: Printed, at: float) -> None:
        """Lines are made of all that a writer printed, and those count that are younger than a deletion by another."""
        state = self._at(op.path, LINES, writer, at)
        grave = self.tombstones.get(op.path)
        lines = self._lines(self.alive(op.path, LINES), grave, writer.name)
        if grave is not None:
            lines.since = self._since(grave, LINES, writer.name)
        finished = [run for run in lines.feed(op.data, op.line, at) if is_after(lines.since, run.at)]
        if state is not None and finished:
            state.lines.setdefault(writer.name, []).extend(finished)

    def _lines(self, state: FieldState | None, grave: FieldState | None, name: str) -> Lines:
        """The open lines of a writer; as long as the field is not there, the tombstone keeps them."""
        if grave is not None:
            self.touch(grave)
        if grave is not None and state is not None:
            state.printed = {**grave.printed, **state.printed}
            grave.printed = {}
        holder = state or grave
        assert holder is not None  # where it is not there, another writer has deleted it
        return holder.printed.setdefault(name, Lines())

    def _tags(self, writer: WriterState, op: Tags, at: float) -> None:
        state = self._at(op.path, TAGS, writer, at)
        if state is not None:
            change(state, op, (at, writer.name), dict.fromkeys(op.add, ""))

    def _members(self, writer: WriterState, op: Members, at: float) -> None:
        state = self._at(op.path, MEMBERS, writer, at)
        if state is not None:
            change(state, op, (at, writer.name), op.add)

    def _stored(self, _writer: WriterState, op: Stored, _at: float) -> None:
        for name, sha256 in op.blobs.items():  # of this writer, or of a dead one that it tidies up after
            blobs = self.writer(name.partition(".")[0]).blobs
            blobs[name] = sha256 or blobs.get(name, "")

    def _delete(self, writer: WriterState, op: Delete, at: float) -> None:
        self._remove(op.path, writer, at)

    def _dropped(self, writer: WriterState, op: Dropped, _at: float) -> None:
        writer.dropped_points += op.points
        writer.dropped_ops += op.ops


_EFFECTS: dict[type, Callable[[Projection, WriterState, Any, float], None]] = {
    Open: Projection._open,
    End: Projection._end,
    Define: Projection._define,
    Assign: Projection._assign,
    Configure: Projection._configure,
    Strings: Projection._strings,
    Printed: Projection._printed,
    Tags: Projection._tags,
    Members: Projection._members,
    Stored: Projection._stored,
    Delete: Projection._delete,
    Dropped: Projection._dropped,
}


def _seniority(state: FieldState) -> tuple[bool, float, str, str, str]:
    """Return the sort key of conflicting fields: an assigned None last; after a deletion, path and kind."""
    return state.value == NONE, state.defined_at, state.defined_by, state.path, state.kind


def _deletions(grave: FieldState) -> Deletions:
    assert grave.deletions is not None
    return grave.deletions


def _writers_of(state: FieldState) -> set[str]:
    """All writers of the points of a series that are not in the journal alone."""
    remnant = state.remnant.pieces if state.remnant is not None else []
    return {*state.texts, *state.lines, *state.printed, *state.point_writers(), *remnant}


def _after(since: float, rows: list[TextPoint]) -> list[TextPoint]:
    """The points later than a deletion, compared as they are kept: in whole milliseconds."""
    if math.isinf(since):
        return [] if since > 0 else rows
    return [row for row in rows if is_after(since, row[1])]


def _drop_lines(state: FieldState, since: Mapping[str, float], deleter: str) -> None:
    """The same for printed lines: finished ones, and those that have no end yet."""
    lines = {name: [run for run in runs if is_after(since[name], run.at)] for name, runs in state.lines.items()}
    state.lines = {name: runs for name, runs in lines.items() if runs}
    state.printed.pop(deleter, None)
    for name, known in state.printed.items():
        known.since = since[name]


def change(state: FieldState, op: Tags | Members, key: Key, added: Mapping[Any, str]) -> None:
    """Clear, then remove, then add."""
    if op.clear:
        state.set.clear(key)
    for name in op.remove:
        state.set.remove(name, key)
    for name, content in added.items():
        state.set.add(name, content, key)


def _above(path: str) -> Iterator[str]:
    """The namespaces that hold a path, nearest first; without the root, which holds all."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def namespaces_of(paths: Iterable[str]) -> set[str]:
    """Return all namespaces that hold some paths."""
    found = {path.rpartition("/")[0] for path in paths}
    found.discard("")
    for namespace in [*found]:
        for above in _above(namespace):
            if above in found:
                break  # and so is all that lies above it, or will be
            found.add(above)
    return found
