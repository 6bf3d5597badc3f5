"""Journal files of several writers, folded in any order and grouping, give one projection and the same points.

The oracle looks at all ops at once, sorted by (time, writer, sequence); nothing of it knows of files or folds.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naiad.lines import Lines
from naiad.ops import (
    Assign,
    Configure,
    Define,
    Delete,
    End,
    Frame,
    Members,
    Op,
    Open,
    Printed,
    Strings,
    Tags,
    encode_ops,
)
from naiad.slots import SEGMENT_HEADER
from naiad.storage.local.index.compact import compact
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.merge import merge
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.integrity.losses import Losses
from naiad.storage.local.integrity.salvage import salvage
from naiad.storage.local.journal.files import Source, list_journal
from naiad.storage.local.journal.frames import encode_frame, file_header
from naiad.storage.local.journal.point_log import record
from naiad.storage.local.journal.segment import SEAL_AT, with_header
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.sql.database import open_for_writing

MOST_ORDERS = 24
FLOAT_SERIES = "float_series"

times = st.integers(0, 6).map(float)
moments = st.sampled_from([0.0, 1.0, 2.0, 2.0004, 3.0, 4.0, 5.0, 9.0])
paths = st.sampled_from(["a", "a/b", "c"])
names = st.lists(st.sampled_from(["x", "y", "d/x", "d/y", "d"]), max_size=2, unique=True)
steps = st.sampled_from([0, 1, 1, 2, 0.5])
prints = st.sampled_from([b"a", b"b\n", b"c\nd", b"\re", b"f\n\x1b[Ag\n\n", b"\x1b", b"[K"])
PRINTED = "printed"


@dataclass(frozen=True)
class LoggedPoint:
    """A point of a float series; `number` counts back from the writer's last one."""

    number: int
    step: int | float
    value: float
    time: float


@st.composite
def writes(draw: st.DrawFn) -> Any:
    """One write: an op, or a point."""
    kind = draw(st.sampled_from(["assign", "assign", "delete", "delete", "tags", "members", "configure", "define",
                                 "define", "fresh", "strings", "strings", "point", "point", "point",
                                 "print", "print", "print", "delete what is printed"]))  # fmt: skip
    path, at = draw(paths), draw(times)
    if kind == "assign":
        kind, number = draw(st.sampled_from(["float", "string"])), draw(st.integers(0, 9))
        return Assign(path, kind, number if kind == "float" else str(number), at)
    if kind == "delete":
        return Delete(path, at)
    if kind == "delete what is printed":
        return Delete(PRINTED, at)
    if kind == "print":
        return Printed(PRINTED, draw(prints), 0, at)
    if kind == "tags":
        return Tags(path, draw(names), draw(names), draw(st.booleans()), at)
    if kind == "members":
        added = {name: f"{name}{draw(st.integers(0, 9))}" for name in draw(names)}
        return Members(path, added, draw(names), draw(st.booleans()), at)
    if kind == "configure":
        return Configure(path, draw(moments), None, None, at)
    if kind in ("define", "fresh"):
        return Define(0, path, kind == "fresh", at)
    if kind == "strings":
        rows = draw(st.lists(st.tuples(steps, moments), max_size=3))
        texts = [str(draw(st.integers(0, 99))) for _ in rows]
        return Strings(path, texts, [row[0] for row in rows], [row[1] for row in rows], draw(st.booleans()), at)
    return LoggedPoint(draw(st.integers(0, 2)), draw(steps), float(draw(st.integers(0, 99))), draw(moments))


@st.composite
def histories(draw: st.DrawFn) -> dict[str, list[list[Any]]]:
    """What each writer wrote, in files."""
    found = {}
    for number in range(draw(st.integers(1, 4))):
        name = f"{number}-w"
        opening = Open(name, 1, "host", "boot", draw(st.sampled_from([1, 1, 2])), "owner", draw(times))
        files = draw(st.lists(st.lists(writes(), min_size=1, max_size=5), min_size=1, max_size=3))
        files[0].insert(0, opening)
        if draw(st.booleans()):
            files[-1].append(End("finished", draw(times)))
        found[name] = _with_numbers(files)
    return found


def _with_numbers(files: list[list[Any]]) -> list[list[Any]]:
    """Give each definition and line the next number, and each point one that is defined.

    Points without any are left out.
    """
    last, line, done = 0, 0, []
    for file in files:
        new: list[Any] = []
        for item in file:
            if isinstance(item, Define):
                last += 1
                item = Define(last, item.path, item.fresh, item.at)
            if isinstance(item, LoggedPoint):
                if not last:
                    continue
                item = LoggedPoint(max(1, last - item.number), item.step, item.value, item.time)
            if isinstance(item, Printed):
                item = Printed(item.path, item.data, line, item.at)
                line += item.data.count(b"\n")
            new.append(item)
        done.append(new)
    return done


# The oracle


@dataclass
class Part:
    """What one writer did to the fields of one kind at a path since it last deleted them itself."""

    ops: list[tuple[float, Op]] = field(default_factory=list)
    points: list[tuple[int | float, Any, float]] = field(default_factory=list)
    texts: list[tuple[int | float, Any, float]] = field(default_factory=list)


class Expected:
    """What has to be shown, from everything at once."""

    def __init__(self, history: dict[str, list[list[Any]]]) -> None:
        self.parts: dict[tuple[str, str], dict[str, Part]] = {}
        self.deletions: dict[str, list[tuple[float, str, str]]] = {}  # path -> time, writer, kind
        self.sessions: dict[str, int] = {}
        self.ends: dict[str, float] = {}
        for writer, files in history.items():
            self._read(writer, [item for file in files for item in file])

    def _read(self, writer: str, items: list[Any]) -> None:
        clock, started = -math.inf, -math.inf
        numbers: dict[int, str] = {}
        for item in items:
            if isinstance(item, LoggedPoint):
                part = self.parts.get((numbers.get(item.number, ""), FLOAT_SERIES), {}).get(writer)
                if part is not None:
                    part.points.append((item.step, item.value, item.time))
                continue
            inherited = isinstance(item, Define) and not item.fresh and item.at < started
            clock = clock if inherited else max(clock, item.at)
            at = item.at if inherited else clock
            if isinstance(item, Open):
                started, self.sessions[writer] = item.at, item.session
            elif isinstance(item, End):
                self.ends[writer] = at
            elif isinstance(item, Delete):
                self._delete(writer, at, item.path, "", numbers)
            else:
                kind = self._kind(item)
                if getattr(item, "fresh", False):
                    self._delete(writer, at, item.path, kind, numbers)
                part = self.parts.setdefault((item.path, kind), {}).setdefault(writer, Part())
                part.ops.append((at, item))
                if isinstance(item, Strings):
                    part.texts += zip(item.steps, item.texts, item.times, strict=True)
                if isinstance(item, Define):
                    numbers[item.fid] = item.path

    def _delete(self, writer: str, at: float, path: str, kind: str, numbers: dict[int, str]) -> None:
        self.deletions.setdefault(path, []).append((at, writer, kind))
        for key, parts in self.parts.items():
            if key[0] == path and kind in ("", key[1]):
                parts.pop(writer, None)
        if kind in ("", FLOAT_SERIES):
            for number in [number for number, known in numbers.items() if known == path]:
                del numbers[number]

    @staticmethod
    def _kind(op: Op) -> str:
        kinds = {Tags: "string_set", Members: "file_set", Strings: "string_series", Printed: "string_series"}
        return op.kind if isinstance(op, Assign) else kinds.get(type(op), FLOAT_SERIES)

    def fields(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Every field that is there, hidden ones too."""
        found = {}
        for (path, kind), parts in self.parts.items():
            seen = self._field(path, kind, parts)
            if seen is not None:
                found[path, kind] = seen
        return found

    def _field(self, path: str, kind: str, parts: dict[str, Part]) -> dict[str, Any] | None:
        ops: list[tuple[tuple[float, str], int, Op]] = []
        series: dict[str, list[tuple[int | float, Any, int]]] = {}
        defined = []
        for writer, part in parts.items():
            conflicts = [
                (at, name) for at, name, of in self.deletions.get(path, ()) if name != writer and of in ("", kind)
            ]
            last, first = max(conflicts, default=(-math.inf, "")), min((at, writer) for at, _op in part.ops)
            kept = [((at, writer), i, op) for i, (at, op) in enumerate(part.ops) if (at, writer) > last]
            limit = self._limit(writer, conflicts) if first < last else -math.inf
            points = [(step, value, round(time * 1000)) for step, value, time in part.points + part.texts]
            points += lines_of(part.ops)
            points = [point for point in points if point[2] > (limit if math.isinf(limit) else round(limit * 1000))]
            if kept or points:
                defined.append(max(first, last))
            ops += kept
            if points:
                series[writer] = points
        if not defined:
            return None
        return {"defined": min(defined), "points": merged(series), **contents(sorted(ops, key=lambda item: item[:2]))}

    def _limit(self, writer: str, conflicts: list[tuple[float, str]]) -> float:
        """The time up to which a writer's points are gone."""
        for at, name in conflicts:
            if self.sessions[name] > self.sessions[writer] or self.ends.get(writer, math.inf) <= at:
                return math.inf
        return max(at for at, _name in conflicts)

    def hidden(self) -> set[tuple[str, str]]:
        """The fields that are not shown, since one that cannot be beside them was there before."""
        shown: list[str] = []
        hidden = set()
        fields = self.fields()
        for path, kind in sorted(fields, key=lambda key: (fields[key]["defined"], *key)):
            if any(f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/") for other in shown):
                hidden.add((path, kind))
            else:
                shown.append(path)
        return hidden


def lines_of(ops: list[tuple[float, Op]]) -> list[tuple[int | float, Any, int]]:
    """The lines that a writer printed, as one that reads all of it at once splits them."""
    lines = Lines()
    runs = [run for at, op in ops if isinstance(op, Printed) for run in lines.feed(op.data, op.line, at)]
    points = [point for run in [*runs, *lines.rest()] for point in run.points()]
    return [(number, text.decode(), round(at * 1000)) for number, at, text in points]


def merged(series: dict[str, list[tuple[int | float, Any, int]]]) -> list[tuple[int | float, Any, int]]:
    """By step; of equal ones those of a writer in its order, between writers by the latest time so far, then writer."""
    ranked = []
    for writer, points in series.items():
        latest: dict[int | float, int] = {}
        for i, point in enumerate(points):
            latest[point[0]] = max(point[2], latest.get(point[0], point[2]))
            ranked.append((point[0], latest[point[0]], writer, i, point))
    return [item[-1] for item in sorted(ranked, key=lambda item: item[:4])]


def contents(ops: list[tuple[tuple[float, str], int, Op]]) -> dict[str, Any]:
    """What these ops, in order, say of a field."""
    value: Any = None
    config: tuple[Any, ...] = (None, None, None)
    tags: set[str] = set()
    members: dict[str, str] = {}
    for _key, _i, op in ops:
        if isinstance(op, Assign):
            value = op.value
        elif isinstance(op, Configure):
            config = (op.min, op.max, op.unit)
        elif isinstance(op, Tags):
            tags = (set() if op.clear else tags - set(op.remove)) | set(op.add)
        elif isinstance(op, Members):
            gone = tuple(f"{name}/" for name in op.remove)
            kept = {} if op.clear else {n: c for n, c in members.items() if not (gone and f"{n}/".startswith(gone))}
            members = {**kept, **op.add}
    return {"value": value, "config": config, "tags": tags, "members": members}


# What naiad shows


def shown_by(projection: Projection) -> dict[tuple[str, str], Any]:
    """The projection alone, which knows of no points."""
    return {
        (state.path, state.kind): (
            state.value, state.config, state.tags, state.members, (state.defined_at, state.defined_by), state.tail(),
        )
        for state in projection.states()
    }  # fmt: skip


def differences(folder: RunDirectory, history: dict[str, list[list[Any]]]) -> list[str]:
    """Where a reader shows something else than is expected."""
    expected = Expected(history)
    reader = Reader(folder)
    projection = reader.projection()
    fields, hidden = expected.fields(), expected.hidden()
    states = {(state.path, state.kind): state for state in projection.states()}
    if states.keys() != fields.keys():
        return [f"there is {sorted(states)}, not {sorted(fields)}"]
    found = []
    if set(projection.hidden()) != hidden:
        found.append(f"hidden is {sorted(projection.hidden())}, not {sorted(hidden)}")
    for key, state in states.items():
        want = fields[key]
        got = {"defined": (state.defined_at, state.defined_by), "value": state.value, "config": state.config,
               "tags": set(state.tags), "members": state.members}  # fmt: skip
        found += [f"{key}: {name} is {got[name]}, not {want[name]}" for name in got if got[name] != want[name]]
        if key not in hidden and key[1] in (FLOAT_SERIES, "string_series"):
            found += _series_differences(reader, *key, want["points"])
    return found


def _series_differences(reader: Reader, path: str, kind: str, want: list[Any]) -> Iterator[str]:
    if kind == FLOAT_SERIES:
        points = reader.points(path)
        got = list(zip(points.steps.tolist(), points.values.tolist(), points.times.tolist(), strict=True))
    else:
        texts = reader.texts(path)
        got = list(zip(texts.steps, texts.texts, texts.times, strict=True))
    if got != want:
        yield f"{path}: points are {got}, not {want}"
    facts, last = reader.facts(path), reader.last(path)
    if facts.count != len(want):
        yield f"{path}: {facts.count} points are counted, not {len(want)}"
    if want and last is not None and (last.step, last.value, last.time) != want[-1]:
        yield f"{path}: the last point is {last}, not {want[-1]}"
    if kind == FLOAT_SERIES and want:
        values = [value for _step, value, _time in want]
        if (facts.minimum, facts.maximum) != (min(values), max(values)) or not math.isclose(facts.total, sum(values)):
            yield f"{path}: facts are {facts}"


# Orders


def orders(history: dict[str, list[list[Any]]]) -> Iterator[list[tuple[str, int]]]:
    """Every order of the files in which those of each writer stay in theirs."""
    left = {writer: len(files) for writer, files in history.items()}

    def go(taken: dict[str, int]) -> Iterator[list[tuple[str, int]]]:
        ready = [writer for writer in left if taken[writer] < left[writer]]
        if not ready:
            yield []
        for writer in ready:
            for rest in go({**taken, writer: taken[writer] + 1}):
                yield [(writer, taken[writer]), *rest]

    return go(dict.fromkeys(left, 0))


def put_file(folder: RunDirectory, writer: str, number: int, items: Sequence[Any], sequence: int) -> None:
    """One journal file of ops and one of points."""
    frames = [encode_frame(sequence + i, encode_ops([op])) for i, op in enumerate(_ops(items))]
    (folder.journal / f"{writer}.{number}.ops").write_bytes(file_header() + b"".join(frames))
    records = bytearray(with_header(b""))
    records[SEAL_AT : SEAL_AT + 12] = bytes(12)  # a segment that is still written says neither size nor sum
    for point in items:
        if isinstance(point, LoggedPoint):
            records += record(point.number, point.value, point.step, point.time, len(records))
    if len(records) > SEGMENT_HEADER:
        (folder.journal / f"{writer}.{number}.seg").write_bytes(records)


def _ops(items: Sequence[Any]) -> list[Op]:
    return [item for item in items if not isinstance(item, LoggedPoint)]


def fold(folding: Fold, folder: RunDirectory) -> None:
    for file in folding.fold([Source(file, is_final=True) for file in list_journal(folder.journal)]):
        file.path.unlink()


@pytest.mark.parametrize(
    "lines",
    [
        [Define(1, "c", False, 4.0), LoggedPoint(1, 1, 12.0, 9.0)],
        [Strings("c", ["a"], [1], [9.0], False, 4.0)],
    ],
    ids=["numbers", "texts"],
)
def test_field_does_not_begin_with_points_of_a_writer_that_had_ended(lines: list[Any]) -> None:
    """A series is deleted; one writer goes on with it, and the points of another do not count, since it had ended."""
    more = Configure("c", 3.0, None, None, 6.0) if len(lines) > 1 else Strings("c", [], [], [], False, 6.0)
    history = {
        "0-w": [[Open("0-w", 1, "host", "boot", 1, "owner", 1.0), Delete("c", 5.0)]],
        "1-w": [[Open("1-w", 1, "host", "boot", 1, "owner", 6.0), more]],
        "2-w": [[Open("2-w", 1, "host", "boot", 1, "owner", 4.0), *lines], [End("finished", 5.0)]],
    }
    for order in orders(history):
        with tempfile.TemporaryDirectory() as place:
            folder = RunDirectory(Path(place) / "run")
            folder.journal.mkdir(parents=True)
            folding = Fold(folder)
            for writer, number in order:
                files = history[writer]
                put_file(folder, writer, number, files[number], 1 + sum(len(_ops(file)) for file in files[:number]))
                fold(folding, folder)

            assert [] == differences(folder, history), order


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(histories())
def test_projection_is_one_in_every_order_of_files(history: dict[str, list[list[Any]]]) -> None:
    seen = None
    for order in itertools.islice(orders(history), MOST_ORDERS):
        projection = Projection()
        for writer, number in order:
            ops = _ops(history[writer][number])
            projection.apply_all((writer, Frame(i, [op], 0)) for i, op in enumerate(ops))
        now = shown_by(projection), sorted(projection.hidden())
        seen = seen or now
        assert seen == now, order


@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(histories(), st.data())
def test_index_is_one_in_every_order_and_grouping_of_files(
    history: dict[str, list[list[Any]]], data: st.DataObject
) -> None:
    """Through the real fold into a real index; also while the last files are not folded yet, and after compaction."""
    known = list(itertools.islice(orders(history), MOST_ORDERS))
    for order in data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)):
        with tempfile.TemporaryDirectory() as place:
            folder = RunDirectory(Path(place) / "run")
            folder.journal.mkdir(parents=True)
            folding = Fold(folder)
            for writer, number in order:
                files = history[writer]
                put_file(folder, writer, number, files[number], 1 + sum(len(_ops(file)) for file in files[:number]))
                action = data.draw(st.sampled_from(["wait", "fold", "fold", "fold anew", "compact", "merge"]))
                if action == "fold":
                    fold(folding, folder)
                elif action == "fold anew":
                    fold(Fold(folder), folder)
                elif action == "compact":
                    compact(folder)
                elif action == "merge" and folder.index.exists():
                    merge(Index(folder, open_for_writing(folder.index)), 0)
            found = differences(folder, history)
            assert [] == found, (found, order)
            fold(Fold(folder), folder)
            found = differences(folder, history)
            assert [] == found, (found, order)
            merge(Index(folder, open_for_writing(folder.index)), 0)
            found = differences(folder, history)
            assert [] == found, (found, order)
            compact(folder)
            found = differences(folder, history)
            assert [] == found, (found, order)


def test_points_of_a_series_whose_row_was_lost_go_to_no_other_series(tmp_path: Path) -> None:
    """The next new field may get the number in the index that the lost one had."""
    old, new = RunDirectory(tmp_path / "old"), RunDirectory(tmp_path / "new")
    for folder in (old, new):
        folder.journal.mkdir(parents=True)
    put_file(old, "1-w", 1, [Open("1-w", 1, "host", "boot", 1, "owner", 1.0), Define(1, "lost", False, 1.0)], 1)
    fold(Fold(old), old)
    with contextlib.closing(sqlite3.connect(old.index)) as connection, connection:
        connection.execute("UPDATE field SET crc = crc + 1 WHERE path = 'lost'")
    salvage(old, new, Losses(), 1)
    put_file(new, "1-w", 2, [Define(2, "other", False, 2.0), LoggedPoint(2, 1, 5.0, 2.0)], 3)
    fold(Fold(new), new)
    put_file(new, "1-w", 3, [LoggedPoint(1, 2, 99.0, 3.0)], 4)
    fold(Fold(new), new)

    assert [5.0] == Reader(new).points("other").values.tolist()
