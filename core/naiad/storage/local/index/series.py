"""Reading one series: its chunks, its share of the packs and the tail of the journal, into columns ordered by step."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import typing as npt

from naiad.errors import DamagedData
from naiad.integers import EXACT
from naiad.storage.local.index.chunk_rows import FIELD_SHIFT, is_whole_chunk
from naiad.storage.local.index.codec import PackedPoints, decode_pack, decode_texts, split_points
from naiad.storage.local.index.columns import ChunkDamaged
from naiad.storage.local.index.points import (
    Columns,
    Ints,
    Numbers,
    Part,
    Reals,
    as_bytes,
    facts_of,
    join,
    merged,
    ordered,
)
from naiad.storage.local.index.pyramid import BUCKET, COARSE, decode_pyramid
from naiad.storage.local.index.states import FieldState, Last, Remnant, Series, Shared, TextPoint

INDEX = "run.db"
DECODED_PER_BUCKET = BUCKET
"""A chart whose buckets would hold fewer points than this is drawn from the points themselves."""
COARSE_PER_BUCKET = BUCKET * COARSE
"""A chart whose buckets hold at least so many points is drawn from coarser pyramids, if there are some."""

Refusal = Callable[[str, str, str], DamagedData]
Hidden = Callable[[str, Any, Any], npt.NDArray[np.bool_]]
"""Which of a writer's points a rewind hides, by their steps and times."""
TextRow = tuple[int | float, int, bytes]
Heights = tuple[Reals, Reals, Reals, Reals, Ints]


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
    state: FieldState,
    chunks: list[Any],
    shares: list[Columns],
    tail: list[Part],
    refuse: Refusal,
    *,
    needs_times: bool = True,
) -> Columns:
    """All points of a float series, decoded into one array a column: its chunks, its shares of packs, the tail.

    The list of chunks is empty afterwards. The times may be 0 unless they are needed.

    Raises:
        DamagedData: a chunk or a pack is not as it was written, or one is missing.
    """
    # All checksums are compared before any array is allocated: damage raises before a gigabyte is taken.
    packed = [packed_points(state, row, refuse) for row in chunks]
    in_index = sum(row.count for row in chunks) + sum(len(share.values) for share in shares)
    # The field row has its own count. A chunk row that a flipped bit has made invisible shows only here.
    if in_index != state.series.count or len(chunks) + len(shares) != state.pieces:
        raise refuse(state.path, INDEX, f"{in_index} of its {state.series.count} points are there")
    late = [part for _writer, part in tail]
    total = in_index + sum(len(part.values) for part in late)
    are_integers, is_wide = [each.steps.is_integer for each in packed], any(each.steps.is_wide for each in packed)
    # One array for the whole series, into which each chunk is unpacked: joining arrays afterwards would take twice
    # the memory.
    steps = np.empty(total, step_type(are_integers, is_wide, [*shares, *late]))
    writers = [*(state.writers_of_pieces() if state.pieces else ()), *(writer for writer, _part in tail)]
    names = sorted(set(writers))
    has_times = needs_times or len(names) > 1  # by which the points of several writers are ordered
    times = np.empty(total, np.int64) if has_times else np.broadcast_to(np.int64(0), total)
    points = Columns(steps, np.empty(total), times)
    pieces = deque([*as_they_came(chunks, shares), *late])
    waiting = deque(packed)
    chunks.clear()
    packed.clear()  # each chunk is freed once it is decoded, so that reading takes little more room than the points
    at, ends = 0, []
    while pieces:
        piece = pieces.popleft()
        if isinstance(piece, Columns):
            rows = slice(at, at + len(piece.values))
            for column, new in list(zip(points, piece, strict=True))[: 3 if has_times else 2]:
                column[rows] = new
        else:
            rows = slice(at, at + piece.count)
            times_out = points.times[rows] if has_times else None
            waiting.popleft().unpack(points.steps[rows], points.values[rows], times_out)
        at = rows.stop
        ends.append(at)
    if len(names) < 2:
        return ordered(points)
    return merged(points, np.repeat([names.index(writer) for writer in writers], np.diff([0, *ends])))


def shown_points(
    state: FieldState, chunks: list[Any], shares: list[Columns], tail: list[Part], refuse: Refusal, *, is_hidden: Hidden
) -> Columns:
    """All points of a float series that no rewind hides.

    Raises:
        DamagedData: a chunk or a pack is not as it was written, or one is missing.
    """
    read_points(state, [*chunks], shares, tail, refuse)  # to look whether all is there
    # By writer, since a rewind hides the points of each by its own times.
    indexed = points_by_writer(state, chunks, shares) if state.pieces else {}
    parts = [(writer, part) for writer, pieces in indexed.items() for part in pieces] + tail
    shown = [(writer, part.take(~is_hidden(writer, part.steps, part.times))) for writer, part in parts]
    points = join([part for _writer, part in shown])
    steps: Any = points.steps.astype(step_type([], False, [part for _writer, part in shown]))
    points = points._replace(steps=steps)
    names = sorted({writer for writer, _part in shown})
    if len(names) < 2:
        return ordered(points)
    owners = np.repeat([names.index(writer) for writer, _part in shown], [len(part.values) for _writer, part in shown])
    return merged(points, owners)


def shown_facts(points: Columns) -> Series:
    """The facts of points of a float series in order."""
    facts = Series()
    if len(points.values):
        facts.add(*facts_of(points))
    return facts


def shown_text_facts(steps: list[int | float], texts: list[str], times: list[int]) -> Series:
    """The facts of entries of a series of texts in order."""
    if not steps:
        return Series()
    return Series(count=len(steps), last_step=steps[-1], last_value=texts[-1], last_time=times[-1])


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
    return unpacked(split_points(data))


def unpacked(packed: PackedPoints) -> Columns:
    """The points of a chunk whose bytes have been checked."""
    count = packed.values.items
    steps: Numbers = np.empty(count, np.int64) if packed.steps.is_integer else np.empty(count)
    points = Columns(steps, np.empty(count), np.empty(count, np.int64))
    packed.unpack(*points)
    return points


def left_points(state: FieldState, chunks: list[Any], packs: list[Any], refuse: Refusal) -> dict[str, list[Columns]]:
    """The points in the index that a deletion has left of a float series, by writer.

    Raises:
        DamagedData: a chunk or a pack is not as it was written, or one is missing.
    """
    remnant, old = _before(state)
    shares = read_shares(old, packs, refuse)
    read_points(old, [*chunks], shares, [], refuse)  # to look whether all is there
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


def as_they_came(chunks: list[Any], shares: list[Columns], first: int = 0) -> list[Any]:
    """Chunks and shares of packs in the order in which they were folded: a chunk's number counts both.

    Args:
        chunks: of the series.
        shares: of the series.
        first: the number of the first piece.
    """
    pieces: list[Any] = []
    waiting = deque(shares)
    number = first
    for row in chunks:
        # A gap in the numbers of chunks is where a share of a pack came in between.
        while waiting and number < row.key & ((1 << FIELD_SHIFT) - 1):
            pieces.append(waiting.popleft())
            number += 1
        pieces.append(row)
        number += getattr(row, "pieces", 1)  # a row with a coarser pyramid stands for several chunks
    return [*pieces, *waiting]


def read_texts(
    state: FieldState, chunks: list[Any], refuse: Refusal, is_hidden: Hidden | None = None
) -> tuple[list[int | float], list[str], list[int]]:
    """All points of a string series.

    Raises:
        DamagedData: a chunk is not as it was written, or one is missing.
    """
    by_writer = texts_by_writer(state, chunks, refuse)
    for writer, waiting in state.tail().items():
        late = [(step, round(time * 1000), as_bytes(text)) for step, time, text in waiting]
        by_writer[writer] = by_writer.get(writer, []) + late
    if is_hidden is not None:
        by_writer = {writer: _shown(writer, rows, is_hidden) for writer, rows in by_writer.items() if rows}
    rows = _merged_texts(by_writer)
    try:
        texts = [row[2].decode("utf-8", "surrogatepass") for row in rows]
    except UnicodeDecodeError as error:  # its crc is right: it was written so
        raise refuse(state.path, INDEX, f"one of its texts is none: {error}") from error
    return [row[0] for row in rows], texts, [row[1] for row in rows]


def _shown(writer: str, rows: list[TextRow], is_hidden: Hidden) -> list[TextRow]:
    steps = np.array([row[0] for row in rows])
    hidden = is_hidden(writer, steps, np.array([row[1] for row in rows], np.int64))
    return [row for row, is_one in zip(rows, hidden.tolist(), strict=True) if not is_one]


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
        # A writer's points at one step keep their order, also if its clock has stepped back.
        latest: dict[int | float, int] = {}
        for row in rows:
            latest[row[0]] = max(row[1], latest.get(row[0], row[1]))
            ranked.append((row[0], latest[row[0]], name, row))
    return [row for *_order, row in sorted(ranked, key=lambda item: item[:3])]


def cut(points: Columns, buckets: int) -> Heights:
    """A chart from decoded points."""
    count = len(points.values)
    starts = np.linspace(0, count, min(buckets, count), endpoint=False, dtype=np.int64)  # each one larger
    return _reduce(points.steps[starts].astype(np.float64), *_heights_of(points.values), starts)


def read_heights(
    state: FieldState, rows: list[Any], shares: list[Columns], tail: list[Part], buckets: int, refuse: Refusal
) -> Heights | None:
    """A chart from the pyramids of the chunks, and the points elsewhere; None when a piece is missing or out of order.

    Raises:
        DamagedData: a pyramid is not as it was written.
    """
    pieces = sum(row.pieces for row in rows) + len(shares)
    count = sum(row.count for row in rows) + sum(len(share.values) for share in shares)
    if (count, pieces) != (state.series.count, state.pieces) or not rows:
        return None
    late = [ordered(join([part for _writer, part in tail]))] if tail else []
    steps: list[Reals] = []
    columns: list[list[npt.NDArray[Any]]] = []
    for piece in [*as_they_came(rows, shares), *late]:
        if isinstance(piece, Columns):
            heads = np.arange(0, len(piece.values), BUCKET)
            steps.append(piece.steps[heads].astype(np.float64))
            columns.append(_bucketed(piece.values, heads))
            continue
        try:
            one = decode_pyramid(piece.pyramid or b"")
        except ChunkDamaged as error:
            raise refuse(state.path, INDEX, str(error)) from error
        steps.append(np.asarray(one.steps, np.float64))
        columns.append([one.minimum, one.maximum, one.total, one.finite])
    joined = np.concatenate(steps)
    # Chunks that overlap in their steps, as after a step back, cannot be put one behind the other.
    if bool((joined[1:] < joined[:-1]).any()):
        return None
    low, high, total, finite = (np.concatenate(column) for column in zip(*columns, strict=True))
    # By their points, since some items stand for many more than others; such a one is all of several buckets. Equal
    # ones once: reduceat would give a bucket without points the value of its first place.
    ends = np.cumsum(np.maximum(finite, 1))
    places = np.linspace(0, ends[-1], buckets, endpoint=False)
    starts = np.unique(np.searchsorted(ends, places, "right"))
    return _reduce(joined[starts], _or(low, np.inf), _or(high, -np.inf), total, finite, starts)


def coarse_within(
    state: FieldState, rows: list[Any], start: float | None, stop: float | None, refuse: Refusal
) -> tuple[int, int, range] | None:
    """Return the places of the first and the last coarser pyramid that reach into a range of steps; None without one.

    With them come the numbers of the chunks from the first to the last.

    Raises:
        DamagedData: a pyramid is not as it was written.
    """
    found = []
    for place, row in enumerate(rows):
        if row.pieces == 1:
            continue
        is_after = stop is not None and _first_step(state, row, refuse) > stop
        behind = rows[place + 1] if place + 1 < len(rows) else None
        is_before = start is not None and behind is not None and _first_step(state, behind, refuse) < start
        if not is_before and not is_after:
            found.append(place)
    if not found:
        return None
    first, last = (rows[place].key & ((1 << FIELD_SHIFT) - 1) for place in (found[0], found[-1]))
    return found[0], found[-1], range(first, last + rows[found[-1]].pieces)


def _first_step(state: FieldState, row: Any, refuse: Refusal) -> float:
    try:
        return float(decode_pyramid(row.pyramid or b"").steps[0])
    except ChunkDamaged as error:
        raise refuse(state.path, INDEX, str(error)) from error


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
    # The usual case shares one array for three columns, and makes none.
    if finite.all():
        return values, values, values, np.ones(len(values), np.int64)
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


def step_type(are_integers: list[bool], is_wide: bool, extra: list[Columns]) -> type[np.float64] | type[np.int64]:
    """The type of steps: float64, the type Neptune gives steps; int64 only where float64 would round one."""
    are_integers = are_integers + [part.steps.dtype == np.int64 for part in extra]
    is_wide = is_wide or any(_is_wide(part.steps) for part in extra)
    return np.int64 if is_wide and all(are_integers) else np.float64


def _is_wide(steps: Numbers) -> bool:
    return steps.dtype == np.int64 and len(steps) > 0 and bool(((steps > EXACT) | (steps < -EXACT)).any())


def packed_points(state: FieldState, row: Any, refuse: Refusal) -> PackedPoints:
    """The columns of a chunk of a float series, checked and still packed.

    Raises:
        DamagedData: it is not as it was written.
    """
    _check(state, row, refuse)
    try:
        return split_points(row.data)
    except ChunkDamaged as error:
        raise refuse(state.path, INDEX, str(error)) from error


def _check(state: FieldState, row: Any, refuse: Refusal) -> None:
    if not is_whole_chunk(row):
        raise refuse(state.path, INDEX, f"chunk {row.key & 0xFFFFFF} fails its crc")
