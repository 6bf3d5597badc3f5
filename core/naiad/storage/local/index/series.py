"""Reading one series: its chunks, its share of the packs and the tail of the journal, into columns ordered by step."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy import typing as npt

from naiad.errors import DamagedData
from naiad.integers import EXACT
from naiad.storage.base import FLOAT_STEP, Damage
from naiad.storage.local.index.codec import decode_pack, decode_points, decode_texts, read_header
from naiad.storage.local.index.columns import ChunkDamaged
from naiad.storage.local.index.points import (
    Columns,
    Ints,
    Numbers,
    Reals,
    as_bytes,
    from_records,
    is_after,
    join,
    merged,
    ordered,
    split_exact,
)
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.pyramid import BUCKET, decode_pyramid
from naiad.storage.local.index.rows import FIELD_SHIFT, is_whole_chunk
from naiad.storage.local.index.states import FieldState, Last, Remnant, Series, Shared, TextPoint, copy_facts
from naiad.storage.local.journal.files import FileCover, JournalFile
from naiad.storage.local.journal.log_file import SEGMENT_HEADER
from naiad.storage.local.journal.records import NOBODY, Records, read_records

INDEX = "run.db"
DECODED_PER_BUCKET = BUCKET
"""A chart whose buckets would hold fewer points than this is drawn from the points themselves."""

Refusal = Callable[[str, str, str], DamagedData]
Part = tuple[str, Columns]
"""Points of one writer, in its order."""
TextRow = tuple[int | float, int, bytes]
Facts = tuple[int, int, float, float, float, int | float, float, int, float, int]
Heights = tuple[Reals, Reals, Reals, Reals, Ints]
Binding = tuple[str, int, float]
"""A writer, a number of its records, and the time from which on they belong to a field."""


class Tail:
    """The records of all journal files, as far as they are not in the index; grows with the files.

    Of a sealed run, `bad` are the damaged blocks of each segment, and `sealed` its number of records by field number.
    """

    def __init__(
        self,
        folded: dict[str, tuple[int, bool]],
        bad: dict[str, list[int]] | None = None,
        sealed: dict[str, dict[int, int]] | None = None,
    ) -> None:
        self._folded = folded
        self._bad = bad or {}
        self._sealed = sealed or {}
        self._upto: dict[str, int] = {}
        self._whole: dict[str, list[Records]] = {}  # without a hole before them: never read again
        self._now: dict[str, Records] = {}  # everything there is
        self._damaged: dict[str, list[Damage]] = {}  # by place
        self._files: list[JournalFile] = []
        self._numbers: tuple[int, dict[int, list[Binding]]] = (-1, {})

    def update(
        self, files: list[JournalFile], covers: Mapping[str, FileCover], missing: Mapping[str, Damage]
    ) -> list[Damage]:
        """Read the records appended since, and return the damage. `missing` are files that must exist.

        Raises:
            FileNotFoundError: one of them was folded meanwhile.
        """
        found = []
        self._files = files
        for file in reversed(files):  # the oldest last: what is added meanwhile then never leaves a gap before it
            start = self._upto.get(file.name, self._folded.get(file.name, (SEGMENT_HEADER, False))[0])
            records, upto, damages = read_records(file, start, self._bad.get(file.place, ()), covers.get(file.name))
            whole = self._whole.setdefault(file.name, [])
            count = (upto - max(start, SEGMENT_HEADER)) // records.itemsize
            if count:
                whole.append(records[:count])
            before = self._now.get(file.name)
            if before is None or len(records) or len(before) > sum(map(len, whole)):
                self._now[file.name] = (
                    np.concatenate([*whole, records[count:]]) if len(whole) != 1 or len(records) > count else whole[0]
                )
            self._upto[file.name] = upto
            if file.place not in self._bad:  # else the seal has said it before
                found += damages
            self._blame(damages)
        gone = self._sealed.keys() - {file.place for file in files}
        self._blame([Damage(place, "it is missing") for place in gone])
        self._blame([damage for name, damage in missing.items() if name.endswith(".seg")])
        return found

    def _blame(self, damages: Iterable[Damage]) -> None:
        for damage in damages:
            if damage.numbers != NOBODY:
                known = self._damaged.setdefault(damage.file, [])
                if damage not in known:
                    known.append(damage)

    def damage_of(self, projection: Projection, state: FieldState) -> Damage | None:
        """Return the damage of a file that has lost, or may have lost, points of this field."""
        if not self._damaged:
            return None
        bindings = self._bindings(projection).get(id(state), [])
        damages = (damage for its_own in self._damaged.values() for damage in its_own)
        return next((damage for damage in damages if self._lost(damage, bindings)), None)

    def _lost(self, damage: Damage, bindings: list[Binding]) -> bool:
        place = damage.file
        name = place.rpartition("/")[2]
        numbers = [number for writer, number, _since in bindings if name.startswith(writer + ".")]
        records = self._now.get(name)
        if place not in self._sealed or (records is not None and place not in self._bad):
            low, high = damage.numbers or (0, FLOAT_STEP)  # the segment's own crc fails, which does not tell where
            return any(low <= number <= high for number in numbers)
        fids = np.empty(0, np.uint32) if records is None else records["fid"] & np.uint32(FLOAT_STEP - 1)
        return any(int((fids == number).sum()) != self._sealed[place].get(number, 0) for number in numbers)

    def of(self, projection: Projection, state: FieldState) -> list[Part]:
        """The points of one field, by writer and in the order in which each wrote them."""
        bindings: dict[str, list[Binding]] = {}
        for binding in self._bindings(projection).get(id(state), []):
            bindings.setdefault(binding[0], []).append(binding)
        parts = []
        for file in sorted(self._files):
            if file.writer in bindings:
                parts += [(file.writer, part) for part in self._select(file, bindings[file.writer])]
        return parts

    def owners(self, projection: Projection) -> set[int]:
        """The field states that may have points here, or may have lost some, by their identity."""
        if self._damaged:
            return {id(state) for state in projection.states()}
        numbers: dict[str, set[int]] = {}
        for file in self._files:
            fids = np.unique(self._now[file.name]["fid"] & np.uint32(FLOAT_STEP - 1))
            numbers.setdefault(file.writer, set()).update(fids.tolist())
        return {
            state
            for state, bindings in self._bindings(projection).items()
            if any(number in numbers.get(writer, ()) for writer, number, _since in bindings)
        }

    def has_since(self, writer: str, number: int, since: float) -> bool:
        """Whether a writer has appended with a number since then."""
        binding = (writer, number, since)
        return any(file.writer == writer and self._rows(file, [binding]).any() for file in self._files)

    def _select(self, file: JournalFile, bindings: list[Binding]) -> list[Columns]:
        rows = self._rows(file, bindings)
        if not rows.any():
            return []
        _numbers, is_float, raw = from_records(self._now[file.name][rows])
        return split_exact(raw, is_float)

    def _rows(self, file: JournalFile, bindings: list[Binding]) -> npt.NDArray[np.bool_]:
        records = self._now[file.name]
        fids = records["fid"] & np.uint32(FLOAT_STEP - 1)
        rows = np.zeros(len(fids), np.bool_)
        for _writer, number, since in bindings:
            rows |= fids == number if since == -math.inf else (fids == number) & is_after(records["time"], since)
        return rows

    def _bindings(self, projection: Projection) -> dict[int, list[Binding]]:
        """Which numbers of which writers mean a field state, by its identity."""
        if self._numbers[0] != projection.version:
            found: dict[int, list[Binding]] = {}
            for writer in projection.writers.values():
                for number, state in enumerate(writer.fields, 1):
                    since = -math.inf
                    if state is not None and state.path in projection.tombstones:
                        state, since = projection.meaning(writer.name, number)
                    if state is not None:
                        found.setdefault(id(state), []).append((writer.name, number, since))
            self._numbers = (projection.version, found)
        return self._numbers[1]


def read_shares(state: FieldState, packs: list[Any], refuse: Refusal) -> list[Columns]:
    """Return the points of a float series in packs.

    Raises:
        DamagedData: a pack is not as it was written.
    """
    shares = []
    for row in packs:
        try:
            pack = decode_pack(row.data)
        except ChunkDamaged as error:
            raise refuse(state.path, INDEX, f"pack {row.id}: {error}") from error
        rows = pack.slice_of(state.id)
        if rows.stop > rows.start:
            shares.append(Columns(pack.steps[rows], pack.values[rows], pack.times[rows]))
    return shares


def read_points(
    state: FieldState, chunks: list[Any], shares: list[Columns], tail: list[Part], refuse: Refusal
) -> Columns:
    """All points of a float series, decoded into one array a column: its chunks, its shares of packs, the tail.

    Raises:
        DamagedData: a chunk or a pack is not as it was written, or one is missing.
    """
    headers = [_header(state, row, refuse) for row in chunks]
    in_index = sum(row.count for row in chunks) + sum(len(share.values) for share in shares)
    if in_index != state.series.count or len(chunks) + len(shares) != state.pieces:
        raise refuse(state.path, INDEX, f"{in_index} of its {state.series.count} points are there")
    late = [part for _writer, part in tail]
    total = in_index + sum(len(part.values) for part in late)
    are_integers, is_wide = [h.is_integer for h in headers], any(h.is_wide for h in headers)
    steps = np.empty(total, _step_type(are_integers, is_wide, [*shares, *late]))
    points = Columns(steps, np.empty(total), np.empty(total, np.int64))
    at, ends = 0, []
    for piece in [*as_they_came(chunks, shares), *late]:
        if isinstance(piece, Columns):
            rows = slice(at, at + len(piece.values))
            for column, new in zip(points, piece, strict=True):
                column[rows] = new
        else:
            rows = slice(at, at + piece.count)
            decode_points(piece.data, points.steps[rows], points.values[rows], points.times[rows])
        at = rows.stop
        ends.append(at)
    writers = [*(state.writers_of_pieces() if state.pieces else ()), *(writer for writer, _part in tail)]
    names = sorted(set(writers))
    if len(names) < 2:
        return ordered(points)
    return merged(points, np.repeat([names.index(writer) for writer in writers], np.diff([0, *ends])))


def points_by_writer(state: FieldState, chunks: list[Any], shares: list[Columns]) -> dict[str, list[Columns]]:
    """The decoded pieces of a float series by writer."""
    found: dict[str, list[Columns]] = {}
    for writer, piece in zip(state.writers_of_pieces(), as_they_came(chunks, shares), strict=True):
        found.setdefault(writer, []).append(piece if isinstance(piece, Columns) else decoded(piece.data))
    return found


def decoded(data: bytes) -> Columns:
    """The points of a chunk.

    Raises:
        ChunkDamaged: they are not as they were written.
    """
    header = read_header(data)
    steps: Numbers = np.empty(header.count, np.int64) if header.is_integer else np.empty(header.count)
    points = Columns(steps, np.empty(header.count), np.empty(header.count, np.int64))
    decode_points(data, *points)
    return points


def left_points(state: FieldState, chunks: list[Any], packs: list[Any], refuse: Refusal) -> dict[str, list[Columns]]:
    """The points in the index that a deletion has left of a float series, by writer.

    Raises:
        DamagedData: a chunk or a pack is not as it was written, or one is missing.
    """
    remnant, old = _before(state)
    shares = read_shares(old, packs, refuse)
    read_points(old, chunks, shares, [], refuse)  # to look whether all is there
    left: dict[str, list[Columns]] = {}
    for writer, parts in points_by_writer(old, chunks, shares).items():
        since = remnant.since.get(writer, -math.inf)
        kept = [part.take(_is_left(part.times, since)) for part in parts]
        left[writer] = [part for part in kept if len(part.values)]
    return {writer: parts for writer, parts in left.items() if parts}


def left_texts(state: FieldState, chunks: list[Any], refuse: Refusal) -> dict[str, list[TextPoint]]:
    """Return the entries of a series of texts or files that a deletion leaves.

    Raises:
        DamagedData: a chunk is not as it was written, or one is missing.
    """
    remnant, old = _before(state)
    left: dict[str, list[TextPoint]] = {}
    for writer, rows in texts_by_writer(old, chunks, refuse).items():
        since = remnant.since.get(writer, -math.inf)
        kept = _is_left(np.array([time for _step, time, _text in rows]), since)
        left[writer] = [
            (step, time / 1000, text) for (step, time, text), is_in in zip(rows, kept, strict=True) if is_in
        ]
    for writer, texts in state.texts.items():
        left[writer] = left.get(writer, []) + texts
    return {writer: texts for writer, texts in left.items() if texts}


def _before(state: FieldState) -> tuple[Remnant, FieldState]:
    """Return the remnant of a deletion, and the series as it was in the index."""
    remnant = state.remnant
    assert remnant is not None
    writers = list(dict.fromkeys(remnant.pieces))
    shared = Shared(None, {writer: Last() for writer in writers}, [writers.index(writer) for writer in remnant.pieces])
    pieces = len(remnant.pieces)
    return remnant, FieldState(state.path, state.kind, remnant.id, series=remnant.series, pieces=pieces, shared=shared)


def _is_left(times: Ints, since: float) -> npt.NDArray[np.bool_]:
    """Which of the times in the index, in milliseconds, are later than a deletion."""
    left: npt.NDArray[np.bool_] = times > (since if math.isinf(since) else round(since * 1000))
    return left


def as_they_came(chunks: list[Any], shares: list[Columns]) -> list[Any]:
    """Chunks and shares of packs in the order in which they were folded: a chunk's number counts both."""
    pieces: list[Any] = []
    waiting = deque(shares)
    for row in chunks:
        while waiting and len(pieces) < row.key & ((1 << FIELD_SHIFT) - 1):
            pieces.append(waiting.popleft())
        pieces.append(row)
    return [*pieces, *waiting]


def read_texts(state: FieldState, chunks: list[Any], refuse: Refusal) -> tuple[list[int | float], list[str], list[int]]:
    """All points of a string series.

    Raises:
        DamagedData: a chunk is not as it was written, or one is missing.
    """
    by_writer = texts_by_writer(state, chunks, refuse)
    for writer, waiting in state.tail().items():
        late = [(step, round(time * 1000), as_bytes(text)) for step, time, text in waiting]
        by_writer[writer] = by_writer.get(writer, []) + late
    rows = _merged_texts(by_writer)
    return (
        [row[0] for row in rows],
        [row[2].decode("utf-8", "surrogatepass") for row in rows],
        [row[1] for row in rows],
    )


def texts_by_writer(state: FieldState, chunks: list[Any], refuse: Refusal) -> dict[str, list[TextRow]]:
    """The texts in the index by writer, in the order in which each wrote them.

    Raises:
        DamagedData: a chunk is not as it was written, or one is missing.
    """
    found: dict[str, list[TextRow]] = {}
    pieces = []
    for row in chunks:
        _check(state, row, refuse)
        steps, times, texts = decode_texts(row.data)
        pieces.append([*zip(steps.tolist(), times.tolist(), texts, strict=True)])
    count = sum(map(len, pieces))
    if count != state.series.count or len(chunks) != state.pieces:
        raise refuse(state.path, INDEX, f"{count} of its {state.series.count} texts are there")
    for writer, piece in zip(state.writers_of_pieces(), pieces, strict=True):
        found.setdefault(writer, []).extend(piece)
    return found


def _merged_texts(by_writer: dict[str, list[TextRow]]) -> list[TextRow]:
    """By step; equal steps as `points.merged` has them."""
    if len(by_writer) < 2:
        return sorted((row for rows in by_writer.values() for row in rows), key=lambda row: row[0])
    ranked = []
    for name, rows in by_writer.items():
        latest: dict[int | float, int] = {}
        for row in rows:
            latest[row[0]] = max(row[1], latest.get(row[0], row[1]))
            ranked.append((row[0], latest[row[0]], name, row))
    return [row for *_order, row in sorted(ranked, key=lambda item: item[:3])]


def with_tail(state: FieldState, parts: list[Part]) -> Series:
    """The facts of a float series with points that are not in the index yet."""
    whole = copy_facts(state)
    for writer, part in parts:
        whole.add_points(writer, *facts_of(ordered(part)))
    return whole.series


def facts_of(points: Columns) -> Facts:
    """Return the arguments of `Series.add` for points in order."""
    finite = points.values[np.isfinite(points.values)]
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(finite.sum())
        spread = float(np.square(finite - total / max(len(finite), 1)).sum())
    extremes = (float(finite.min()), float(finite.max()), total) if len(finite) else (0.0, 0.0, 0.0)
    rank = int(points.times[points.steps == points.steps[-1]].max())
    last = (points.steps[-1].item(), float(points.values[-1]), int(points.times[-1]))
    return len(points.values), len(finite), *extremes, *last, spread, rank


def cut(points: Columns, buckets: int) -> Heights:
    """A chart from decoded points."""
    count = len(points.values)
    starts = (
        np.unique(np.linspace(0, count, min(buckets, count), endpoint=False, dtype=np.int64))
        if count
        else np.empty(0, np.int64)
    )
    return _reduce(points.steps[starts].astype(np.float64), *_heights_of(points.values), starts)


def read_heights(state: FieldState, rows: list[Any], tail: list[Part], buckets: int, refuse: Refusal) -> Heights | None:
    """A chart from the pyramids of the chunks alone; None when the series also lies elsewhere or out of order.

    Raises:
        DamagedData: a pyramid is not as it was written.
    """
    if sum(row.count for row in rows) != state.series.count or len(rows) != state.pieces or not rows:
        return None
    try:
        pyramids = [decode_pyramid(row.pyramid or b"") for row in rows]
    except ChunkDamaged as error:
        raise refuse(state.path, INDEX, str(error)) from error
    points = ordered(join([part for _writer, part in tail])) if tail else None
    steps = [np.asarray(one.steps, np.float64) for one in pyramids]
    columns = [[one.minimum, one.maximum, one.total, one.finite] for one in pyramids]
    if points is not None:
        heads = np.arange(0, len(points.values), BUCKET)
        steps.append(points.steps[heads].astype(np.float64))
        columns.append(_bucketed(points.values, heads))
    joined = np.concatenate(steps)
    if bool((joined[1:] < joined[:-1]).any()):
        return None
    low, high, total, finite = (np.concatenate(column) for column in zip(*columns, strict=True))
    starts = np.unique(np.linspace(0, len(joined), min(buckets, len(joined)), endpoint=False, dtype=np.int64))
    return _reduce(joined[starts], _or(low, np.inf), _or(high, -np.inf), total, finite, starts)


def _bucketed(values: Reals, starts: Ints) -> list[npt.NDArray[Any]]:
    low, high, total, finite = _heights_of(values)
    with np.errstate(over="ignore", invalid="ignore"):
        totals = np.add.reduceat(total, starts)
    return [
        np.minimum.reduceat(low, starts),
        np.maximum.reduceat(high, starts),
        totals,
        np.add.reduceat(finite, starts),
    ]


def _heights_of(values: Reals) -> tuple[Reals, Reals, Reals, Ints]:
    finite = np.isfinite(values)
    return (
        np.where(finite, values, np.inf),
        np.where(finite, values, -np.inf),
        np.where(finite, values, 0.0),
        finite.astype(np.int64),
    )


def _reduce(steps: Reals, low: Reals, high: Reals, total: Reals, finite: Ints, starts: Ints) -> Heights:
    if not len(starts):
        return steps, low, high, total, finite
    count = np.add.reduceat(finite, starts)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, np.add.reduceat(total, starts) / count, np.nan)
    lowest = np.where(count > 0, np.minimum.reduceat(low, starts), np.nan)
    highest = np.where(count > 0, np.maximum.reduceat(high, starts), np.nan)
    return steps, lowest, highest, mean, count


def _or(heights: Reals, neutral: float) -> Reals:
    return np.where(np.isnan(heights), neutral, heights)


def _step_type(are_integers: list[bool], is_wide: bool, extra: list[Columns]) -> type[np.float64] | type[np.int64]:
    """float64, the type Neptune gives steps; int64 only where float64 would round one."""
    are_integers = are_integers + [part.steps.dtype == np.int64 for part in extra]
    is_wide = is_wide or any(_is_wide(part.steps) for part in extra)
    return np.int64 if is_wide and all(are_integers) else np.float64


def _is_wide(steps: Numbers) -> bool:
    return steps.dtype == np.int64 and len(steps) > 0 and bool(((steps > EXACT) | (steps < -EXACT)).any())


def _header(state: FieldState, row: Any, refuse: Refusal) -> Any:
    _check(state, row, refuse)
    try:
        return read_header(row.data)
    except ChunkDamaged as error:
        raise refuse(state.path, INDEX, str(error)) from error


def _check(state: FieldState, row: Any, refuse: Refusal) -> None:
    if not is_whole_chunk(row):
        raise refuse(state.path, INDEX, f"chunk {row.key & 0xFFFFFF} fails its crc")
