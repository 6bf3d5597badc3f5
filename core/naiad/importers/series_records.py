"""Records of series, on their way into a run: points that it has are passed over, and others become ops.

Of a part of a source that the ledger has, the points behind the last one are new; of any other, those that the run does
not have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from naiad import scalars
from naiad.convert import EARLIEST, LATEST, LONGEST_TEXT
from naiad.importers import fingerprint, stored
from naiad.importers.fingerprint import Numbers, Stock
from naiad.importers.ledger import Entry
from naiad.importers.report import Reason
from naiad.importers.target import Target
from naiad.integers import LARGEST
from naiad.kinds import KINDS, POINTS
from naiad.ops import Define, Strings
from naiad.records import (
    Files,
    Points,
    Texts,
)
from naiad.refs import incoming
from naiad.storage.base import Change
from naiad.storage.results import PointColumns
from naiad.types import FileSeries

MOST_TEXTS, MOST_BYTES = 1_000, 1 << 20
"""Entries, and bytes of entries, of one op: a fold takes an op whole."""
MOST_POINTS = 100_000
"""Points that are written at once."""


@dataclass
class _Series:
    """A series of the run while points are added to it."""

    kind: str
    exists: bool
    number: int = 0
    last: int | None = None
    """The step after which points without one go on; None if it is not known yet."""
    stocks: tuple[Stock, Stock] | None = None
    """The points that the run had before, for those of a source that the ledger does not have."""
    before: int = 0
    """Fingerprint of what the run had, once something is written behind it."""
    written: int = 0
    is_measured: bool = False


@dataclass
class _Part:
    """How far the points of one part of a source are for one field."""

    kind: str
    known: Entry | None
    count: int = 0
    source: int = 0
    store: int = 0
    is_removed: bool = False


class SeriesRecords:
    """The series of a source, whose points come in any number of records."""

    def __init__(self, target: Target) -> None:
        self.diverged: set[tuple[str, str]] = set()
        """Parts and paths whose earlier points are others now; a second pass compares each of their points."""
        self._target = target
        self._series: dict[str, _Series] = {}
        self._waiting: list[tuple[str, _Series, PointColumns]] = []
        self._points_waiting = 0
        self._parts: dict[tuple[str, str], _Part] = {}

    def take_points(self, record: Points) -> None:
        """Take numbers of a series."""
        contents = fingerprint.of_reals(record.values)
        columns = (record.values, record.steps, record.times, record.shift)
        self._take_series(record.path, POINTS, record.part, contents, *columns)

    def take_texts(self, record: Texts) -> None:
        """Take texts or histograms of a series."""
        texts = list(record.texts)
        steps = None if record.steps is None else list(record.steps)
        times = None if record.times is None else list(record.times)
        long = [
            place
            for place, text in enumerate(texts)
            if len(text) * 4 > LONGEST_TEXT and len(text.encode("utf-8", "surrogatepass")) > LONGEST_TEXT
        ]
        # From the end, so that the numbers of those that are still to go stay right.
        for place in reversed(long):
            self._target.skip(record.path, record.kind, "the text is longer than 16 MiB")
            for column in (texts, steps, times):
                if column is not None:
                    del column[place]
        contents = fingerprint.of_texts(texts)
        self._take_series(record.path, record.kind, record.part, contents, texts, steps, times, record.shift)

    def take_files(self, record: Files) -> None:
        """Take files of a series."""
        kind = FileSeries.kind
        digests = [self._target.digest(record.path, kind, each) for each in record.files]
        kept = [place for place, digest in enumerate(digests) if digest is not None]
        files = [record.files[place] for place in kept]
        tokens = [
            stored.token(digests[place] or "", each.extension, each.name, each.description)
            for place, each in zip(kept, files, strict=True)
        ]
        steps = None if record.steps is None else [record.steps[place] for place in kept]
        times = None if record.times is None else [record.times[place] for place in kept]
        self._take_series(record.path, kind, record.part, fingerprint.of_texts(tokens), files, steps, times)

    def _take_series(
        self, path: str, kind: str, part: str, contents: Numbers, values: Any, steps: Any, times: Any, shift: Any = None
    ) -> None:
        """Take points of one kind or another: pass over those that the run has, and write the others."""
        place = self._target.place(path, kind)
        if place is None or (self._target.is_second and (part, place) not in self.diverged):
            return
        series = self._series_at(place, kind)
        state = self._part_at(part, place, kind)
        counts = self._target.report.of(kind)
        size = len(contents)
        counts.found += size
        # Counted on all the same, since the ledger's count is of the source.
        if state.is_removed:
            self._target.report.skip(Reason(path, kind, "it was removed in naiad", size, False)) if size else None
            state.count += size
            return
        seconds, milliseconds = self._times(path, times, size)
        wholes, unknown = self._steps(steps, size)
        numbers = fingerprint.of_steps(wholes)
        numbers = np.where(unknown, fingerprint.UNNUMBERED, numbers) if unknown.any() else numbers
        source = actual = fingerprint.of_points(numbers, contents, milliseconds)
        if shift is not None:  # the fingerprint of the source is that of its own times
            seconds = seconds + shift
            milliseconds = fingerprint.milliseconds(seconds)
            actual = fingerprint.of_points(numbers, contents, milliseconds)
        is_new = self._which_are_new((part, place), series, state, source, actual, unknown)
        state.count += size
        state.source = fingerprint.summed([state.source, fingerprint.total(source)])
        fresh = int(np.count_nonzero(is_new))
        if (
            fresh
            and series.exists
            and not series.is_measured
            and series.stocks is None
            and place in self._target.initial
        ):
            series.before = stored.total(self._target.reader, place, kind)[1]
        series.is_measured = series.is_measured or bool(fresh)
        counts.present += size - fresh
        counts.imported += fresh
        if not fresh and series.exists:
            return
        # Chosen before steps are given: a point without one follows the last that is written.
        if fresh < size:
            chosen = np.flatnonzero(is_new)
            values = values[chosen] if isinstance(values, np.ndarray) else [values[each] for each in chosen]
            wholes, unknown, seconds = wholes[chosen], unknown[chosen], seconds[chosen]
            contents, milliseconds = contents[chosen], milliseconds[chosen]
        placed = self._numbered(place, series, wholes, unknown)
        written = fingerprint.total(fingerprint.of_points(fingerprint.of_steps(placed), contents, milliseconds))
        series.written = fingerprint.summed([series.written, written])
        # Sums can be added to: the next import continues from this number without reading the series.
        state.store = fingerprint.summed([state.store, written])
        self._target.is_changed = True
        self._write_series(path, place, series, values, placed, seconds)

    def _which_are_new(
        self, name: tuple[str, str], series: _Series, state: _Part, source: Numbers, actual: Numbers, unknown: Any
    ) -> Any:
        """Return which points are to be written."""
        size = len(source)
        if state.known is not None and not self._target.is_second:
            # The ledger has a count and one sum, not the points: as many of the source's first points must give that
            # sum, else the series is compared point by point.
            left = state.known.count - state.count
            if 0 <= left <= size and name not in self.diverged:
                head = fingerprint.summed([state.source, fingerprint.total(source[:left])])
                if head != state.known.source:
                    self.diverged.add(name)
            return np.zeros(size, bool) if name in self.diverged else np.arange(size) >= left
        if series.stocks is None:
            return np.ones(size, bool)
        full, loose = series.stocks
        is_there = np.zeros(size, bool)
        is_there[~unknown] = full.take(actual[~unknown])
        is_there[unknown] = loose.take(actual[unknown])
        return ~is_there

    def _series_at(self, place: str, kind: str) -> _Series:
        known = self._series.get(place)
        if known is None:
            exists = place in self._target.kinds and not self._target.is_new
            known = self._series[place] = _Series(kind, exists)
            if not exists:
                known.last = -1
        return known

    def _part_at(self, part: str, place: str, kind: str) -> _Part:
        state = self._parts.get((part, place))
        if state is None:
            entry = self._target.ledger.entries.get((part, place))
            state = self._parts[part, place] = _Part(kind, entry)
            if entry is not None:
                state.store = entry.store
            series = self._series[place]
            if not any(each != part and each_place == place for each, each_place in self._parts):
                self._target.report.of(kind).fields += 1
            is_imported = entry is not None or (not self._target.is_new and self._target.ledger.is_imported(place))
            state.is_removed = is_imported and not series.exists and not series.written
            if series.exists and entry is None and series.stocks is None:
                series.stocks, series.before = self._stocks(place, kind)
        return state

    def _times(self, path: str, times: Any, size: int) -> tuple[Any, Any]:
        """Return times in seconds and in milliseconds. A point without a time gets that of the run's begin."""
        if times is None:
            seconds = np.full(size, self._target.default_time)
        else:
            if not isinstance(times, np.ndarray):
                times = [math.nan if each is None else each for each in times]
            seconds = np.asarray(times, np.float64)
            with np.errstate(invalid="ignore"):
                is_bad = ~((seconds > EARLIEST) & (seconds < LATEST))
            if is_bad.any():
                self._target.report.note(
                    f'"{path}": {int(is_bad.sum()):,} points have no time; they got the time of the run.'
                )
                seconds = np.where(is_bad, self._target.default_time, seconds)
        return seconds, fingerprint.milliseconds(seconds)

    def _steps(self, steps: Any, size: int) -> tuple[Any, Any]:
        """Return steps as an array, and which of them are unknown."""
        if steps is None:
            return np.zeros(size), np.ones(size, bool)
        if isinstance(steps, np.ndarray) and steps.dtype.kind in "iu":
            return steps, np.zeros(size, bool)
        if not isinstance(steps, np.ndarray):
            # One mark for both kinds of unknown steps, absent and not a number.
            listed = [math.nan if each is None else each for each in steps]
            if all(type(each) is int and -LARGEST <= each <= LARGEST for each in listed):
                return np.array(listed, np.int64), np.zeros(size, bool)
            large = any(isinstance(each, int) and abs(each) > 1 << 53 for each in listed)
            steps = np.array(listed, object) if large else np.array(listed, np.float64)
            if large:
                unknown = np.array([isinstance(each, float) and not math.isfinite(each) for each in listed])
                exact = [
                    each if isinstance(each, int) and abs(each) <= LARGEST else 0.0 if bad else float(each)
                    for each, bad in zip(listed, unknown, strict=True)
                ]
                return np.array(exact, object), unknown
        steps = np.asarray(steps, np.float64)
        unknown = ~np.isfinite(steps)
        if unknown.any():
            steps = np.where(unknown, 0.0, steps)
        return steps, unknown

    def _numbered(self, place: str, series: _Series, steps: Any, unknown: Any) -> Any:
        """Return a step for each point; those without one follow the one before."""
        if not len(steps):
            return steps
        if not unknown.any():
            series.last = math.floor(float(steps[-1])) if steps.dtype.kind == "f" else math.floor(steps[-1])
            return steps
        if series.last is None:
            found = self._target.reader.last(place, series.kind)
            series.last = -1 if found is None else math.floor(found.step)
        if unknown.all():
            first, series.last = series.last + 1, series.last + len(steps)
            return np.arange(first, series.last + 1, dtype=np.int64)
        placed: list[int | float] = []
        for step, is_unknown in zip(steps.tolist(), unknown.tolist(), strict=True):
            # Down, so that the next one without a step comes behind a fractional one, and not with it.
            series.last = series.last + 1 if is_unknown else math.floor(step)
            placed.append(series.last if is_unknown else step)
        return np.array(placed, np.float64 if steps.dtype.kind != "O" else object)

    def _write_series(self, path: str, place: str, series: _Series, values: Any, steps: Any, seconds: Any) -> None:
        is_there, series.exists = place in self._target.kinds, True
        self._target.define(place, series.kind)
        if self._target.is_dry:
            return
        # Numbers go to segments without an op, 32 bytes each; all else is ops, of bounded size because a fold takes
        # an op whole.
        if series.kind == POINTS:
            self._write_points(place, series, np.asarray(values, np.float64), _whole(steps), seconds)
            return
        places, times = _whole(steps).tolist(), seconds.tolist()
        if not len(values):
            if not is_there:
                self._target.write(Change(place, series.kind, (Strings(place, [], [], [], False, kind=series.kind),)))
            return
        content: list[str] = []
        texts: Sequence[Any] = values
        if KINDS[series.kind].keeps:
            refs = [self._target.ingested(path, series.kind, each) for each in values]
            kept = [number for number, ref in enumerate(refs) if ref is not None]
            places, times = [places[number] for number in kept], [times[number] for number in kept]
            found = [ref for ref in refs if ref is not None]
            texts, content = [ref.to_text() for ref in found], incoming(found)
        for start, end in _pieces(texts):
            packed = [scalars.pack_text(text) for text in texts[start:end]]
            op = Strings(place, packed, places[start:end], times[start:end], False, kind=series.kind)
            self._target.write(Change(place, series.kind, (op,), content=tuple(content)))
            # Named once: the content is kept from the first op that refers to it.
            content = []
            self._target.flush()

    def _write_points(self, place: str, series: _Series, values: Any, steps: Any, times: Any) -> None:
        # They wait for those of other series, so that the define ops of all of them are one frame: of a dump with
        # short series each frame took longer than the points.
        for start in range(0, len(values), MOST_POINTS):
            end = start + MOST_POINTS
            columns = PointColumns(values[start:end], steps[start:end], times[start:end])
            self._waiting.append((place, series, columns))
            self._points_waiting += len(columns.values)
            if self._points_waiting >= MOST_POINTS:
                self.flush()
        if not len(values):
            self._waiting.append((place, series, PointColumns(values, steps, times)))

    def flush(self) -> None:
        """Write the points that wait."""
        waiting, self._waiting, self._points_waiting = self._waiting, [], 0
        # A number is bound once in each session of a writer; the define op must be written before the first point
        # with it.
        new = {place: series for place, series, _columns in waiting if not series.number}
        if new:
            self._target.flush()
            empty = PointColumns([], [], [])
            defines = [Change(place, POINTS, (Define(0, place, False),), empty) for place in new]
            for series, written in zip(new.values(), self._target.writer.write(defines), strict=True):
                series.number = written.number
        block: list[tuple[int, PointColumns]] = []
        for _place, series, columns in waiting:
            steps: Any = columns.steps
            if steps.dtype.kind != "O":
                block.append((series.number, columns))
                continue
            # Fractions beside integers that float64 cannot hold: each step has a type of its own. What came before is
            # written first, since equal steps keep their order.
            self._write_block(block)
            block = []
            arrays: Iterable[Any] = columns
            self._target.writer.points(series.number, *(column.tolist() for column in arrays))
        self._write_block(block)

    def _write_block(self, block: list[tuple[int, PointColumns]]) -> None:
        if block:
            self._target.writer.point_block(block)

    def _stocks(self, place: str, kind: str) -> tuple[tuple[Stock, Stock], int]:
        self.flush()
        full, loose, total = stored.stocks(self._target.reader, place, kind)
        return (full, loose), total

    def begin_second_pass(self) -> bool:
        """Begin to take the diverged series once more, now point by point; False if there are none."""
        for (part, place), state in self._parts.items():
            if state.known is not None and state.count < state.known.count and not state.is_removed:
                self.diverged.add((part, place))
        for part, place in self.diverged:
            old = self._parts[part, place]
            counts = self._target.report.of(old.kind)
            # The first pass has counted them, and the second will again.
            counts.found -= old.count
            counts.present -= old.count
            old.count = old.source = 0
            series = self._series[place]
            if series.stocks is None:
                series.stocks, series.before = self._stocks(place, old.kind)
        self._target.is_second = bool(self.diverged)
        return self._target.is_second

    def note_entries(self) -> None:
        """Write their entries to the ledger."""
        for (part, place), state in self._parts.items():
            if state.is_removed or (state.known is not None and state.count < state.known.count):
                continue  # a source that has lost points: the next time it may have them again
            series = self._series[place]
            if series.stocks is not None:  # its points were matched one by one: it has what the others do not have
                others = [e.store for (p, at), e in self._target.ledger.entries.items() if at == place and p != part]
                state.store = (series.before + series.written - sum(others)) & fingerprint.MASK
            self._target.ledger.entries[part, place] = Entry(state.kind, state.count, state.source, state.store)

    def expected(self) -> Iterable[tuple[str, int, bool]]:
        """Yield each place, its fingerprint, and whether it can only differ by a fault: this import has written it."""
        for place, series in self._series.items():
            if any(at == place and state.is_removed for (_part, at), state in self._parts.items()):
                continue
            if place not in self._target.initial:
                yield place, series.written, True
            elif series.is_measured:
                yield place, fingerprint.summed([series.before, series.written]), True
            else:
                stores = [each.store for (_part, at), each in self._target.ledger.entries.items() if at == place]
                yield place, fingerprint.summed(stores), False


def _whole(steps: Any) -> Any:
    """Return steps as integers, if all of them are whole and exact."""
    if steps.dtype.kind == "f" and bool(np.all((np.floor(steps) == steps) & (np.abs(steps) < 2.0**53))):
        return steps.astype(np.int64)
    return steps


def _pieces(texts: Sequence[Any]) -> Iterable[tuple[int, int]]:
    """Yield the bounds of pieces that one op each can hold."""
    start, size = 0, 0
    for place, text in enumerate(texts):
        # Bytes of an op are about its characters; the limit is far below what a frame may hold.
        size += len(text)
        if place + 1 - start >= MOST_TEXTS or size >= MOST_BYTES:
            yield start, place + 1
            start, size = place + 1, 0
    if start < len(texts):
        yield start, len(texts)
