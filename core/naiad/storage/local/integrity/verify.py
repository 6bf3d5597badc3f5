"""Verification: compares every byte of a run or a store with its checksums, and changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from naiad import ids
from naiad.errors import DamagedData, NaiadError, NewerFormat
from naiad.kinds import FORMER_IDS, SERIES, TEXTS
from naiad.ops import End
from naiad.scalars import unpack_text
from naiad.slots import FLOAT_STEP
from naiad.storage.local.catalog_file import CatalogFile
from naiad.storage.local.files import damaged_files
from naiad.storage.local.ids import Register, read_ticket
from naiad.storage.local.index.chunk_rows import is_whole_chunk
from naiad.storage.local.index.codec import decode_pack, decode_points, decode_texts, read_header
from naiad.storage.local.index.columns import ChunkDamaged
from naiad.storage.local.index.index import UNKNOWN, Index
from naiad.storage.local.index.projection import Projection
from naiad.storage.local.index.pyramid import decode_pyramid
from naiad.storage.local.index.rows import MALFORMED, Head, is_whole_pack
from naiad.storage.local.index.snapshot import Snapshot
from naiad.storage.local.index.states import FieldState
from naiad.storage.local.integrity.seal import Seal, damaged_blocks, extra_files, read_seal, seal_damages
from naiad.storage.local.journal.bit_errors import BLOCK
from naiad.storage.local.journal.coverage import Coverage, read_coverage
from naiad.storage.local.journal.files import JournalFile, list_journal
from naiad.storage.local.journal.frames import read_ops, tail_gap
from naiad.storage.local.journal.leases import may_be_written, read_leases
from naiad.storage.local.journal.records import Records, read_records
from naiad.storage.local.journal.sums import FileCover
from naiad.storage.local.layout import FORMAT, Layout, RunDirectory, newer_format
from naiad.storage.results import Damage, Shadowed
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import integrity, open_for_reading

Positions = dict[str, tuple[int, bool]]
ATTEMPTS = 20


def verify(folder: RunDirectory) -> list[Damage]:
    """Everything of a run that is not as it was written, with the path of the field wherever that is known.

    The remains of a kill or a power cut at the end of a run without a seal are no damage: see `Findings.torn`. The run
    may be written meanwhile.

    Raises:
        NewerFormat: a later release wrote the run.
        DamagedData: the run changed all the time, so it cannot be judged.
    """
    return examine(folder).damages


def verify_store(store: Layout) -> dict[RunDirectory, list[Damage]]:
    """The damages of every run, and under the store's own folder those of its ids, keys and format."""
    return {folder: found.damages for folder, found in examine_store(store).items()}


def examine_store(store: Layout) -> dict[RunDirectory, Findings]:
    """The same with all that was found."""
    own = Findings(damages=list(_store_damages(store)))
    found = {RunDirectory(store.root): own}
    for folder in store.folders():
        try:
            found[folder] = examine(folder)
        except PermissionError as error:  # of another user: the rest is looked at all the same
            found[folder] = Findings(damages=[Damage(_place(folder, error), "this user has no permission to read it")])
        except NewerFormat as error:
            found[folder] = Findings(damages=[Damage(".", f"it cannot be verified: {error}".splitlines()[0])])
        except DamagedData as error:
            found[folder] = Findings(damages=[Damage(_place(folder, error), f"it cannot be verified: {error.what}")])
        except OSError as error:
            what = f"it cannot be verified: {error.strerror or error}".splitlines()[0]
            found[folder] = Findings(damages=[Damage(_place(folder, error), what)])
    by_uid = {folder.uid: findings for folder, findings in found.items()}
    own.damages += [*_missing_keys(store, by_uid), *_wrong_ids(store, by_uid)]
    return found


def _place(folder: RunDirectory, error: OSError | DamagedData) -> str:
    """The file in a run's folder that an error is about; the folder itself as a dot."""
    name = Path(str((error.file if isinstance(error, DamagedData) else error.filename) or folder.path))
    return str(name.relative_to(folder.path)) if name.is_relative_to(folder.path) else str(name)


@dataclass
class Findings:
    """The findings of one examination of a run.

    Attributes:
        damages: the parts that are not as they were written.
        torn: parts that a kill or a power cut explains in a run without a seal: a write cut short, points whose
            definition did not reach the disk.
        awaited: points from another machine whose definition has not come; they are shown once it comes.
        shadowed: fields that are as they were written and yet not shown.
        is_stopped: every writer stopped in order, so the run has a seal, or should have one.
        is_ended: the same of a run without a seal, also where the last writer was killed before it sealed the run.
        dropped: so many points and ops could not be stored: the run is incomplete, be it sealed or not.
        id: the run's own `sys/id`; empty where it cannot be read.
        former: ids that it had before it was moved, which go on to mean it.
        project: the name of its project; empty where it cannot be read.
    """

    damages: list[Damage] = field(default_factory=list)
    torn: list[Damage] = field(default_factory=list)
    awaited: list[Damage] = field(default_factory=list)
    shadowed: list[Shadowed] = field(default_factory=list)
    is_stopped: bool = False
    is_ended: bool = False
    dropped: int = 0
    id: str = ""
    former: frozenset[str] = frozenset()
    project: str = ""


def examine(folder: RunDirectory) -> Findings:
    """Examine a run, and again if it was folded, sealed or unsealed meanwhile.

    Raises:
        NewerFormat: a later release wrote the run.
        DamagedData: the run changed all the time, so it cannot be judged, or nothing in it makes sense.
    """
    for _ in range(ATTEMPTS):
        before = _stamp(folder)
        try:
            found = _examine(folder)
            # A fold between the look at the index and that at the journal would show points twice, or not at all.
            if _stamp(folder) == before:
                found.damages += damaged_files(Snapshot(folder))
                return found
        except FileNotFoundError:
            continue
        except NaiadError:
            raise
        except MALFORMED as error:
            raise DamagedData(
                f"The run in {folder.path} cannot be verified: its bytes match their checksums, "
                f"but no release of naiad writes such content ({error!r}).",
                file=str(folder.path), offset=0, what=f"it has content that no release writes: {str(error)[:200]}",
            ) from error  # fmt: skip
    raise DamagedData(
        f"The run in {folder.path} changes too fast to be verified; try again, or stop its program first.",
        file=str(folder.path),
        offset=0,
        what="moving",
    )


def _examine(folder: RunDirectory) -> Findings:
    found = Findings()
    seal = read_seal(folder)
    # Where the seal has found damage; the journal's own reader is told, and does not report it again.
    bad: dict[str, list[int]] = {}
    if isinstance(seal, Damage):
        found.damages.append(seal)
    elif isinstance(seal, Seal):
        bad = _check_files(folder, seal, found)
    coverage = Coverage() if seal is not None else read_coverage(folder)  # before what it speaks of
    projection, positions, head = Projection(), Positions(), None
    if folder.index.exists():
        projection, positions, head = _check_index(folder, found, is_final=seal is not None)
    found.is_stopped = seal is not None
    if seal is None:
        _check_coverage(folder, coverage, positions, head, found)
        found.is_ended = _all_ended(folder, projection, positions)
        is_cut_short = not coverage.is_empty() or bool(read_leases(folder.journal))
        found.is_stopped = found.is_ended and not is_cut_short
        if head is not None and head.is_noted and coverage.is_empty() and not found.is_stopped:
            what = "the sums of its writers are missing, so missing journal files cannot be detected"
            found.damages.append(Damage(folder.journal.name, what))
    _check_journal(folder, projection, positions, seal, bad, coverage, found)
    found.shadowed = projection.shadowed()
    state = projection.at("sys/id")
    found.id = state.value if state is not None and isinstance(state.value, str) else ""
    state = projection.at("sys/project")
    found.project = unpack_text(state.value) if state is not None and isinstance(state.value, str | bytes) else ""
    former = projection.at(FORMER_IDS)
    if former is not None:
        found.former = frozenset(map(unpack_text, former.tags))
    found.dropped = sum(writer.dropped_points + writer.dropped_ops for writer in projection.writers.values())
    if found.is_ended and not found.dropped:  # a disk that was full to the end took no seal
        _note_missing_seal(folder, found)
    return found


def _check_coverage(
    folder: RunDirectory, coverage: Coverage, positions: Positions, head: Head | None, found: Findings
) -> None:
    """Compare an unsealed run with the sums of its writers."""
    found.damages += coverage.damages
    found.torn += coverage.torn
    damage = coverage.index_damage(folder, head.folds if head else UNKNOWN if folder.index.exists() else None)
    if damage is not None:
        found.damages.append(damage)
    found.damages += [damage for _name, damage in coverage.missing_files(folder, positions)]
    found.damages += coverage.missing_sums(folder, list_journal(folder.journal))


def _note_missing_seal(folder: RunDirectory, found: Findings) -> None:
    if found.is_stopped:
        what = "it is missing although every writer stopped in order: what may have been cut off cannot be told"
        found.damages.append(Damage(folder.seal.name, what))
    else:
        what = "it was not written: the last writer was killed while it stopped"
        found.torn.append(Damage(folder.seal.name, what))


def _stamp(folder: RunDirectory) -> object:
    """Return a stamp that changes when a run is sealed, unsealed or folded."""
    marks = []
    for path in (folder.seal, folder.index, folder.index.with_name(folder.index.name + "-wal")):
        found = path.stat() if path.exists() else None
        marks.append(found and (found.st_ino, found.st_mtime_ns, found.st_size))
    return marks


def _check_files(folder: RunDirectory, seal: Seal, found: Findings) -> dict[str, list[int]]:
    """Compare every block of every file with the seal; the damaged ones by file."""
    bad = {}
    # Of a file that is missing (None), all blocks count as damaged.
    for name, (_size, crcs) in seal.files.items():
        blocks = damaged_blocks(folder, seal, name)
        if blocks is None or blocks:
            bad[name] = [i * BLOCK for i in range(len(crcs))] if blocks is None else blocks
            found.damages += seal_damages(folder, seal, name, blocks)
    found.damages += [Damage(name, "it is not part of what was sealed") for name in extra_files(folder, seal)]
    return bad


# The index


def _check_index(folder: RunDirectory, found: Findings, *, is_final: bool) -> tuple[Projection, Positions, Head | None]:
    engine = open_for_reading(folder.index, is_final=is_final)
    index = Index(folder, engine)
    try:
        with index.view() as connection:
            found.damages += [Damage(folder.index.name, text) for text in _structure(connection)]
            projection, head, positions, damages = index.load_whole(connection)
            found.damages += damages
            found.damages += _series_damages(index, connection, projection, head)
    except sqlite3.Error as error:
        found.damages.append(Damage(folder.index.name, f"it cannot be read: {error}"))
        return Projection(), Positions(), None
    finally:
        engine.dispose()
    return projection, positions, head


def _structure(connection: Connection) -> list[str]:
    """Return the first faults in the structure, without unused pages that only follow from them."""
    try:
        lines = [line for text in integrity(connection) for line in text.splitlines()]
    except sqlite3.DatabaseError as error:
        return [f"its structure cannot be checked: {error}"]
    faults = [line for line in lines if not line.startswith("***")]
    return [line for line in faults if not line.endswith("never used")][:5] or faults[:1]


def _series_damages(index: Index, connection: Connection, projection: Projection, head: Head) -> Iterator[Damage]:
    """Decode every chunk and every pack, and compare the counts of each series."""
    shares: dict[int, list[int]] = {}
    yield from _pack_damages(index, connection, head, shares)
    for state in projection.states():
        if state.kind in SERIES:
            yield from _chunk_damages(index, connection, state, shares.get(state.id, []))


def _pack_damages(index: Index, connection: Connection, head: Head, shares: dict[int, list[int]]) -> Iterator[Damage]:
    file = index.folder.index.name
    for row in index.all_rows(connection, "pack", range(1, head.next_pack), []):
        if not is_whole_pack(row):
            yield Damage(file, f"pack {row.id!r} fails its crc")  # its fields are named by their counts
            continue
        try:
            pack = decode_pack(row.data)
        except ChunkDamaged as error:
            yield Damage(file, f"pack {row.id}: {error}")
            continue
        # How many points each series has in packs, to be compared with the count in its own row.
        for number, (start, stop) in zip(pack.ids.tolist(), pairwise(pack.starts.tolist()), strict=True):
            shares.setdefault(number, []).append(stop - start)


def _chunk_damages(index: Index, connection: Connection, state: FieldState, shares: list[int]) -> Iterator[Damage]:
    file = index.folder.index.name
    try:
        rows = index.chunks(connection, state.id)
    except sqlite3.DatabaseError as error:
        yield Damage(file, f"its chunks cannot be read: {error}", state.path)
        return
    for row in rows:
        what = _chunk_damage(row, is_text=state.kind in TEXTS)
        if what is not None:
            yield Damage(file, f"chunk {row.key & 0xFFFFFF} {what}", state.path)
    count = sum(shares) + sum(row.count for row in rows)
    if count != state.series.count or len(rows) + len(shares) != state.pieces:
        yield Damage(file, f"{count} of its {state.series.count} points are there", state.path)


def _chunk_damage(row: Any, *, is_text: bool) -> str | None:
    if not is_whole_chunk(row):
        return "fails its crc"
    try:
        count = _decode(row, is_text=is_text)
    except MALFORMED as error:
        return f"cannot be decoded: {str(error)[:200]}"
    return None if count == row.count else f"has {count} points where {row.count} were written"


def _decode(row: Any, *, is_text: bool) -> int:
    if is_text:
        texts = decode_texts(row.data)[2]
        for text in texts:
            text.decode("utf-8", "surrogatepass")
        return len(texts)
    count = read_header(row.data).count
    decode_points(row.data, np.empty(count), np.empty(count), np.empty(count, np.int64))
    decode_pyramid(row.pyramid or b"")
    return count


# The journal


def _all_ended(folder: RunDirectory, projection: Projection, positions: Positions) -> bool:
    """Whether every writer has an end, in the index or the journal."""
    ends = {name: writer.state for name, writer in projection.writers.items()}
    for file in _open_files(folder, positions, "ops"):
        ends.setdefault(file.writer, None)
        for frame in read_ops(file, positions.get(file.name, (0, False))[0])[0]:
            ends[file.writer] = next((op.state for op in frame.ops if isinstance(op, End)), ends[file.writer])
    return bool(ends) and all(ends.values()) and not may_be_written(read_leases(folder.journal))


def _check_journal(
    folder: RunDirectory,
    projection: Projection,
    positions: Positions,
    seal: Seal | Damage | None,
    bad: dict[str, list[int]],
    coverage: Coverage,
    found: Findings,
) -> None:
    # Ops before segments: only they say which field the numbers of points mean.
    frames = []
    for file in _open_files(folder, positions, "ops"):
        start = positions.get(file.name, (0, False))[0]
        cover = coverage.files.get(file.name)
        whole, _upto, damages = read_ops(
            file, start, is_sealed=found.is_stopped, is_header_damaged=0 in bad.get(file.place, ()), cover=cover
        )
        found.damages += damages
        gap = None if found.is_stopped else tail_gap(file, start)
        if gap is not None and gap.start >= (cover.size if cover else 0):
            what = f"the last {gap.end - gap.start} bytes are a write cut short"
            found.torn.append(Damage(file.place, what, offset=gap.start))
        frames += [(file.writer, frame) for frame in whole]
    projection.apply_all(frames)
    sealed = seal.records if isinstance(seal, Seal) else {}
    received = {writer for writer, each in read_leases(folder.journal).items() if each.is_remote and not each.is_dead}
    for file in _open_files(folder, positions, "seg"):
        start = positions.get(file.name, (0, False))[0]
        cover = coverage.files.get(file.name)
        lost = found.damages if found.is_stopped else found.awaited if file.writer in received else found.torn
        counts = sealed.get(file.place, {})
        _check_segment(file, projection, start, bad.get(file.place, []), counts, cover, found, lost)
    for name, damage in coverage.missing_files(folder, positions):
        if name.endswith(".seg"):
            found.damages += _damaged_fields(damage, projection)


def _check_segment(
    file: JournalFile,
    projection: Projection,
    start: int,
    bad: list[int],
    sealed: dict[int, int],
    cover: FileCover | None,
    found: Findings,
    lost: list[Damage],
) -> None:
    records, _upto, damages = read_records(file, start, bad, cover)
    if not bad:  # else the seal has already said it, byte by byte
        found.damages += damages
        for damage in damages:
            found.damages += _damaged_fields(damage, projection)
    lost += undefined_points(file, projection, records)
    there = _by_number(records)
    # The seal has counted the points of each field, so that missing ones are named with their path.
    for number, count in sealed.items():
        if there.get(number, 0) != count:
            owner = projection.owner_of(file.writer, number)
            what = f"{count - there.get(number, 0)} of its {count} points in this file are damaged"
            found.damages.append(Damage(file.place, what, owner.path if owner else None))


def undefined_points(file: JournalFile, projection: Projection, records: Records) -> Iterator[Damage]:
    """One damage for each number of a segment's points that no op defines, so that they belong to no series."""
    for number, count in _by_number(records).items():
        if number and projection.owner_of(file.writer, number) is None:  # 0 fills a place whose point was refused late
            yield Damage(file.place, f"{count} points have the number {number}, which no op defines")


def _by_number(records: Records) -> dict[int, int]:
    """Count the points of each number, without the bit FLOAT_STEP, the mark of fractional steps."""
    numbers, counts = np.unique(records["fid"] & np.uint32(FLOAT_STEP - 1), return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _damaged_fields(damage: Damage, projection: Projection) -> Iterator[Damage]:
    """One damage for each series that may have lost points by damage in a segment."""
    name = damage.file.rpartition("/")[2].partition(".")[0]
    fields = projection.writer_of(name).fields
    # Which series is not known in detail: those whose numbers were being written, or all of the writer.
    low, high = damage.numbers or (0, len(fields))
    for number in range(max(low, 1), min(high, len(fields)) + 1):
        state = projection.owner_of(name, number)
        if state is not None and state.retired_at is None:
            yield Damage(damage.file, "some of its points in this file may be damaged", state.path)


def _open_files(folder: RunDirectory, positions: Positions, suffix: str) -> list[JournalFile]:
    """The files that are not yet wholly in the index."""
    files = list_journal(folder.journal)
    return [file for file in files if file.suffix == suffix and not positions.get(file.name, (0, False))[1]]


# The store's own files


def _store_damages(store: Layout) -> Iterator[Damage]:
    catalog = CatalogFile(store.root / "catalog.db")
    for what in catalog.damages():
        yield Damage(catalog.path.name, f"{what}; rebuild it without loss with: naiad repair --catalog")
    text = _text_of(store.root / "format")
    # An empty folder is a store too, and reading it makes a catalog; its first writer makes the rest.
    if text is None and all(name.startswith(catalog.path.stem) for name in os.listdir(store.root)):
        return
    if text is None or not text.strip().isdigit():
        yield Damage("format", "it is not the version file of a store")
    elif int(text) > FORMAT:
        raise newer_format(int(text), FORMAT, f"The store {store.root}")
    for path in _files(store.root / "keys"):
        if not _text_of(path):
            yield Damage(f"keys/{path.name}", "it does not name a project")
    for key in _files(store.root / "ids"):
        for path in _files(key):
            if not ids.is_uid((_text_of(path) or "").strip()):
                yield Damage(f"ids/{key.name}/{path.name}", "it does not name a run")
    for path in _files(store.root / "custom"):
        if not _is_ticket(path):
            yield Damage(f"custom/{path.name}", "it does not name a run")


def _missing_keys(store: Layout, found: dict[str, Findings]) -> Iterator[Damage]:
    """Look for keys whose file is lost. An imported run may have an id with another key than its project's."""
    register = Register(store.root)
    known = set(register.projects().values())
    for key in _files(store.root / "ids"):
        if "-" not in key.name and not (store.root / "keys" / key.name).is_file():
            uids = [(_text_of(path) or "").strip() for path in _files(key)]
            if not uids or any(uid not in found or found[uid].project not in known for uid in uids):
                yield Damage(f"keys/{key.name}", "it is missing, and there are ids with this key")


def _wrong_ids(store: Layout, found: dict[str, Findings]) -> Iterator[Damage]:
    """Compare each registered id with those of the run it means; `found` has the findings by uid."""
    register = Register(store.root)
    for name in register.ids():
        uid = register.uid(name)
        run = found.get(uid)
        # The ids of a run before it was moved go on to mean it.
        if run is not None and run.id not in ("", name) and name not in run.former:
            place = register.place(name)
            assert place is not None, name
            what = f"it names {uid}, whose own id is {run.id}"
            yield Damage(str(place.relative_to(store.root)), what)


def _files(folder: Path) -> list[Path]:
    """Return the entries of a folder, without hidden ones."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _is_ticket(path: Path) -> bool:
    return read_ticket(_text_of(path) or "") is not None
