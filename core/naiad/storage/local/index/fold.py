"""The fold: journal into index, exactly once.

Everything happens in one transaction of the index: the chunks, the states of the fields and how far each journal file
has been read. A fold that dies half way has not happened; one that is repeated finds its positions and adds nothing.
Records are read before ops, so every field number that a record carries is already defined. Only what a server receives
may arrive the other way round: such records wait for their definition (`_defined`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from naiad.errors import DamagedData, StorageError
from naiad.kinds import POINTS
from naiad.ops import Frame
from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_HEADER
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.new_index import new_index
from naiad.storage.local.index.parts import PACK_BELOW, add_chunks, add_packs, fold_lines, fold_texts
from naiad.storage.local.index.points import (
    Columns,
    Ints,
    facts_of,
    from_records,
    is_after,
    ordered,
    split_exact,
)
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.rows import Changes, Head
from naiad.storage.local.index.series import left_points, left_texts
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.journal.coverage import Coverage, read_coverage
from naiad.storage.local.journal.files import File, Source
from naiad.storage.local.journal.frames import read_ops
from naiad.storage.local.journal.records import RECORD_TYPE, Records, read_records
from naiad.storage.local.journal.sums import FileCover
from naiad.storage.local.layout import RunDirectory
from naiad.storage.results import Damage, Shadowed
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import open_for_reading, open_for_writing

MOST_NARROW = 65_535
"""Up to here numpy sorts numbers by their digits, several times as fast as by comparing them."""
Flags = npt.NDArray[np.bool_]
Covers = dict[str, FileCover]


class _Folded(Struct, Generic[File]):
    """One fold that is done."""

    projection: Projection
    head: Head
    before: dict[str, tuple[int, bool]]
    positions: dict[str, tuple[int, bool]]
    done: list[File]


class Fold:
    """Folds one run again and again, and remembers its projection in between."""

    def __init__(self, folder: RunDirectory) -> None:
        self._folder = folder
        self._index: Index | None = None
        self._projection: Projection | None = None
        self._folds = -1
        self.head = Head()
        self.positions: dict[str, tuple[int, bool]] = {}
        """How many bytes of each journal file the last fold left in the index, and whether that is all of it."""
        self.finished: set[str] = set()
        """The files folded to their end here. Another process may have done so too, for a writer it took for dead."""

    def fold(self, sources: Iterable[Source[File]]) -> list[File]:
        """Fold the sources into the index; return the files that are folded whole and may be removed.

        Raises:
            StorageError: the disk or the index reports an error; nothing was changed.
            DamagedData: the index is damaged, and nothing is folded into it until it is repaired.
        """
        try:
            return self._fold(list(sources))
        except sqlite3.Error as error:
            # SQLite has no errno of the system; the message is the only sign of a full disk, and of another process
            # that has it locked, for which other warnings are given.
            number = errno.ENOSPC if "full" in str(error) else errno.EBUSY if "locked" in str(error) else errno.EIO
            raise StorageError(f"SQLite cannot write its index {self._folder.index}: {error}", errno=number) from error

    def _fold(self, sources: list[Source[File]]) -> list[File]:
        # Before the transaction, and before the journal is read: sums promise bytes that are there by then.
        coverage = Coverage() if self._folder.seal.exists() else read_coverage(self._folder)
        if self._is_first():
            self._index = self._projection = None
            with contextlib.suppress(FileExistsError):  # another process has made one meanwhile
                with new_index(self._folder) as index:
                    folded = self._put_into(index, None, sources, coverage)
                return self._remember(folded)
        index = self._open()
        projection, self._projection = self._projection, None  # after a failure it is loaded anew
        return self._remember(self._put_into(index, projection, sources, coverage))

    def _put_into(
        self, index: Index, projection: Projection | None, sources: list[Source[File]], coverage: Coverage
    ) -> _Folded[File]:
        # The write lock is taken here. Head and positions are read under it, so that a fold of another process that
        # has just ended is seen, and its bytes are not folded twice.
        with index.snapshot() as connection:
            projection, head, positions = self._load(index, connection, projection)
            changes = Changes()
            read = functools.partial(index.remnant, connection)
            done = _absorb(projection, head, sources, positions, changes, coverage.files, read)
            self._refuse_damage(projection.damages)
            head.is_noted |= bool(coverage.writers)
            index.commit(connection, projection, head, changes)
        return _Folded(projection, head, positions, changes.positions, done)

    def _remember(self, folded: _Folded[File]) -> list[File]:
        """Take over the state of the index, only after the commit: a failed fold leaves marks in its projection."""
        folded.projection.touched.clear()
        folded.projection.touched_writers.clear()
        self._projection, self._folds = folded.projection, folded.head.folds
        self.head = folded.head
        self.positions = {**folded.before, **folded.positions}
        self.finished.update(name for name, (_upto, is_done) in folded.positions.items() if is_done)
        return folded.done

    @property
    def counts(self) -> tuple[int, int, int]:
        """Folds, points and fields of the index after the last fold."""
        return self.head.folds, self.head.points, self.head.fields

    def shadowed(self, writer: str) -> list[Shadowed]:
        """The fields with something of this writer in them that are kept but not shown, after a fold."""
        projection = self._projection
        if projection is None or not projection.hidden():
            return []
        own = {(state.path, state.kind) for _number, state in projection.known_series(projection.writers[writer])}
        own |= {(state.path, state.kind) for state in projection.states() if state.writer == writer}
        return [each for each in projection.shadowed() if (each.path, each.kind) in own]

    def known_positions(self) -> dict[str, tuple[int, bool]]:
        """Return the folded position of each journal file, and whether that is its end.

        Raises:
            StorageError: the disk or the index reports an error.
        """
        try:
            # For reading alone: a connection that may write changes the first page of the file, which may be sealed.
            index = self._index or Index(self._folder, open_for_reading(self._folder.index, is_final=False))
            with index.view() as connection:
                return index.positions(connection, [])
        except sqlite3.Error as error:
            raise StorageError(
                f"SQLite cannot read its index {self._folder.index}: {error}", errno=errno.EIO
            ) from error

    def forget(self) -> None:
        """Forget the remembered projection."""
        self._projection = None

    def _is_first(self) -> bool:
        """Whether the run has no index yet."""
        return not self._folder.index.exists()

    def _open(self) -> Index:
        if self._index is None:
            self._index = Index(self._folder, open_for_writing(self._folder.index))
        return self._index

    def _load(
        self, index: Index, connection: Connection, projection: Projection | None
    ) -> tuple[Projection, Head, dict[str, tuple[int, bool]]]:
        head = index.head(connection)
        # No other process has changed the index since: the projection in memory is that of the index, and loading
        # 10,000 fields is saved.
        if projection is not None and head.folds == self._folds:
            return projection, head, index.positions(connection, [])
        projection, head, positions, damages = index.load(connection)
        self._refuse_damage(damages)
        return projection, head, positions

    def _refuse_damage(self, damages: list[Damage]) -> None:
        if damages:
            raise DamagedData(
                f"The index {self._folder.index} is damaged ({damages[0].what}), so nothing is folded into it.",
                file=str(self._folder.index), offset=0, what=damages[0].what,
            )  # fmt: skip


def _absorb(
    projection: Projection,
    head: Head,
    sources: list[Source[File]],
    positions: dict[str, tuple[int, bool]],
    changes: Changes,
    covers: Covers,
    read: Callable[[FieldState], tuple[list[Any], list[Any]]],
) -> list[File]:
    unfinished = [source for source in sources if not positions.get(source.file.name, (0, False))[1]]
    parts = _read(unfinished, positions, covers)
    # Ops before points: a number that records carry may be defined by a frame of this very fold.
    projection.apply_all((part.source.file.writer, frame) for part in parts for frame in part.frames)
    parts = [*_defined(projection, parts)]
    records = [(part.source.file, part.records) for part in parts if part.records is not None]
    for part in parts:
        is_done = part.source.is_final and not part.is_cut
        if is_done or part.upto > part.start:
            changes.positions[part.source.file.name] = (part.upto, is_done)
    # A deletion that arrived late took points that are in chunks already. They are rewritten before new points are
    # added behind them.
    for state in list(projection.uncertain.values()):
        _settle(projection, head, state, read(state), changes)
    records.sort(key=lambda item: (item[0].writer, item[0].number))
    fold_points(projection, head, [(file.writer, part) for file, part in records if len(part)], changes)
    # Without a call for each of 100,000 series, of which there is nothing to do any more.
    for state in projection.touched.values():
        if not state.id and (state.retired_at is None or state.kind == POINTS):
            _give_id(state, head, changes)
        if state.texts:
            fold_texts(state, changes)
        if state.lines:
            fold_lines(state, changes)
    done = {name for name, (_upto, is_done) in {**positions, **changes.positions}.items() if is_done}
    return [source.file for source in sources if source.file.name in done]


class _Part(Struct, frozen=True):
    """The unfolded part of one file: records of a segment, frames of an ops file."""

    source: Source[Any]  # of any place: a part is read
    start: int
    upto: int
    size: int
    damages: list[Damage]
    records: Records | None = None
    frames: Sequence[Frame] = ()
    is_cut: bool = False
    """Whether its other records wait for the ops that define their numbers."""


def _read(sources: list[Source[Any]], positions: dict[str, tuple[int, bool]], covers: Covers) -> list[_Part]:
    """Read the unfolded parts, segments first, so that their numbers are defined in the ops read later.

    Of a writer with a damaged file nothing is taken: the rest is still whole there, and the damage stays to be seen.
    """
    segments = sorted((one for one in sources if one.file.suffix == "seg"), key=_order)
    ops = [one for one in sources if one.file.suffix == "ops"]
    parts = [*_read_segments(segments, positions, covers), *_each(ops, positions, covers, _read_ops)]
    damaged = {part.source.file.writer for part in parts if part.damages}
    return [part for part in parts if part.source.file.writer not in damaged]


def _defined(projection: Projection, parts: list[_Part]) -> Iterator[_Part]:
    """Yield the parts; the points of a writer whose ops may still come, up to the first without a definition.

    A client should send ops before points. Points of one that does not would otherwise belong to nothing, and be lost.
    """
    waiting: set[str] = set()
    for part in parts:
        writer = part.source.file.writer
        if part.records is None or not part.source.is_awaited:
            yield part
            continue
        if writer in waiting:
            continue  # a late record must not be overtaken
        known = len(projection.writer_of(writer).fields)
        beyond = np.flatnonzero((part.records["fid"] & np.uint32(FLOAT_STEP - 1)) > known)
        if len(beyond):
            waiting.add(writer)
            first = int(beyond[0])
            # The commit word of a record is its offset.
            upto = int(part.records["commit"][first])
            yield msgspec.structs.replace(part, records=part.records[:first], upto=upto, is_cut=True)
        else:
            yield part


def _order(source: Source[Any]) -> tuple[str, int]:
    """Sort the files of a writer as it wrote them."""
    return source.file.writer, source.file.number


def _read_segments(
    sources: list[Source[Any]], positions: dict[str, tuple[int, bool]], covers: Covers
) -> Iterator[_Part]:
    """The new records of each segment, of each writer up to the first hole in a segment that may still be written.

    Records after the hole wait, in later segments too: a late record must neither be passed over nor be overtaken.
    """
    held: set[str] = set()
    for part in _each(sources, positions, covers, _read_segment):
        writer, is_final = part.source.file.writer, part.source.is_final
        if writer not in held:
            yield part
        if not is_final and part.upto + RECORD <= part.size:
            held.add(writer)


def _each(
    sources: list[Source[Any]],
    positions: dict[str, tuple[int, bool]],
    covers: Covers,
    read: Callable[[Source[Any], int, FileCover | None], _Part],
) -> Iterator[_Part]:
    for source in sources:
        with contextlib.suppress(FileNotFoundError):  # another process has folded it
            name = source.file.name
            yield read(source, positions.get(name, (0, False))[0], covers.get(name))


def _read_segment(source: Source[Any], start: int, cover: FileCover | None) -> _Part:
    with source.file.open() as stream:
        size = stream.seek(0, os.SEEK_END)
    records, upto, damages = read_records(source.file, start, cover=cover)
    start = max(start, SEGMENT_HEADER)
    # No thread can fill a hole in a final file, so all behind it counts. Else the records behind it wait for the next
    # fold.
    known = records if source.is_final else records[: (upto - start) // RECORD]
    return _Part(source, start, upto, size, damages, known)


def _read_ops(source: Source[Any], start: int, cover: FileCover | None) -> _Part:
    frames, upto, damages = read_ops(source.file, start, cover=cover)
    return _Part(source, start, upto, upto, damages, frames=frames)


def fold_points(projection: Projection, head: Head, records: list[tuple[str, Records]], changes: Changes) -> None:
    """All new points, stably sorted by field, as chunks and packs; each is of one writer, since a deletion may be."""
    pieces: dict[str, list[Records]] = {}
    for writer, piece in records:
        pieces.setdefault(writer, []).append(piece)
    for writer, part in pieces.items():
        states: dict[int, FieldState] = {}
        fields, is_float, raw = _by_field(projection, head, writer, _joined(part), states, changes)
        narrow = fields.astype(np.uint16) if len(fields) and fields.max() <= MOST_NARROW else fields
        # Stable: the points of a field stay in the order of the records, which is the order of arrival.
        order = np.argsort(narrow, kind="stable")
        order = order[np.searchsorted(fields, 1, sorter=order) :]  # 0: the points of deleted fields
        if len(order):
            for rows, points in _with_true_steps(fields[order], is_float[order], raw.take(order)):
                _fold_sorted(states, rows, points, changes, writer)


def _by_field(
    projection: Projection,
    head: Head,
    writer: str,
    records: Records,
    states: dict[int, FieldState],
    changes: Changes,
) -> tuple[Ints, Flags, Columns]:
    """Columns of one writer's records, with the id of the field instead of the writer's own number."""
    numbers, is_float, raw = from_records(records)
    known = projection.writer(writer).fields
    ids = [0] * (len(known) + 1)
    fields = np.minimum(numbers, len(known))  # a number beyond has lost its definition to damage
    fields[numbers > len(known)] = 0
    tombstones, touched = projection.tombstones, projection.touched
    for number in np.flatnonzero(np.bincount(fields)).tolist():
        owner = known[number - 1] if number else None
        state = owner if owner.__class__ is FieldState else projection.owner_of(writer, number)
        # Only at paths where something was deleted do the times of points matter; everywhere else a number means its
        # field.
        if tombstones and state is not None and state.path in tombstones:
            state, since = projection.meaning(writer, number)
            if state is not None and since > -math.inf:
                is_late = (fields == number) & is_after(records["time"], since)
                fields[(fields == number) & ~is_late] = 0
                if is_late.any():
                    projection.revive_after_deletion(state, writer)
                else:
                    state = None
        if state is not None:
            touched[id(state)] = state  # as `touch` does, which 100,000 series would call
            if not state.id:
                _give_id(state, head, changes)
            ids[number] = state.id
            states[state.id] = state
    return np.array(ids)[fields], is_float, raw


def _joined(pieces: list[Records]) -> Records:
    if len(pieces) == 1:
        return pieces[0]
    whole: Records = np.concatenate(
        [piece.view(f"V{RECORD}") for piece in pieces]
    )  # by fields it takes ten times as long
    return whole.view(RECORD_TYPE)


def _give_id(state: FieldState, head: Head, changes: Changes) -> None:
    if not state.id:
        state.id = head.next_field
        head.next_field += 1
        changes.new_fields.append(state)


def _with_true_steps(fields: Ints, is_float: Flags, raw: Columns) -> Iterator[tuple[Ints, Columns]]:
    """Integer steps and fractional ones apart, by field: a block has steps of one type."""
    if not is_float.any():
        yield fields, raw
        return
    in_float_group = np.isin(fields, np.unique(fields[is_float]))
    if not in_float_group.all():
        yield fields[~in_float_group], raw.take(~in_float_group)
    for field in np.unique(fields[in_float_group]).tolist():
        rows = fields == field
        for part in split_exact(raw.take(rows), is_float[rows]):
            yield np.full(len(part.values), field), part


def _settle(
    projection: Projection, head: Head, state: FieldState, pieces: tuple[list[Any], list[Any]], changes: Changes
) -> None:
    """Rewrite the rest of a series after a deletion that arrived late."""
    left: dict[str, list[Columns]] = {}
    if state.kind == POINTS:
        left = left_points(state, *pieces, _refusal)
    else:
        state.texts = left_texts(state, pieces[0], _refusal)
    state.remnant = None
    projection.settle(state, [*left, *state.texts])
    if left or state.texts:
        _give_id(state, head, changes)
    for writer, parts in left.items():
        for part in parts:
            state.add_points(writer, *facts_of(part))
            add_chunks(state, part, changes, writer)


def _fold_sorted(states: dict[int, FieldState], fields: Ints, points: Columns, changes: Changes, writer: str) -> None:
    starts = np.flatnonzero(np.concatenate(([True], fields[1:] != fields[:-1])))
    bounds = np.append(starts, len(fields))
    points = _ordered_within(points, starts, bounds)
    ids = fields[starts]
    _count(states, ids, bounds, points, writer)
    sizes = np.diff(bounds)
    for i in np.flatnonzero(sizes >= PACK_BELOW).tolist():
        add_chunks(states[int(ids[i])], points.take(slice(int(bounds[i]), int(bounds[i + 1]))), changes, writer)
    is_short = np.repeat(sizes < PACK_BELOW, sizes)
    if is_short.any():
        add_packs(fields[is_short], points.take(is_short), changes)
        for field in ids[sizes < PACK_BELOW].tolist():
            state = states[field]
            if state.shared is None:
                state.pieces += 1
            else:
                state.add_piece(writer)
    changes.points += len(fields)


def _ordered_within(points: Columns, starts: Ints, bounds: Ints) -> Columns:
    """Each group by step. Groups that already are, nearly all, are left alone."""
    descents = np.flatnonzero(points.steps[1:] < points.steps[:-1]) + 1
    descents = descents[~np.isin(descents, starts)]
    for group in np.unique(np.searchsorted(bounds, descents, side="right") - 1).tolist():
        rows = slice(int(bounds[group]), int(bounds[group + 1]))
        for column, right in zip(points, ordered(points.take(rows)), strict=True):
            column[rows] = right
    return points


def _count(states: dict[int, FieldState], ids: Ints, bounds: Ints, points: Columns, writer: str) -> None:
    """Bring the facts of each series up to date."""
    starts, ends = bounds[:-1], bounds[1:] - 1
    values = points.values
    finite = np.isfinite(values)
    numbers = np.where(finite, values, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        counts, totals = np.add.reduceat(finite, starts, dtype=np.int64), np.add.reduceat(numbers, starts)
        # The sum of squares is taken around the mean of this part: around zero, the variance of large values that lie
        # close together would be lost to rounding.
        numbers -= np.repeat(totals / np.maximum(counts, 1), np.diff(bounds))
        columns = (
            ids,
            np.diff(bounds),
            counts,
            np.minimum.reduceat(np.where(finite, values, np.inf), starts),
            np.maximum.reduceat(np.where(finite, values, -np.inf), starts),
            totals,
            points.steps[ends],
            values[ends],
            points.times[ends],
            np.add.reduceat(np.where(finite, np.square(numbers), 0.0), starts),
            _last_ranks(points, starts, ends),
        )
    # `tolist` gives Python numbers, which are faster one by one than scalars of NumPy, and are what the rows hold.
    for field, *facts in zip(*(column.tolist() for column in columns), strict=True):
        state = states[field]
        if state.shared is None and state.writer == writer:
            state.series.add(*facts)
        else:
            state.add_points(writer, *facts)


def _last_ranks(points: Columns, starts: Ints, ends: Ints) -> Ints:
    """The latest time among the points of the last step of each group; nearly always the one point there is."""
    ranks = points.times[ends]
    steps = points.steps
    for i in np.flatnonzero((ends > starts) & (steps[np.maximum(ends - 1, 0)] == steps[ends])).tolist():
        rows = slice(int(starts[i]), int(ends[i]) + 1)
        ranks[i] = points.times[rows][steps[rows] == steps[ends[i]]].max()
    return ranks


def _refusal(path: str, file: str, what: str) -> DamagedData:
    return DamagedData(f'"{path}" is damaged in {file} ({what}).', file=file, offset=0, what=what)
