"""Pieces: the chunks, packs and texts as which points lie in an index."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from naiad.integers import EXACT
from naiad.lines import LineRun
from naiad.scalars import pack_text
from naiad.storage.local.index.chunk_rows import chunk_crc, chunk_key
from naiad.storage.local.index.codec import encode_joined_texts, encode_pack, encode_points, encode_texts
from naiad.storage.local.index.columns import POINTS_LIMIT
from naiad.storage.local.index.points import Columns, Ints, as_bytes, numbers_array
from naiad.storage.local.index.pyramid import pyramid
from naiad.storage.local.index.rows import Changes
from naiad.storage.local.index.states import FieldState

TextRow = tuple[int | float, int, bytes]
"""Step, milliseconds, UTF-8."""

PACK_BELOW = 512
"""A series with fewer new points than this shares a pack with others: a row for each would cost more than it holds."""
TEXT_BYTES = 4 * 1024 * 1024
REMEMBERED_TEXT = 4096


def add_chunks(state: FieldState, points: Columns, changes: Changes, writer: str) -> None:
    """Chunks of one series whose points are in order, all of one writer."""
    for start in range(0, len(points.values), POINTS_LIMIT):
        part = points.take(slice(start, start + POINTS_LIMIT))
        _add_chunk(state, len(part.values), pyramid(part.steps, part.values), encode_points(*part), changes, writer)


def add_packs(fields: Ints, points: Columns, changes: Changes) -> None:
    """Packs of series that lie one after the other, ids ascending: whole series, some 65,536 points a pack."""
    starts = np.flatnonzero(np.concatenate(([True], fields[1:] != fields[:-1])))
    # A pack ends where a series ends, the first at or after each limit: a series that lay in two packs would be
    # decoded from both.
    cuts = np.searchsorted(starts, np.arange(POINTS_LIMIT, len(fields), POINTS_LIMIT))
    edges = [0, *starts[cuts[cuts < len(starts)]].tolist(), len(fields)]
    for low, high in itertools.pairwise(sorted(set(edges))):
        ids = fields[low:high]
        data = encode_pack(ids, *points.take(slice(low, high)))
        changes.packs.append(
            {"first_field": int(ids[0]), "last_field": int(ids[-1]), "count": high - low, "data": data}
        )


def fold_texts(state: FieldState, changes: Changes) -> None:
    """The new texts of one series, those of each writer ordered by step within each chunk."""
    texts, state.texts = state.texts, {}
    for writer, rows in texts.items():
        for part in _text_parts([(step, round(time * 1000), as_bytes(text)) for step, time, text in rows]):
            part.sort(key=lambda row: row[0])
            step, time, text = part[-1]
            # The last text stands in the field's row too, for tables, unless it is long: the row is read with every
            # opening.
            last = pack_text(text.decode("utf-8", "surrogatepass")) if len(text) <= REMEMBERED_TEXT else None
            rank = max(row[1] for row in part if row[0] == step)
            state.add_points(writer, len(part), 0, 0.0, 0.0, 0.0, step, last, time, rank=rank)
            _add_text_chunk(state, part, changes, writer)


def fold_lines(state: FieldState, changes: Changes) -> None:
    """The new lines of one series. A program may print a million of them, so no line is touched by itself."""
    lines, state.lines = state.lines, {}
    for writer, runs in lines.items():
        for part in _run_parts(sorted(runs, key=lambda run: run.number)):
            _fold_runs(state, part, changes, writer)


def _fold_runs(state: FieldState, part: list[LineRun], changes: Changes, writer: str) -> None:
    counts = [run.data.count(b"\n") for run in part]
    joined = b"".join(run.data for run in part)
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("\n"))
    firsts = np.array([run.number for run in part], np.int64) - np.cumsum([0, *counts[:-1]])
    steps = np.repeat(firsts, counts) + np.arange(len(ends))
    times = np.repeat(np.array([round(run.at * 1000) for run in part], np.int64), counts)
    starts = np.concatenate(([0], ends - np.arange(len(ends))))  # once all ends of line are left out
    texts = joined.replace(b"\n", b"")
    if bool((steps[1:] < steps[:-1]).any()):  # rows above the cursor are finished after those below
        order = np.argsort(steps, kind="stable")
        parts = [texts[starts[place] : starts[place + 1]] for place in order.tolist()]
        steps, times, texts = steps[order], times[order], b"".join(parts)
        starts = np.concatenate(([0], np.cumsum([len(each) for each in parts])))
    for low in range(0, len(steps), POINTS_LIMIT):
        rows = slice(low, min(low + POINTS_LIMIT, len(steps)))
        first, last = int(starts[rows.start]), int(starts[rows.stop])
        data = encode_joined_texts(steps[rows], times[rows], starts[low : rows.stop + 1] - first, texts[first:last])
        text = texts[int(starts[rows.stop - 1]) : last]
        remembered = pack_text(text.decode()) if len(text) <= REMEMBERED_TEXT else None
        count, step, time = rows.stop - low, int(steps[rows.stop - 1]), int(times[rows.stop - 1])
        rank = int(times[rows][steps[rows] == step].max())
        state.add_points(writer, count, 0, 0.0, 0.0, 0.0, step, remembered, time, rank=rank)
        _add_chunk(state, count, None, data, changes, writer)


def _run_parts(runs: list[LineRun]) -> Iterator[list[LineRun]]:
    part: list[LineRun] = []
    size = 0
    for run in runs:
        part.append(run)
        size += len(run.data)
        if size > TEXT_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def add_texts(state: FieldState, rows: list[TextRow], changes: Changes, writer: str) -> None:
    """Chunks of one string series whose texts are in order, all of one writer."""
    for part in _text_parts(rows):
        _add_text_chunk(state, part, changes, writer)


def text_chunks(rows: list[TextRow]) -> int:
    """Return the number of chunks that `add_texts` makes of them."""
    return sum(1 for _part in _text_parts(rows))


def _add_chunk(
    state: FieldState, count: int, heights: bytes | None, data: bytes, changes: Changes, writer: str
) -> None:
    key = chunk_key(state.id, state.add_piece(writer))
    crc = chunk_crc(key, count, heights, data)
    changes.chunks.append({"key": key, "count": count, "crc": crc, "pyramid": heights, "data": data})


def _add_text_chunk(state: FieldState, rows: list[TextRow], changes: Changes, writer: str) -> None:
    steps, times, texts = zip(*rows, strict=True)
    data = encode_texts(numbers_array(list(steps)), np.array(times, np.int64), texts)
    _add_chunk(state, len(rows), None, data, changes, writer)


def _text_parts(texts: list[TextRow]) -> Iterator[list[TextRow]]:
    part: list[TextRow] = []
    size = 0
    for text in texts:
        is_wide = not isinstance(text[0], float) and abs(text[0]) > EXACT
        if part and (len(part) == POINTS_LIMIT or size > TEXT_BYTES or is_wide):
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text[2])
        if is_wide:  # alone, so that fractional steps beside it do not round it
            yield part
            part, size = [], 0
    if part:
        yield part
