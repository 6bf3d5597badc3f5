"""Merge: the small pieces of the series of a run that goes on become few; large chunks stay as they are.

    before   [65,536] [65,536] [9,000] [600] [600] (60) (60) ...     [chunks], (shares of packs), as they were folded
    after    [65,536] [65,536] [9,000] [4,800]

Each fold adds a piece to every series that has grown, and a reader of a series decodes all of them. A chunk stays if it
is full, or holds as many points as all pieces behind it together. Chunks behind a kept one hold fewer points than it,
so a point is rewritten about log2(65,536 / points a fold) times: the work does not grow with the length of the run.
Packs are rewritten whole, and only for a series that has many small pieces in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from naiad.kinds import SERIES, TEXTS
from naiad.storage.local.index.chunk_rows import is_whole_chunk
from naiad.storage.local.index.codec import decode_texts
from naiad.storage.local.index.columns import POINTS_LIMIT
from naiad.storage.local.index.compact import pack_short, refusal, shares_by_field, whole_steps
from naiad.storage.local.index.index import ChunkSize, Index
from naiad.storage.local.index.parts import PACK_BELOW, TextRow, add_chunks, add_texts, text_chunks
from naiad.storage.local.index.points import Columns, join, ordered
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.rows import Changes
from naiad.storage.local.index.series import INDEX, as_they_came, decoded
from naiad.storage.local.index.states import FieldState
from naiad.storage.sql.connection import Connection

MERGE_FOLDS = 32
"""Folds between two merges of a run."""
MOST_PIECES = 32
"""A series with more small pieces is merged, so it never has more than 64 of them, and one of each writer."""
LEAST_SHARE = 4
"""Once one series is merged, the others of its run are too if they have more than `MOST_PIECES / 4` small pieces."""
FULL_TEXTS = 32 * 1024
"""Stored bytes of a chunk of texts that stays as it is: decompressed, it may be a hundred times as large."""
MOST_TEXT_PIECES = 64
"""Chunks of texts of one series that are merged at once at most; they are in memory, decompressed to 4 MiB each."""
MOST_PACKED = 32_000_000
"""Points in all packs of a run up to which they are rewritten, since all of them are in memory then."""


class _Series(NamedTuple):
    """One series: its first chunks stay as they are, and all pieces behind them are merged."""

    state: FieldState
    kept: int
    chunks: int
    shares: Sequence[Columns]


def merge(index: Index, most_pieces: int = MOST_PIECES) -> bool:
    """Merge the small pieces of a run in one transaction, and return True, if some series has more than `most_pieces`.

    Raises:
        DamagedData: the index is damaged; the run is as it was.
        StorageError: objects with some of the pieces cannot be used now; likewise.
    """
    with index.snapshot() as connection:
        head = index.head(connection)
        # By the counts alone, since most runs are short.
        if head.chunks + head.packs <= most_pieces:
            return False
        projection, head, _positions, damages = index.load_whole(connection)
        extents = index.extents(connection)
        series = [state for state in projection.states() if state.kind in SERIES]
        many = [state for state in series if _small(state, extents.get(state.id, ())) > most_pieces]
        packed = {state.id for state in series if state.pieces > len(extents.get(state.id, ()))}
        # Packs hold points of many series, so all of them are rewritten or none.
        points = index.packed(connection)
        is_wanted = head.packs - 2 * points // POINTS_LIMIT > most_pieces or any(state.id in packed for state in many)
        with_packs = is_wanted and points <= MOST_PACKED
        if not (with_packs or any(state.id not in packed for state in many)):
            return False
        if damages:
            raise refusal("", damages[0].file, damages[0].what)
        shares = shares_by_field(index, connection, head) if with_packs else {}
        found = [
            _found(state, extents.get(state.id, ()), shares.get(state.id, []))
            for state in series
            if with_packs or state.id not in packed
        ]
        found = [each for each in found if each.shares or each.state.pieces - each.kept > most_pieces // LEAST_SHARE]
        # Read whole and checked before the first row is deleted.
        changes, merged = _merged(index, connection, projection, found)
        if not merged:
            return False
        if with_packs:
            head.packs -= index.drop_packs(connection)
        head.chunks -= sum(index.drop_chunks(connection, each.state.id, each.kept) for each in merged)
        index.commit(connection, projection, head, changes)
    return True


def _small(state: FieldState, chunks: Sequence[ChunkSize]) -> int:
    """Return the number of pieces behind the chunks that stay, less one for each writer."""
    return state.pieces - _kept(state, chunks) - len(state.point_writers())


def _kept(state: FieldState, chunks: Sequence[ChunkSize]) -> int:
    """Return the number of the first chunks of a series that stay as they are."""
    kept, left = 0, state.series.count
    for chunk in chunks:
        left -= chunk.count
        is_full = chunk.count >= POINTS_LIMIT or (state.kind in TEXTS and chunk.size >= FULL_TEXTS)
        # A gap in the numbers is where a share of a pack lies before the chunk.
        if chunk.number != kept or not (is_full or chunk.count >= left):
            break
        kept += 1
    return max(kept, state.pieces - MOST_TEXT_PIECES) if state.kind in TEXTS else kept


def _found(state: FieldState, chunks: Sequence[ChunkSize], shares: Sequence[Columns]) -> _Series:
    count = sum(each.count for each in chunks) + sum(len(each.values) for each in shares)
    # The row of the field has its own count: a row that a flipped bit has made invisible shows only here.
    if count != state.series.count or len(chunks) + len(shares) != state.pieces:
        raise refusal(state.path, INDEX, f"{count} of its {state.series.count} points are there")
    return _Series(state, _kept(state, chunks), len(chunks), shares)


def _merged(
    index: Index, connection: Connection, projection: Projection, found: Sequence[_Series]
) -> tuple[Changes, list[_Series]]:
    """Return the new pieces, and the series that they belong to: all but texts that do not become fewer pieces."""
    changes, merged = Changes(), list[_Series]()
    short: list[tuple[FieldState, Columns]] = []
    for each in sorted(found, key=lambda one: one.state.id):
        state, writers = each.state, each.state.writers_of_pieces()[each.kept :]
        rows = (
            index.chunks(connection, state.id, range(each.kept, each.state.pieces)) if each.chunks > each.kept else []
        )
        for row in rows:
            if not is_whole_chunk(row):
                raise refusal(state.path, INDEX, f"a chunk of {row.count} points fails its crc")
        texts = _texts_by_writer(writers, rows) if state.kind in TEXTS else {}
        # Else chunks of long texts, which no size on the disk tells apart, would be written anew each time.
        if texts and 4 * sum(map(text_chunks, texts.values())) > 3 * len(rows) > 3:
            continue
        merged.append(each)
        state.pieces = each.kept
        if state.shared is not None:
            state.shared.by = state.shared.by[: each.kept]
        if state.kind in TEXTS:
            for writer, own in texts.items():
                add_texts(state, own, changes, writer)
        else:
            pieces = as_they_came(rows, [*each.shares], each.kept)
            parts = [piece if isinstance(piece, Columns) else decoded(piece.data) for piece in pieces]
            by_writer = {name: ordered(join(part)) for name, part in _by_writer(writers, parts).items()}
            points = {name: whole_steps(own) for name, own in by_writer.items()}
            _add_points(state, points, changes, short)
        projection.touch(state)
    for is_integer in (True, False):
        pack_short([item for item in short if (item[1].steps.dtype == np.int64) == is_integer], changes)
    return changes, merged


def _by_writer(writers: Sequence[str], pieces: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for writer, piece in zip(writers, pieces, strict=True):
        found.setdefault(writer, []).append(piece)
    return found


def _add_points(
    state: FieldState, points: Mapping[str, Columns], changes: Changes, short: list[tuple[FieldState, Columns]]
) -> None:
    """Add the points of a series behind the chunks that stay; those of each writer apart, as they were."""
    if not state.pieces and len(points) == 1 and state.series.count < PACK_BELOW:
        for writer, own in points.items():
            state.add_piece(writer)
            short.append((state, own))
        return
    # The full chunks of all writers first, so that the next merge finds them there and lets them stay.
    rest: list[tuple[str, Columns]] = []
    for writer, own in points.items():
        full = len(own.values) - len(own.values) % POINTS_LIMIT
        add_chunks(state, own.take(slice(0, full)), changes, writer)
        if full < len(own.values):
            rest.append((writer, own.take(slice(full, None))))
    for writer, own in sorted(rest, key=lambda each: -len(each[1].values)):
        add_chunks(state, own, changes, writer)


def _texts_by_writer(writers: Sequence[str], rows: Sequence[Any]) -> dict[str, list[TextRow]]:
    pieces: list[list[TextRow]] = []
    for row in rows:
        steps, times, texts = decode_texts(row.data)
        pieces.append([*zip(steps.tolist(), times.tolist(), texts, strict=True)])
    return {
        writer: sorted((row for part in parts for row in part), key=lambda row: row[0])
        for writer, parts in _by_writer(writers, pieces).items()
    }
