"""The states of a run: its fields, the facts of their series, and its writers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from naiad.kinds import KINDS, MEMBERS, TAGS
from naiad.lines import LineRun, Lines
from naiad.ops import Millisecond, Plain, Step, Text

Key: TypeAlias = tuple[float, str]
"""Time and writer of an op. Between writers the greater key was written later."""

NEVER: Key = (-math.inf, "")

Name = TypeVar("Name", str, "str | bytes")

ANY = ""
"""In `Deletions`: fields of every kind."""
DELETED = ""
"""The kind of the state that holds what was deleted at a path."""

TextPoint: TypeAlias = tuple[int | float, float, Text]
"""Step, unix seconds and text."""


class LastWriterSet(Generic[Name]):
    """Names with contents, and the key of the op that added, removed or cleared each: an LWW-element set.

    Several writers change it without knowing of each other. The result does not depend on the order in which their ops
    are applied, as long as those of each writer come in its order; of two with equal keys, which are of one writer, the
    one that is applied later counts.
    `is_tree`: names are paths, and removing one removes all below it.
    """

    __slots__ = ("_folders", "cleared", "is_tree", "present", "removed")

    def __init__(self, *, is_tree: bool) -> None:
        self.is_tree = is_tree
        self.present: dict[Name, tuple[float, str, str]] = {}  # time, writer, content
        self.removed: dict[Name, Key] = {}
        self.cleared = NEVER
        self._folders: set[Any] | None = None

    def add(self, name: Name, content: str, key: Key) -> None:
        """Add a name, unless a later op has removed it or given it other content."""
        if key < self.cleared or any(self.removed.get(place, NEVER) > key for place in self._places(name)):
            return
        known = self.present.get(name)
        if known is None or known[:2] <= key:
            self.present[name] = (*key, content)
            if self._folders is not None:
                self._folders.update(place for place in self._places(name) if place != name)
            if not self.is_tree:
                self.removed.pop(name, None)

    def remove(self, name: Name, key: Key) -> None:
        """Remove a name, and keep the mark for ops that arrive late."""
        if key < self.cleared:
            return
        for each in self._at_or_below(name):
            if self.present[each][:2] <= key:
                del self.present[each]
        if self.is_tree or name not in self.present:
            self.removed[name] = max(key, self.removed.get(name, NEVER))

    def clear(self, key: Key) -> None:
        """Remove all that was added before."""
        if key < self.cleared:
            return
        self.cleared = key
        self.present = {name: entry for name, entry in self.present.items() if entry[:2] > key}
        self.removed = {name: mark for name, mark in self.removed.items() if mark > key}

    def _places(self, name: Name) -> Iterator[Name]:
        """The names whose removal removes this one: itself, and the folders above it."""
        yield name
        if self.is_tree:
            place: Any = name
            while "/" in place:
                place = place.rpartition("/")[0]
                yield place

    def _at_or_below(self, name: Name) -> list[Name]:
        found: list[Name] = [name] if name in self.present else []
        if self.is_tree and name in self._known_folders():
            below: Any = f"{name!s}/"
            found += [each for each in self.present if each.startswith(below)]
        return found

    def _known_folders(self) -> set[Any]:
        """Return the folders that names are or were in; most names that are removed are none."""
        if self._folders is None:
            self._folders = {place for name in self.present for place in self._places(name) if place != name}
        return self._folders


class Last(msgspec.Struct, array_like=True, gc=False):
    """The last point of one writer. `rank` is the latest time among its points of that step, None if that is `time`.

    Of equal steps, those of one writer stay in its order; between writers the greater (rank, writer) is the later.
    """

    step: Step | None = None
    value: Plain = None
    time: Millisecond | None = None
    rank: Millisecond | None = None

    def add(self, step: int | float, value: Plain, time: int, rank: int | None) -> None:
        """Take in the last point of a later group."""
        # Groups arrive in the order of the fold; one with smaller steps leaves the last point as it is.
        if self.step is not None and step < self.step:
            return
        ranks = [time if rank is None else rank]
        if self.step == step:
            ranks.append(self.order[1])
        self.step, self.value, self.time = step, value, time
        self.rank = None if max(ranks) == time else max(ranks)

    @property
    def order(self) -> tuple[int | float, int]:
        """Return the key by which writes of several writers are ordered."""
        time = self.time or 0
        return (-math.inf if self.step is None else self.step), (time if self.rank is None else self.rank)


class Series(msgspec.Struct, gc=False):
    """The statistics of a series. `minimum` ... `total` are over finite values, None without any."""

    count: int = 0
    finite: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    last_step: int | float | None = None
    last_value: Plain = None
    last_time: int | None = None  # milliseconds
    spread: float | None = 0.0  # sum of squared differences from the mean; None: an earlier release did not keep it
    last_rank: int | None = None  # the latest time among the points of the last step; None: that of the last point

    def add(
        self,
        count: int,
        finite: int,
        low: float,
        high: float,
        total: float,
        step: int | float,
        value: Plain,
        time: int,
        spread: float = 0.0,
        rank: int | None = None,
    ) -> None:
        """Take in a group of points, of which `step`, `value` and `time` are the last by step."""
        if not self.count:  # as of each of 100,000 series in the first fold: the rest takes three times as long
            self.count = count
            if finite:
                self.finite, self.minimum, self.maximum, self.total, self.spread = finite, low, high, total, spread
            self.last_step, self.last_value, self.last_time = step, value, time
            self.last_rank = None if rank == time else rank
            return
        self.count += count
        if finite:
            self.spread = self._joined_spread(finite, total, spread)
            self.finite += finite
            self.minimum = low if self.minimum is None or low < self.minimum else self.minimum
            self.maximum = high if self.maximum is None or high > self.maximum else self.maximum
            self.total += total
        last = self.last()
        last.add(step, value, time, rank)
        self.set_last(last)

    def last(self) -> Last:
        """The last point."""
        return Last(self.last_step, self.last_value, self.last_time, self.last_rank)

    def set_last(self, last: Last) -> None:
        """Let another point be the last one."""
        self.last_step, self.last_value, self.last_time, self.last_rank = last.step, last.value, last.time, last.rank

    def _joined_spread(self, finite: int, total: float, spread: float) -> float | None:
        """The spread with another group: Chan's formula, which does not cancel as a sum of squares would."""
        if self.spread is None:
            return None
        if not self.finite:
            return spread
        # Var(A + B) = Var(A) + Var(B) + (mean A - mean B)^2 * nA * nB / (nA + nB), all as sums of squares: Chan,
        # Golub and LeVeque 1979.
        apart = total / finite - self.total / self.finite
        return self.spread + spread + apart * apart * (self.finite * finite / (self.finite + finite))

    @property
    def mean(self) -> float | None:
        """Of the finite values; None without any."""
        return self.total / self.finite if self.finite else None

    @property
    def variance(self) -> float | None:
        """Of the finite values, as a population; None without any, or when it is not known."""
        if not self.finite or self.spread is None:
            return None
        return self.spread / self.finite if math.isfinite(self.spread) else math.inf


class Shared(msgspec.Struct, gc=False):
    """The facts of each writer of a field that has several.

    Attributes:
        spans: key of the first op, and time of the last one, of each writer with ops that count; None: only
            the field's own writer has.
        parts: the last point of each writer with points in the index; where there is none, they are all of the
            field's own writer.
        by: which of those writers each piece is of; nothing where there is one.
    """

    spans: dict[str, tuple[Key, float]] | None = None
    parts: dict[str, Last] = {}
    by: list[int] = []


class Remnant(msgspec.Struct, gc=False):
    """Points in the index of which a deletion took some: of each writer all up to the time `since`.

    They stay under their old number until a fold writes those that are left under a new one.
    """

    id: int
    series: Series
    pieces: list[str]  # the writer of each
    since: dict[str, float]


class Deletions(msgspec.Struct, gc=False):
    """All deletions at one path, kept for ops that arrive late.

    Attributes:
        deleted: by kind, `ANY` for all of them: the last deletion of each writer.
        continuing: by kind, the writers that wrote there before another one deleted it, so that they may not have seen
            it.
        buried: by writer, its last number that it deleted itself.
    """

    deleted: dict[str, dict[str, float]] = {}
    continuing: dict[str, set[str]] = {}
    buried: dict[str, int] = {}

    def last(self, kind: str, but: str) -> Key:
        """The key of the last deletion of a kind by another writer than `but`."""
        found = NEVER
        for each in (ANY, kind):
            for writer, at in self.deleted.get(each, {}).items():
                if writer != but:
                    found = max(found, (at, writer))
        return found


class FieldState(msgspec.Struct, eq=False, gc=False):
    """One field. A float series that was deleted is kept for the numbers that mean it, and comes back as the same one.

    It refers to nothing that refers to it, so the garbage collector need not look at 100,000 of them again and again.
    """

    path: str
    kind: str
    id: int = 0  # its number in the index; 0: not there yet
    writer: str = ""  # who wrote it last, and when
    at: float = 0.0
    value: Plain = None
    config: tuple[float | None, float | None, str | None] = (None, None, None)
    series: Series = msgspec.field(default_factory=Series)
    pieces: int = 0  # chunks and shares of packs in the index, numbered as they came
    retired_at: float | None = None
    retired_by: str = ""
    defined_at: float = 0.0  # by the first that said it is there, and who that was
    defined_by: str = ""
    entries: Any = None  # LastWriterSet of a string set (tags) and of a file set (files by name)
    texts: dict[str, list[TextPoint]] = {}  # by writer, not yet in the index
    lines: dict[str, list[LineRun]] = {}  # by writer, likewise
    printed: dict[str, Lines] = {}  # by writer: what has no end of line yet, and never is in a chunk of the index
    config_key: Key = NEVER
    shared: Shared | None = None  # None as long as it has one writer
    remnant: Remnant | None = None
    deletions: Deletions | None = None  # only in the state of kind `DELETED`

    @property
    def tags(self) -> list[Text]:
        """The strings of a string set, sorted."""
        found: list[Text] = list(self.entries.present) if self.kind == TAGS and self.entries is not None else []
        return sorted(found, key=lambda tag: tag if isinstance(tag, bytes) else tag.encode())

    @property
    def members(self) -> dict[str, str]:
        """The files of a file set by their names, sorted."""
        present = self.entries.present if self.kind == MEMBERS and self.entries is not None else {}
        return {name: present[name][2] for name in sorted(present)}

    @property
    def set(self) -> LastWriterSet[Any]:
        """The entries of a string set or a file set."""
        if self.entries is None:
            self.entries = LastWriterSet(is_tree=self.kind == MEMBERS)
        found: LastWriterSet[Any] = self.entries
        return found

    def tail(self) -> dict[str, list[TextPoint]]:
        """The texts that are in no chunk of the index, by writer."""
        found = {writer: [*texts] for writer, texts in self.texts.items()}
        for writer in {**self.lines, **self.printed}:
            open_lines = self.printed[writer].rest() if writer in self.printed else []
            points = [point for run in (*self.lines.get(writer, ()), *open_lines) for point in run.points()]
            if points:
                found.setdefault(writer, []).extend(points)
        return found

    def spans(self) -> dict[str, tuple[Key, float]]:
        """Key of the first and time of the last op of each writer."""
        if self.shared is not None and self.shared.spans is not None:
            return self.shared.spans
        return {self.writer: ((self.defined_at, self.defined_by), self.at)}

    def note(self, writer: str, at: float, first: Key) -> bool:
        """Take in an op of a writer, which counts since `first`; whether the field is older than was known."""
        # One writer is the usual case. Its span follows from two numbers of the field, so that 100,000 fields need no
        # dict each.
        is_alone = self.shared is None or self.shared.spans is None
        if not is_alone or writer != self.writer:
            spans = self.spans()
            known, last = spans.get(writer, (first, at))
            shared = self._share()
            shared.spans = spans
            spans[writer] = (min(known, first), max(last, at))
        if (at, writer) >= (self.at, self.writer):
            self.at, self.writer = at, writer
        return self.date(first)

    def date(self, first: Key) -> bool:
        """Note who was the first to write here; whether that is news."""
        if first >= (self.defined_at, self.defined_by):
            return False
        self.defined_at, self.defined_by = first
        return True

    def date_by_points(self, first: Key) -> bool:
        """Note since when points keep the field; the span of its own writer, so far implied by its age, stays."""
        if first < (self.defined_at, self.defined_by):
            self.set_spans(self.spans())
        return self.date(first)

    def date_by_ops(self) -> None:
        """Let the field begin with its ops; without any, points that are left date it again."""
        self.defined_at, self.defined_by = min(
            (first for first, _last in self.spans().values()), default=(math.inf, "")
        )

    def set_spans(self, spans: dict[str, tuple[Key, float]]) -> None:
        """Let these writers be all whose ops count."""
        self._share().spans = spans
        if spans:
            self.at, self.writer = max((last, writer) for writer, (_first, last) in spans.items())

    def point_writers(self) -> list[str]:
        """The writers of the points that are in the index, in the order in which `by` counts them."""
        if self.shared is not None:
            return list(self.shared.parts)
        return [self.writer] if self.pieces else []

    def writers_of_pieces(self) -> list[str]:
        """The writer of each piece, in their order."""
        writers = self.point_writers()
        by = self.shared.by if self.shared is not None and len(writers) > 1 else [0] * self.pieces
        return [writers[i] for i in by]

    def add_points(
        self,
        writer: str,
        count: int,
        finite: int,
        low: float,
        high: float,
        total: float,
        step: int | float,
        value: Plain,
        time: int,
        spread: float = 0.0,
        rank: int | None = None,
    ) -> None:
        """Take in a group of points of one writer, before its piece is added."""
        if self.shared is None and writer == self.writer:
            self.series.add(count, finite, low, high, total, step, value, time, spread, rank)
            return
        parts = self._share().parts
        if writer not in parts:
            # With a second writer, each piece so far is known to be of the first.
            if len(parts) == 1:
                self._share().by = [0] * self.pieces
            parts[writer] = Last()
        parts[writer].add(step, value, time, rank)
        self.series.add(count, finite, low, high, total, step, value, time, spread, rank)
        # Chosen among the last points of all writers, not the last that was folded: the result must not depend on the
        # order in which their files come.
        self.series.set_last(max(parts.items(), key=lambda part: (*part[1].order, part[0]))[1])

    def add_piece(self, writer: str) -> int:
        """Count one more chunk or share of a pack of a writer, whose points were taken in before; its number."""
        self.pieces += 1
        if self.shared is not None and len(self.shared.parts) > 1:
            self.shared.by.append(list(self.shared.parts).index(writer))
        return self.pieces - 1

    def forget_points(self) -> None:
        """Begin the series anew."""
        self.series, self.pieces = Series(), 0
        if self.shared is not None:
            self.shared.parts, self.shared.by = {}, []

    def _share(self) -> Shared:
        if self.shared is None:
            parts = {self.writer: self.series.last()} if self.series.count else {}
            self.shared = Shared(None, parts)
        return self.shared


class WriterState(msgspec.Struct):
    """One writer of the run and the series of its numbers."""

    name: str
    pid: int = 0
    host: str = ""
    boot: str = ""
    session: int = 0
    role: str = "owner"
    started: float = 0.0
    at: float = 0.0  # of its latest op
    state: str | None = None  # how it ended; None while it lives and when it was killed
    dropped_points: int = 0
    dropped_ops: int = 0
    blobs: dict[str, str] = msgspec.field(default_factory=dict)  # sha256 by incoming name, empty until it is known
    # By field number - 1; an int is the number in the index of a series that was not needed yet.
    fields: list[FieldState | int | None] = msgspec.field(default_factory=list)


def copy_series(series: Series) -> Series:
    """Facts that can be changed without changing the original."""
    return msgspec.structs.replace(series)


def copy_facts(state: FieldState) -> FieldState:
    """The same field, whose facts can be changed without changing the original."""
    shared = state.shared
    if shared is not None:
        parts = {writer: msgspec.structs.replace(last) for writer, last in shared.parts.items()}
        shared = Shared(shared.spans, parts, list(shared.by))
    return msgspec.structs.replace(state, series=copy_series(state.series), shared=shared)


def with_points(state: FieldState, parts: list[tuple[str, Any]]) -> Series:
    """The facts of a float series with those of points that are not in the index yet, by writer."""
    if not parts:
        return state.series
    whole = copy_facts(state)
    for writer, facts in parts:
        whole.add_points(writer, *facts)
    return whole.series


def with_texts(state: FieldState) -> Series:
    """The facts of a series of texts with those that are not in the index yet."""
    tail = state.tail()
    if not tail:
        return state.series
    whole = copy_facts(state)
    for writer, texts in tail.items():
        step, time, text = max(reversed(texts), key=lambda point: point[0])
        rank = max(round(point[1] * 1000) for point in texts if point[0] == step)
        whole.add_points(writer, len(texts), 0, 0.0, 0.0, 0.0, step, text, round(time * 1000), rank=rank)
    return whole.series


def shown_values(fields: Iterable[tuple[FieldState, Series | None]]) -> list[Any]:
    """Return the stored value of each field as a table shows it, with the facts of those that are series.

    It is the last text, the strings of a set, `ASPECTS` of a series of numbers, and None where there is nothing to
    show, or where the last text is too long to be remembered.
    """
    values: list[Any] = []
    for state, facts in fields:
        row = KINDS[state.kind]
        if not row.has_value or (facts is not None and not facts.count):
            values.append(None)
        elif facts is None:
            values.append(state.tags if row.shape == "tags" else state.value)
        elif row.aspects:
            values.append([facts.last_value, facts.minimum, facts.maximum, facts.mean, facts.variance])
        else:
            values.append(facts.last_value)
    return values
