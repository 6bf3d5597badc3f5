"""The rebuild of a damaged run: a new index of all that is whole, from the old index and the journal beside it.

Better that points are missing than that they are there twice: where the position up to which a file was folded is lost,
the file counts as folded.
"""

from __future__ import annotations

import math
import os
import sqlite3
import warnings
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import delete, insert

from naiad.errors import DamageWarning
from naiad.kinds import FILES, MEMBERS, TEXTS
from naiad.ops import Define, Delete, Frame, Members, Op, Strings, encode_ops
from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_HEADER
from naiad.storage.local.files import file_texts, what_is_damaged
from naiad.storage.local.index import schema
from naiad.storage.local.index.fold import Fold
from naiad.storage.local.index.index import UNKNOWN, Index
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.rows import position_row
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.integrity.losses import Losses
from naiad.storage.local.integrity.salvage import NAMELESS, salvage
from naiad.storage.local.integrity.seal import BASE, Seal, damaged_blocks
from naiad.storage.local.journal.bit_errors import BLOCK
from naiad.storage.local.journal.coverage import Coverage
from naiad.storage.local.journal.files import JournalFile, Source, list_journal
from naiad.storage.local.journal.frames import (
    FILE_HEADER,
    FRAME_HEADER,
    encode_frame,
    file_header,
    read_frames,
    read_ops,
    tail_gap,
)
from naiad.storage.local.journal.records import read_records
from naiad.storage.local.journal.segment import with_header
from naiad.storage.local.journal.sums import SUFFIX, FileCover
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.results import Damage
from naiad.storage.sql.database import make_single_file, open_for_reading, open_for_writing

LAST_FILE = 1_000_000  # no writer has as many
Positions = dict[str, tuple[int, bool]]
Sequences = Counter[str]
"""The last sequence of each writer in the new journal. It rises over all files of a writer, which orders its ops."""


def rebuild(copy: RunDirectory, seal: Seal | None, coverage: Coverage, losses: Losses, silent: Collection[str]) -> None:
    """A new index of all that is whole, in place of the old one and of the journal.

    The files of silent writers stay, and are read from where this index ends.
    """
    new = RunDirectory(copy.path.with_name("new"))
    new.journal.mkdir(parents=True)
    if copy.index.exists() or coverage.folds:
        salvage(copy, new, losses, coverage.folds)
    before = _points(new)
    positions = _positions(new)
    # If the positions cannot be read, files count as folded: better that points are missing than that they are there
    # twice.
    unknown = (0, not _knows_positions(copy))
    sequences = Sequences()
    for file in list_journal(copy.journal):
        upto, is_done = positions.get(file.name, unknown)
        if not is_done:
            bad = damaged_blocks(copy, seal, file.place) if seal and file.place in seal.files else []
            cover = coverage.files.get(file.name)
            if file.suffix == "ops":
                (new.journal / file.name).write_bytes(_whole_frames(file, upto, sequences))
            else:
                losses.points += _clean(file, new.journal / file.name, upto, bad or [], seal, cover)
    losses.points += _missing_records(copy, seal)
    missing = {name: coverage.files[name] for name, _damage in coverage.missing_files(copy, positions)}
    losses.points += _missing_points(copy, coverage, positions, before, missing if unknown == (0, False) else {})
    # Before the fold, which would drop points whose number means no field.
    _name_the_nameless(new, sequences)
    _drop_damaged_files(new, losses, sequences)
    files = list_journal(new.journal)
    added = {file for file in files if file.suffix == "ops" and file.number >= LAST_FILE}
    Fold(new).fold([Source(file, is_final=file.writer not in silent or file in added) for file in files])
    _note_ends(copy, new, silent, missing)
    make_single_file(new.index)
    copy.seal.unlink(missing_ok=True)
    copy.index.with_name(copy.index.name + "-wal").unlink(missing_ok=True)
    os.replace(new.index, copy.index)
    for place in [file.place for file in list_journal(copy.journal)] + sums_of(copy):
        if writer_of(place) not in silent:
            (copy.path / place).unlink()


def _note_ends(
    copy: RunDirectory, new: RunDirectory, silent: Collection[str], missing: Mapping[str, FileCover]
) -> None:
    """Let the positions in the files that stay mean the originals: a clean file of ops lacks bytes that they have.

    A file that was not read, because its folded position is lost, counts as folded up to here; one that is missing,
    and in the sums of its writer still, as folded wholly.
    """
    known = _positions(new)
    files = [file for file in list_journal(copy.journal) if file.writer in silent]
    ends = {file.name: (_end(file), False) for file in files if file.suffix == "ops" or file.name not in known}
    ends |= {name: (cover.size, True) for name, cover in missing.items() if writer_of(name) in silent}
    engine = open_for_writing(new.index)
    with engine.begin() as connection:
        for name, end in ends.items():
            connection.execute(delete(schema.position).where(schema.position.c.file == name))
            connection.execute(insert(schema.position), [position_row(name, end)])
    engine.dispose()


def _end(file: JournalFile) -> int:
    if file.suffix == "seg":
        return read_records(file, 0)[1]
    gap = tail_gap(file, 0)
    return file.path.stat().st_size if gap is None else gap.start


def _points(new: RunDirectory) -> int:
    """How many points were saved from the index."""
    if not new.index.exists():
        return 0
    index = Index(new, open_for_writing(new.index))
    with index.snapshot() as connection:
        return index.head(connection).points


def _missing_points(
    copy: RunDirectory, coverage: Coverage, positions: Positions, before: int, missing: Mapping[str, FileCover]
) -> int:
    """Points of an index or of segments that are gone as a whole."""
    is_gone = coverage.index_damage(copy, _folds(copy)) is not None
    lost = max(0, coverage.points - before) if is_gone else 0
    return lost + sum(cover.points_from(positions.get(name, (0, False))[0]) for name, cover in missing.items())


def _folds(copy: RunDirectory) -> int | None:
    if not copy.index.exists():
        return None
    engine = open_for_reading(copy.index, is_final=True)
    try:
        with Index(copy, engine).view() as connection:
            return Index(copy, engine).folds(connection)
    except sqlite3.Error:
        return UNKNOWN
    finally:
        engine.dispose()


def _drop_damaged_files(new: RunDirectory, losses: Losses, sequences: Sequences) -> None:
    """Take stored files out of the run whose content is damaged, by ops of a writer that it has."""
    reader = Reader(new)
    ops = [*_without_damaged_files(reader, losses)]
    writer = next(iter(reader.projection().writers), None)
    if ops and writer is not None:
        _add_ops(new, writer, 2 * LAST_FILE, ops, sequences)


def _without_damaged_files(reader: Reader, losses: Losses) -> Iterator[Op]:
    """Return ops that remove the files with damaged content from a run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        checked: dict[tuple[str, int | None], str] = {}
        at = max((writer.at for writer in reader.projection().writers.values()), default=0.0)
        for state, texts in reader.states(FILES):
            at = math.nextafter(max(at, state.at), math.inf)
            yield from _removal(reader, state, texts, at, checked, losses)


def _removal(
    reader: Reader,
    state: FieldState,
    texts: list[str],
    at: float,
    checked: dict[tuple[str, int | None], str],
    losses: Losses,
) -> Iterator[Op]:
    def is_damaged(text: str) -> bool:
        what, name = what_is_damaged(reader, text, checked)
        losses.blobs |= {name} if what and name else set()
        return bool(what)

    if state.kind == MEMBERS:
        gone = [name for name, text in state.members.items() if is_damaged(text)]
        losses.files += [f"{state.path}/{name}" for name in gone]
        if gone:
            yield Members(state.path, {}, gone, False, at)
    elif state.kind in TEXTS:
        bad = {i for i, text in enumerate(texts) if is_damaged(text)}
        if bad:
            found = reader.texts(state.path, state.kind)
            losses.files += [f"{state.path} at step {found.steps[i]:g}" for i in sorted(bad)]
            rows = [row for i, row in enumerate(zip(*found, strict=True)) if i not in bad]
            steps, kept, times = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
            yield Strings(state.path, kept, steps, [time / 1000 for time in times], True, at, state.kind)
    elif any(map(is_damaged, file_texts(state, texts))):
        losses.files.append(state.path)
        yield Delete(state.path, at)


def _name_the_nameless(new: RunDirectory, sequences: Sequences) -> None:
    """Define the numbers whose definition was lost, so that their points are not."""
    projection = _projection(new)
    for file in list_journal(new.journal):
        if file.suffix == "seg":
            numbers = set((read_records(file, 0)[0]["fid"] & (FLOAT_STEP - 1)).tolist())
            lost = sorted(number for number in numbers - {0} if projection.owner_of(file.writer, number) is None)
            if lost:
                at = projection.writer(file.writer).at
                ops = [Define(number, f"{NAMELESS}/{file.writer}_{number}", False, at) for number in lost]
                _add_ops(new, file.writer, LAST_FILE + file.number, ops, sequences)


def _projection(new: RunDirectory) -> Projection:
    """Return the projection of the index and the ops beside it, also over gaps in the sequence."""
    projection = Projection()
    if new.index.exists():
        index = Index(new, open_for_writing(new.index))
        with index.snapshot() as connection:
            projection = index.load_whole(connection)[0]
    for file in list_journal(new.journal):
        if file.suffix == "ops":
            for frame in read_ops(file, 0)[0]:
                projection.apply(file.writer, frame.ops)
    return projection


def _positions(new: RunDirectory) -> Positions:
    if not new.index.exists():
        return {}
    index = Index(new, open_for_writing(new.index))
    with index.snapshot() as connection:
        return index.positions(connection, [])


def _knows_positions(copy: RunDirectory) -> bool:
    """Whether a file without a position is surely not in the index: better that points are missing than twice there."""
    damages: list[Damage] = []
    if copy.index.exists():
        engine = open_for_reading(copy.index, is_final=True)
        try:
            with Index(copy, engine).view() as connection:
                Index(copy, engine).positions(connection, damages)
        except sqlite3.Error:
            return False
        finally:
            engine.dispose()
    return not damages


def _clean(
    file: JournalFile, target: Path, upto: int, bad: list[int], seal: Seal | None, cover: FileCover | None
) -> int:
    """Write the whole records of a segment; return how many points of it are lost."""
    data = bytearray(file.path.read_bytes())
    if cover is not None and cover.ranges:
        return _clean_ranges(data, target, upto, cover)
    records, _upto, damages = read_records(file, upto, bad)
    if damages and not bad:  # its own crc fails, and nothing tells which of its points are true
        del data[max(upto, SEGMENT_HEADER) :]
    for at in bad:
        _fill(data, at, min(at + BLOCK, len(data)))
    target.write_bytes(with_header(bytes(data[SEGMENT_HEADER:])))
    return max(0, sum(seal.records.get(file.place, {}).values()) - len(records)) if seal else 0


def _clean_ranges(data: bytearray, target: Path, upto: int, cover: FileCover) -> int:
    """The same of a segment with sums, in which single flipped bits are turned back already."""
    lost = 0
    for one in cover.ranges.values():
        content = data[one.start : one.end]
        if one.end > upto and zlib.crc32(content) != one.crc:
            _fill(data, one.start, one.end)
            lost += max(0, min(one.points, (one.end - max(upto, SEGMENT_HEADER)) // RECORD))  # none in the header
    target.write_bytes(with_header(bytes(data[SEGMENT_HEADER:])))
    return lost


def _fill(data: bytearray, start: int, end: int) -> None:
    """Put records that belong to no field in place of damaged ones: a hole would look like a point yet to come."""
    for at in range(max(start, SEGMENT_HEADER), min(end, len(data) - RECORD + 1), RECORD):
        data[at : at + RECORD] = bytes(RECORD - 4) + at.to_bytes(4, "little")


def _whole_frames(file: JournalFile, upto: int, sequences: Sequences) -> bytes:
    """An ops file without the bytes that are no frames, its frames numbered anew; folded frames stay in place."""
    data = file.path.read_bytes()
    at = max(upto, FILE_HEADER)
    parts = [file_header(), data[FILE_HEADER:at]]
    folded = [item.sequence for item in read_frames(data[:at], FILE_HEADER) if isinstance(item, Frame)]
    sequences[file.writer] = max([sequences[file.writer], *folded])
    for item in read_frames(data, at):
        if isinstance(item, Frame):
            # Numbered anew without gaps: a missing number would be reported as a lost frame for ever.
            sequences[file.writer] += 1
            parts.append(encode_frame(sequences[file.writer], data[at + FRAME_HEADER : item.end]))
        at = item.end
    return b"".join(parts)


def _add_ops(new: RunDirectory, writer: str, number: int, ops: Sequence[Op], sequences: Sequences) -> None:
    """Add a file of ops that take effect after all others of their writer."""
    sequences[writer] += 1
    frame = encode_frame(sequences[writer], encode_ops([*ops]))
    (new.journal / f"{writer}.{number}.ops").write_bytes(file_header() + frame)


def _missing_records(copy: RunDirectory, seal: Seal | None) -> int:
    there = {file.place for file in list_journal(copy.journal)}
    return sum(sum(counts.values()) for place, counts in seal.records.items() if place not in there) if seal else 0


def writer_of(place: str) -> str:
    """Return the writer of a journal file, by its path below the run."""
    return place.rpartition("/")[2].partition(".")[0]


def sums_of(folder: RunDirectory) -> list[str]:
    """The sums of the writers and the seals that were valid until they came."""
    names = os.listdir(folder.journal) if folder.journal.exists() else []
    found = [name for name in names if name.endswith((SUFFIX, BASE)) and not name.startswith(".")]
    return [f"{folder.journal.name}/{name}" for name in sorted(found)]
