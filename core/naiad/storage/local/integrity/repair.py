"""Repair: rebuilds a run from its intact parts, beside the originals, which are kept.

All work is done on a copy. The originals get a second name in `damaged-<time>` before anything changes, and then the
new files take the place of the old ones, each at once: a repair that is killed can be done again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import warnings
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from naiad import clock
from naiad.disk import sync_folder
from naiad.errors import DamagedData, DamageWarning, StorageError
from naiad.kinds import DERIVED, SERIES
from naiad.settings import Tuning
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.index.index import Index
from naiad.storage.local.integrity.losses import Losses
from naiad.storage.local.integrity.rebuild import rebuild, sums_of, writer_of
from naiad.storage.local.integrity.seal import Seal, damaged_blocks, read_seal, write_seal
from naiad.storage.local.integrity.verify import Findings, examine
from naiad.storage.local.journal.bit_errors import BLOCK, correct_single_bit
from naiad.storage.local.journal.coverage import Coverage, read_coverage
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.journal.leases import SUFFIX as LEASE
from naiad.storage.local.journal.leases import TAKEN, read_taken
from naiad.storage.local.journal.records import mended_range
from naiad.storage.local.journal.sums import lone_sums
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.results import Damage
from naiad.storage.sql.database import make_single_file, open_for_reading

LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Repair:
    """The findings and results of a repair.

    Attributes:
        kept: the folder with the originals; None when the run was whole and nothing was changed.
        damages: the damage that `verify` reports, or the torn end of a killed run.
        fields: how many fields the run has now.
        points: how many points its series have now.
        lost: how many points are known to be gone. Where not even their number is left, see `damages`.
        taken: how many silent writers were declared dead.
        lost_fields: the paths of fields that are gone, and of series that have no point left, as far as damaged bytes
            still tell them.
        lost_nameless: how many fields are gone beside those.
        lost_files: the stored files whose content is damaged; the damaged bytes are in `kept`.
        is_folded: whether the run was whole, and what a killed writer had left in its journal was put into its index.
    """

    kept: Path | None
    damages: list[Damage]
    fields: int
    points: int
    lost: int
    taken: int = 0
    lost_fields: tuple[str, ...] = ()
    lost_nameless: int = 0
    lost_files: tuple[str, ...] = ()
    is_folded: bool = False


def repair(folder: RunDirectory, *, is_taken_over: bool = False) -> Repair:
    """Save everything of a damaged run that is whole. Nothing is ever deleted: the originals are kept beside it.

    One flipped bit in a file of a run that was stopped is corrected. Beyond that, damaged parts are left out: whole
    fields, points or values may be missing afterwards, none is wrong. Series whose path is lost are found
    below `recovered`. A killed run stays killed; the journal of one that is whole is folded into its index.

    Args:
        folder: the run.
        is_taken_over: declare the silent writers of the run dead first. Their files stay where they are, so that one
            that comes back after all loses nothing.

    Raises:
        StorageError: a process writes the run or may be writing it, or the disk reports an error; nothing was changed.
        NewerFormat: a later release wrote the run.
        DamagedData: nothing could be put together; nothing was changed.
    """
    _refuse_if_written(folder, may_be_silent=is_taken_over)
    try:
        with folder.lock(LOCK_SECONDS):
            _refuse_if_written(folder, may_be_silent=is_taken_over)
            taken = _take_over(folder) if is_taken_over else 0
            return replace(_repair(folder), taken=taken)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"The run in {folder.path} cannot be repaired: {error}", errno=error.errno, filename=str(folder.path)
        ) from error


def _repair(folder: RunDirectory) -> Repair:
    found = examine(folder)
    if not found.damages and not found.torn:
        return replace(_told(folder, None, found, Losses()), is_folded=_fold_whole(folder, found))
    losses = Losses()
    if not found.damages:
        kept = _keep(folder, _content(folder))
        Maintenance(folder, Tuning.from_environment()).fold(None)
    else:
        # All work is done on a copy. The run itself changes only by the renames at the end, so a kill leaves it as it
        # was.
        with _copied(folder) as copy:
            losses.expected = _expected_fields(copy)
            _mend(copy, found, losses, _silent(folder))
            # The originals get their second names before anything takes their place.
            kept = _keep(folder, _content(folder))
            _keep_blobs(folder, kept, losses)
            _put_in_place(folder, copy)
        for damage in found.damages:
            losses.suspect(damage.path)
    if found.is_stopped or found.is_ended:
        _seal(folder)
    if (folder.path.parent.parent / "format").exists():  # a run beside its store has no catalog to tell
        folder.mark_changed()
    return _told(folder, kept, found, losses)


def _fold_whole(folder: RunDirectory, found: Findings) -> bool:
    """Fold the journal of a killed writer of an intact run; return whether there was anything to fold."""
    silent = _silent(folder)
    if folder.seal.exists() or all(file.writer in silent for file in list_journal(folder.journal)):
        return False
    Maintenance(folder, Tuning.from_environment()).fold(None)
    if found.is_ended:
        _seal(folder)
    if (folder.path.parent.parent / "format").exists():
        folder.mark_changed()
    return True


def _seal(folder: RunDirectory) -> None:
    """Seal the run. A sealed index is read without its log, where a fold stays while another process reads the run."""
    if folder.index.exists():
        make_single_file(folder.index)
    write_seal(folder)


def _refuse_if_written(folder: RunDirectory, *, may_be_silent: bool) -> None:
    taken = read_taken(folder.journal)
    known = [each for writer, each in Reader(folder).candidates().items() if writer not in taken]
    if any(each.is_alive for each in known):
        raise StorageError(
            f"The run in {folder.path} is being written and cannot be repaired now.\n"
            "Stop the program that writes it, then repair it.",
            errno=errno.EBUSY,
            filename=str(folder.path),
        )
    silent = [each.seen for each in known if not each.is_dead]
    if silent and not may_be_silent:
        seen = datetime.fromtimestamp(max(silent)).astimezone().isoformat(sep=" ", timespec="seconds")
        raise StorageError(
            f"The run in {folder.path} may still be in use: its last sign of life was at {seen}, and its process "
            "is not proven dead.\n"
            f"If you know that the process is gone, run: naiad repair {folder.uid} --take-over",
            errno=errno.EBUSY,
            filename=str(folder.path),
        )


def _take_over(folder: RunDirectory) -> int:
    """Declare the silent writers dead, fold their journals, and return their number.

    Nothing of theirs is removed or cut. One that comes back misses its lease at its next sync and goes on in new files.
    """
    silent = [writer for writer, each in Reader(folder).candidates().items() if not each.is_dead]
    for writer in silent:
        try:
            os.rename(folder.journal / (writer + LEASE), folder.journal / (writer + TAKEN))
        except FileNotFoundError:  # the lease was deleted
            (folder.journal / (writer + TAKEN)).touch()
    if silent:
        sync_folder(folder.journal)
        with contextlib.suppress(OSError, DamagedData):  # one that was suspended inside a fold keeps the index locked
            Maintenance(folder, Tuning.from_environment()).fold(None)
        if (folder.path.parent.parent / "format").exists():
            folder.mark_changed()
    return len(silent)


def _silent(folder: RunDirectory) -> set[str]:
    """The writers that were declared dead and may come back: their files are neither removed, replaced nor cut."""
    return {writer for writer, each in read_taken(folder.journal).items() if not each.is_dead}


def _told(folder: RunDirectory, kept: Path | None, found: Findings, losses: Losses) -> Repair:
    reader = Reader(folder)
    kinds = {path: kind for path, kind in reader.kinds().items() if path not in DERIVED}
    counts = {path: reader.count(path) for path, kind in kinds.items() if kind in SERIES}
    losses.settle(kinds, [path for path, count in counts.items() if not count])
    fields, files = tuple(sorted(losses.fields)), tuple(sorted(losses.files))
    damages = [*found.damages, *found.torn]
    return Repair(
        kept,
        damages,
        len(kinds),
        sum(counts.values()),
        losses.points,
        lost_fields=fields,
        lost_nameless=losses.nameless,
        lost_files=files,
    )


# Keeping the originals


def _content(folder: RunDirectory) -> list[str]:
    """Every file that a repair may replace."""
    beside = (folder.index.name, folder.index.name + "-wal", folder.index.name + "-journal", folder.seal.name)
    names = [name for name in beside if (folder.path / name).exists()]
    return names + [file.place for file in list_journal(folder.journal)] + sums_of(folder)


def _keep(folder: RunDirectory, names: list[str]) -> Path:
    """Give the originals a second name, or copy them where the file system has no hard links."""
    kept, silent = _new_folder(folder), _silent(folder)
    for name in names:
        (kept / name).parent.mkdir(exist_ok=True)
        try:
            if writer_of(name) in silent:  # its bytes may change in place
                raise OSError
            os.link(folder.path / name, kept / name)
        except OSError:
            shutil.copy2(folder.path / name, kept / name)
    for place in (kept, folder.path):
        sync_folder(place)
    return kept


def _keep_blobs(folder: RunDirectory, kept: Path, losses: Losses) -> None:
    """Move damaged content to the originals, because `naiad gc` removes unreferenced content."""
    for name in losses.blobs:
        path = Blobs(folder.blobs).path(name)
        if path.exists():
            (kept / "blobs").mkdir(exist_ok=True)
            shutil.copy2(path, kept / "blobs" / name)


def _new_folder(folder: RunDirectory) -> Path:
    name = datetime.fromtimestamp(clock.now(), timezone.utc).strftime("damaged-%Y%m%dT%H%M%SZ")
    number = 1
    while True:
        kept = folder.path / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            kept.mkdir()
            return kept
        number += 1


@contextlib.contextmanager
def _copied(folder: RunDirectory) -> Iterator[RunDirectory]:
    """A copy of the run beside it, to work on."""
    place = folder.path / ".repair"
    shutil.rmtree(place, ignore_errors=True)  # left by a repair that was killed
    copy = RunDirectory(place / folder.path.parent.name / folder.uid)
    copy.journal.mkdir(parents=True)
    copy.blobs.symlink_to(folder.blobs.absolute())
    try:
        for name in _content(folder):
            shutil.copy2(folder.path / name, copy.path / name)
        yield copy
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _put_in_place(folder: RunDirectory, copy: RunDirectory) -> None:
    """The index first: it lists the journal files in it, so that none is read twice if this is cut short."""
    folder.journal.mkdir(exist_ok=True)
    silent = _silent(folder)
    if copy.index.exists():
        for end in ("-wal", "-shm", "-journal"):
            folder.index.with_name(folder.index.name + end).unlink(missing_ok=True)
        os.replace(_apart(copy.index), folder.index)
    left = [file.place for file in list_journal(copy.journal)] + sums_of(copy)
    for place in left:
        # A silent writer may have the file open: a new file of the name would take away its place to write, so bytes
        # are corrected where they are.
        if writer_of(place) in silent:
            _overwrite(folder.path / place, (copy.path / place).read_bytes())
        else:
            os.replace(copy.path / place, folder.path / place)
    for place in [file.place for file in list_journal(folder.journal)] + sums_of(folder):
        if place not in left and writer_of(place) not in silent:
            (folder.path / place).unlink()
    for directory in (folder.journal, folder.path):
        sync_folder(directory)


def _apart(index: Path) -> Path:
    """Copy a repaired index to a file that this process has never opened through SQLite.

    SQLite keeps locks and shared memory by inode. A connection that is still open, to the index where it was repaired,
    would give its own to the next one, which then looks for pages in a log that is not there: "disk I/O error".
    """
    fresh = index.with_name(f".{index.name}.fresh")
    shutil.copyfile(index, fresh)
    shutil.copystat(index, fresh)
    with fresh.open("rb") as stream:
        os.fsync(stream.fileno())
    return fresh


def _overwrite(path: Path, mended: bytes) -> None:
    """Write the bytes that were turned back, and no others: the writer may be adding to the file again."""
    with path.open("r+b") as stream:
        damaged = stream.read(len(mended))
        for at in [at for at, (was, now) in enumerate(zip(damaged, mended, strict=False)) if was != now]:
            stream.seek(at)
            stream.write(mended[at : at + 1])


# Mending


def _mend(copy: RunDirectory, found: Findings, losses: Losses, silent: Collection[str] = ()) -> None:
    """Make the copy whole, and note the losses; of the files of `silent` writers only those of the parts that are read.

    Raises:
        DamagedData: there is damage left that nothing helps against.
    """
    seal = read_seal(copy)
    coverage = Coverage() if seal is not None else read_coverage(copy)
    if isinstance(seal, Seal):
        _turn_back(copy, seal)
    _turn_ranges_back(copy, coverage)
    # Flipped bits were all that was wrong, and nothing has to be left out.
    if not _beyond_seal(copy):
        _absorb_log(copy)
        return
    rebuild(copy, seal if isinstance(seal, Seal) else None, coverage, losses, silent)
    if not found.is_stopped and not found.is_ended:
        _note_index(copy)
    # Examined once more as `naiad verify` would: a repair never hands out a run that is still damaged.
    rest = _beyond_seal(copy)
    if rest:
        raise DamagedData(
            f"The run in {copy.path} cannot be repaired: {rest[0]}.",
            file=rest[0].file, offset=0, what=rest[0].what,
        )  # fmt: skip


def _absorb_log(copy: RunDirectory) -> None:
    """Write the log of the index into the index itself, the one file that is put in place.

    A killed writer leaves such a log; folds may be in it alone, as long as a reader had the index open beside them.

    Raises:
        StorageError: the disk reports an error.
    """
    log = copy.index.with_name(copy.index.name + "-wal")
    if log.exists():
        make_single_file(copy.index)
        log.unlink(missing_ok=True)


def _expected_fields(copy: RunDirectory) -> int:
    """How many fields the run had, as far as that is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        try:
            there = len([path for path in Reader(copy).kinds() if path not in DERIVED])
        except DamagedData:
            there = 0
    coverage = Coverage() if copy.seal.exists() else read_coverage(copy)
    return max(there, coverage.fields, _fields_by_head(copy))


def _fields_by_head(copy: RunDirectory) -> int:
    """The fields that the head of the index counts, without those that were deleted and are kept for their numbers."""
    if not copy.index.exists():
        return 0
    engine = open_for_reading(copy.index, is_final=True)
    index = Index(copy, engine)
    try:
        with index.view() as connection:
            projection, head, _positions, _damages = index.load_whole(connection)
            return head.fields - len(projection.tombstones)
    except sqlite3.Error:
        return 0
    finally:
        engine.dispose()


def _note_index(copy: RunDirectory) -> None:
    """Write sums of the new index of an unsealed run, so that its loss is noticed."""
    engine = open_for_reading(copy.index, is_final=True)  # a log beside it would have to be moved with it
    index = Index(copy, engine)
    with index.view() as connection:
        head = index.head(connection)
    engine.dispose()
    with lone_sums(copy.journal) as sums:
        sums.note_index(head.folds, head.points, head.fields)
        sums.cover((), ())


def _beyond_seal(copy: RunDirectory) -> list[Damage]:
    """Return the damage apart from the seal, which is rewritten."""
    return [damage for damage in examine(copy).damages if damage.file != copy.seal.name]


def _turn_back(copy: RunDirectory, seal: Seal) -> None:
    """Cut appended bytes off, and correct single flipped bits."""
    for name, (size, crcs) in seal.files.items():
        path = copy.path / name
        if not path.exists():
            continue
        if path.stat().st_size > size:
            os.truncate(path, size)
        for at in damaged_blocks(copy, seal, name) or []:
            with path.open("r+b") as stream:
                stream.seek(at)
                mended = correct_single_bit(stream.read(BLOCK), crcs[at // BLOCK])
                if mended is not None:
                    stream.seek(at)
                    stream.write(mended)


def _turn_ranges_back(copy: RunDirectory, coverage: Coverage) -> None:
    """Turn back single flipped bits in ranges of segments whose crc32 the sums have."""
    for file in list_journal(copy.journal):
        cover = coverage.files.get(file.name)
        for one in cover.ranges.values() if cover is not None else ():
            with file.path.open("r+b") as stream:
                stream.seek(one.start)
                content = stream.read(one.end - one.start)
                mended = mended_range(content, one) if zlib.crc32(content) != one.crc else None
                if mended is not None:
                    stream.seek(one.start)
                    stream.write(mended)
