"""Compaction: the many small chunks and packs of a run become few large ones, each series in order of its steps."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from naiad.errors import DamagedData, StorageError
from naiad.ids import new_writer_id
from naiad.integers import EXACT
from naiad.kinds import POINTS, SERIES, TEXTS
from naiad.storage.local.index.codec import decode_pack
from naiad.storage.local.index.columns import POINTS_LIMIT
from naiad.storage.local.index.index import Index
from naiad.storage.local.index.new_index import remove_unfinished
from naiad.storage.local.index.parts import PACK_BELOW, add_chunks, add_packs, add_texts
from naiad.storage.local.index.points import Columns, join, ordered
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.rows import Changes, Head, is_whole_pack
from naiad.storage.local.index.series import points_by_writer, read_points, texts_by_writer
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.integrity.seal import Seal, damaged_blocks, read_seal, remove_seal, write_seal
from naiad.storage.local.layout import RunDirectory
from naiad.storage.results import Damage
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import make_single_file, open_for_writing

MOST_POINTS = 4_000_000
"""Beyond this a run is not compacted when it stops: stopping has to end within seconds."""
MOST_ROWS = 3
"""How many times the rows it needs a run may lie in.

Compacting writes all of it three times: to SQLite's log, to the database, and beside what it replaces. A busy run of
a few series is folded into chunks of a third of the largest size, which read nearly as fast and are left as they are.
"""

SPARE_PIECES = 8


def finish_index(folder: RunDirectory, seconds: float) -> None:
    """Bring an index into its final form: few rows, one file. The caller keeps others from folding the run.

    Raises:
        StorageError: the disk reports an error, or another process read all the time; the run is as it was.
        DamagedData: so is a run with damage.
    """
    compact_if_worth_it(folder)
    make_single_file(folder.index, seconds)
    remove_unfinished(folder)


def compact_if_worth_it(folder: RunDirectory) -> bool:
    """Compact a run that lies in more than `MOST_ROWS` times the rows it needs; whether that was so.

    Raises:
        StorageError: the disk reports an error; the run is as it was.
        DamagedData: so is a run with damage; it has to be repaired first.
    """
    index = Index(folder, open_for_writing(folder.index))
    with _refusals(folder):
        if not is_worth_it(index):
            return False
        rewrite(index)
    return True


def is_worth_it(index: Index) -> bool:
    """Whether a run lies in more than `MOST_ROWS` times the rows it needs.

    Raises:
        DamagedData: the index is damaged.
    """
    with index.snapshot() as connection:
        head = index.head(connection)
        # First by the counts alone: loading the projection of a run that needs nothing would be most of the time
        # of stopping.
        if _is_tidy(head, -(-head.points // POINTS_LIMIT)):
            return False
        projection, head, _positions, _damages = index.load_whole(connection)
    shared = [state for state in projection.states() if len(state.point_writers()) > 1]
    alone = [state for state in projection.states() if len(state.point_writers()) < 2]
    # Chunks of several writers stay apart, since a deletion that arrives late may take those of one.
    needed = sum(-(-state.series.count // POINTS_LIMIT) + len(state.point_writers()) for state in shared)
    needed += sum(-(-state.series.count // POINTS_LIMIT) for state in alone if state.series.count >= PACK_BELOW)
    short = sum(state.series.count for state in alone if state.series.count < PACK_BELOW)
    needed += -(-short // POINTS_LIMIT)
    return not _is_tidy(head, needed)


def is_scattered(index: Index, most_points: int) -> bool:
    """Whether some series lies in many more pieces than it needs, in a run of at most so many points.

    Raises:
        DamagedData: the index is damaged.
    """
    with index.snapshot() as connection:
        head = index.head(connection)
        if head.points > most_points or head.chunks + head.packs <= SPARE_PIECES:
            return False
        projection, _head, _positions, _damages = index.load(connection)
    # A reader of a series decodes all packs that have some of it, and these hold as much of all others.
    return any(
        state.pieces > MOST_ROWS * -(-state.series.count // POINTS_LIMIT) + SPARE_PIECES
        for state in projection.of_kinds([POINTS])
    )


def _is_tidy(head: Head, needed: int) -> bool:
    return head.points > MOST_POINTS or head.chunks + head.packs <= MOST_ROWS * needed + SPARE_PIECES


def compact(folder: RunDirectory) -> None:
    """Rewrite all series of a run in one transaction; the unfolded journal stays as it is.

    A run may be written meanwhile. A sealed one is checked against its seal first, and sealed again.

    Raises:
        StorageError: the disk reports an error; the run is as it was.
        DamagedData: so is a run with damage; it has to be repaired first.
    """
    if not folder.index.exists():
        return
    with folder.lock():
        seal = read_seal(folder)
        if seal is None:
            _rewrite(folder)
            return
        _require_sound(folder, seal)
        # The seal goes before the first change: a kill in between leaves a run without a seal, not one that its seal
        # calls damaged.
        remove_seal(folder, new_writer_id())
        try:
            _rewrite(folder)
        finally:
            make_single_file(folder.index)
            write_seal(folder)


def _require_sound(folder: RunDirectory, seal: Seal | Damage) -> None:
    """Raise if the old seal shows damage, which a new seal would hide."""
    if isinstance(seal, Damage):
        raise refusal("", seal.file, seal.what)
    for name in seal.files:
        if damaged_blocks(folder, seal, name) != []:
            raise refusal("", name, "it is not as it was sealed")


def _rewrite(folder: RunDirectory) -> None:
    with _refusals(folder):
        rewrite(Index(folder, open_for_writing(folder.index)))


def rewrite(index: Index) -> None:
    """Rewrite all series of a run in one transaction, of a folder or of a database.

    Raises:
        DamagedData: the index is damaged; the run is as it was.
    """
    with index.snapshot() as connection:
        projection, head, _positions, damages = index.load_whole(connection)
        if damages:
            raise refusal("", damages[0].file, damages[0].what)
        # Read whole and checked before the old rows are deleted, in one transaction: damage leaves the run as it
        # was.
        changes = _rewritten(index, connection, projection, head)
        _empty(index, connection, head)
        index.commit(connection, projection, head, changes)


@contextlib.contextmanager
def _refusals(folder: RunDirectory) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"SQLite cannot read the index {folder.index}: {error}", filename=str(folder.index)
        ) from error


def _rewritten(index: Index, connection: Connection, projection: Projection, head: Head) -> Changes:
    changes = Changes()
    shares = shares_by_field(index, connection, head)
    short: list[tuple[FieldState, Columns]] = []
    for state in sorted(projection.states(), key=lambda state: state.id):
        if state.kind not in SERIES:
            continue
        chunks = index.chunks(connection, state.id)
        if state.kind in TEXTS:
            texts = texts_by_writer(state, chunks, refusal)
            _empty_series(state)
            for writer, rows in texts.items():
                add_texts(state, sorted(rows, key=lambda row: row[0]), changes, writer)
        else:
            points = whole_steps(read_points(state, [*chunks], shares.get(state.id, []), [], refusal))
            by_writer = points_by_writer(state, chunks, shares.get(state.id, []))
            _empty_series(state)
            if len(by_writer) > 1:  # a deletion that arrives late may take those of one
                for writer, parts in by_writer.items():
                    add_chunks(state, whole_steps(ordered(join(parts))), changes, writer)
            elif len(points.values) < PACK_BELOW:
                state.pieces = min(1, len(points.values))
                short.append((state, points))
            else:
                add_chunks(state, points, changes, *by_writer)
        projection.touch(state)
    for is_integer in (True, False):
        pack_short(
            [item for item in short if (item[1].steps.dtype == np.int64) == is_integer and len(item[1].values)],
            changes,
        )
    return changes


def _empty_series(state: FieldState) -> None:
    state.pieces = 0
    if state.shared is not None:
        state.shared.by = []


def whole_steps(points: Columns) -> Columns:
    """Steps are read as doubles. Where all are whole they were integers, which are smaller and mix with wide ones."""
    steps = points.steps
    if steps.dtype == np.int64 or not ((np.abs(steps) <= EXACT) & (np.rint(steps) == steps)).all():
        return points
    return points._replace(steps=steps.astype(np.int64))


def pack_short(short: list[tuple[FieldState, Columns]], changes: Changes) -> None:
    """Add packs of series that have too few points for chunks of their own; their ids ascend."""
    if short:
        ids = np.repeat([state.id for state, _points in short], [len(points.values) for _state, points in short])
        add_packs(ids, join([points for _state, points in short]), changes)


def shares_by_field(index: Index, connection: Connection, head: Head) -> dict[int, list[Columns]]:
    """Return the content of all packs by field."""
    found: dict[int, list[Columns]] = {}
    damages: list[Damage] = []
    rows = index.all_rows(connection, "pack", range(1, head.next_pack), damages)
    if damages:
        raise refusal("", damages[0].file, damages[0].what)
    for row in rows:
        if not is_whole_pack(row):
            raise refusal("", "pack", f"pack {row.id} fails its crc")
        pack = decode_pack(row.data)
        for field, (start, stop) in zip(pack.ids.tolist(), pairwise(pack.starts.tolist()), strict=True):
            own = slice(start, stop)
            found.setdefault(field, []).append(Columns(pack.steps[own], pack.values[own], pack.times[own]))
    return found


def _empty(index: Index, connection: Connection, head: Head) -> None:
    index.drop_every_chunk(connection)
    index.drop_packs(connection)
    head.chunks = head.packs = 0


def refusal(path: str, file: str, what: str) -> DamagedData:
    """Return the error of an index that is damaged."""
    field = f' (field "{path}")' if path else ""
    return DamagedData(f"{file} is damaged and cannot be compacted: {what}{field}.", file=file, offset=0, what=what)
