"""Coverage: the combined sums of all writers of an unsealed run, and the files missing by them."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from naiad.storage.local.integrity.seal import BASE, Seal, decode_seal
from naiad.storage.local.journal.bit_errors import BLOCK
from naiad.storage.local.journal.files import JournalFile, list_journal
from naiad.storage.local.journal.frames import FILE_HEADER, SUMMED_HEADER, read_ops
from naiad.storage.local.journal.sums import (
    ENTRY,
    INDEX,
    SUFFIX,
    SUMS_HEADER,
    SYNCED,
    VERSION,
    Entry,
    FileCover,
    Range,
    add_covers,
    read_sums,
)
from naiad.storage.local.layout import RunDirectory, newer_format
from naiad.storage.results import Damage

Positions = Mapping[str, tuple[int, bool]]


class Coverage(msgspec.Struct):
    """The combined sums of a run; empty for a sealed one, whose seal replaces them.

    Attributes:
        files: by name, the journal files that are not known to be folded.
        writers: those that have sums.
        sealed: journal files that a seal vouched for until a writer came back.
        folds, points, fields: the least counts of the index.
        damages: the damage of the sums themselves.
        torn: sums that were being written when their writer was killed.
    """

    files: dict[str, FileCover] = msgspec.field(default_factory=dict)
    writers: set[str] = msgspec.field(default_factory=set)
    sealed: set[str] = msgspec.field(default_factory=set)
    has_base: bool = False
    has_index: bool = False
    folds: int = 0
    points: int = 0
    fields: int = 0
    damages: list[Damage] = msgspec.field(default_factory=list)
    torn: list[Damage] = msgspec.field(default_factory=list)

    def is_empty(self) -> bool:
        """Whether there are no sums at all."""
        return not self.writers and not self.has_base

    def missing_files(self, folder: RunDirectory, positions: Positions) -> Iterator[tuple[str, Damage]]:
        """Return missing files, with the loss of each."""
        for name, cover in sorted(self.files.items()):
            upto, is_done = positions.get(name, (0, False))
            # A file that is not there was either folded, which the index knows, or lost.
            if is_done or (folder.journal / name).exists():
                continue
            points = cover.points_from(upto)
            what = f"{points} points were in it" if name.endswith(".seg") else f"{cover.size - upto} bytes were in it"
            yield name, Damage(f"{folder.journal.name}/{name}", f"it is missing; {what}")

    def missing_sums(self, folder: RunDirectory, files: Iterable[JournalFile]) -> Iterator[Damage]:
        """Return missing sums of writers whose ops files require them."""
        suspects = {file.writer for file in files if file.suffix == "ops" and file.name not in self.sealed}
        for writer in sorted(suspects - self.writers):
            place = folder.journal / (writer + SUFFIX)
            its_own = [file.path for file in files if file.writer == writer and file.suffix == "ops"]
            if any(map(_is_summed, its_own)) and not place.exists():  # else they were just made
                yield Damage(f"{folder.journal.name}/{place.name}", "it is missing, so the journal cannot be checked")

    def first_damage(self, folder: RunDirectory, positions: Positions) -> Damage | None:
        """Something that is not as the sums have it, if there is any; without numpy, which a short run never loads."""
        if self.damages:
            return self.damages[0]
        for _name, damage in self.missing_files(folder, positions):
            return damage
        for file in list_journal(folder.journal):
            upto, is_done = positions.get(file.name, (0, False))
            cover = self.files.get(file.name)
            if cover is not None and not is_done:
                check = _range_damages if file.suffix == "seg" else _ops_damages
                for damage in check(file, upto, cover):
                    return damage
        return None

    def index_damage(self, folder: RunDirectory, folds: int | None) -> Damage | None:
        """Return the damage of an index by its count of folds; None if it does not exist."""
        name = folder.index.name
        if folds is None and (self.folds or self.has_index):
            known = f"; {self.points} points and {self.fields} fields were in it" if self.points else ""
            return Damage(name, f"it is missing{known}")
        # An older `run.db` that was restored from a backup is whole and valid; only the count shows that it is not
        # the last.
        if folds is not None and 0 <= folds < self.folds:
            return Damage(name, f"it is older than it was: {folds} folds are in it where {self.folds} were made")
        return None


def read_coverage(folder: RunDirectory) -> Coverage:
    """Read the sums of a run. Read them before the journal, whose files they promise.

    Raises:
        FileNotFoundError: some of them went meanwhile, because the run was sealed.
        NewerFormat: a later release wrote them.
    """
    found = Coverage()
    for name in _names(folder):
        path = folder.journal / name
        if name.endswith(SUFFIX):
            _read_sums(folder, path, found)
        else:
            _read_base(folder, path, found)
    return found


def _range_damages(file: JournalFile, upto: int, cover: FileCover) -> Iterator[Damage]:
    data = file.path.read_bytes()
    for one in cover.ranges.values():
        if one.end > upto and zlib.crc32(data[one.start : one.end]) != one.crc:
            what = f"bytes {one.start} to {one.end - 1} are not those that were written"
            yield Damage(file.place, what, offset=one.start)


def _ops_damages(file: JournalFile, upto: int, cover: FileCover) -> Iterator[Damage]:
    yield from read_ops(file, upto, cover=cover)[2]


def _names(folder: RunDirectory) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = [name for name in os.listdir(folder.journal) if not name.startswith(".")]
        return sorted(name for name in names if name.endswith((SUFFIX, BASE)))
    return []


def _read_sums(folder: RunDirectory, path: Path, found: Coverage) -> None:
    writer = path.name.removesuffix(SUFFIX)
    place = f"{folder.journal.name}/{path.name}"
    found.writers.add(writer)
    sums = read_sums(path.read_bytes())
    if sums.version > VERSION:
        raise newer_format(sums.version, VERSION, path)
    if sums.problem:
        found.damages.append(Damage(place, sums.problem, offset=0))
    base = folder.journal / (writer + BASE)
    if sums.has_base and not base.exists() and not folder.seal.exists():
        found.damages.append(Damage(f"{folder.journal.name}/{base.name}", "it is missing"))
    entries = sums.entries
    if None in entries:
        _note_broken(place, entries, found)
    if not sums.is_same_boot:  # the machine may have lost power: what was not on its disk then is no damage
        sure = max((entry.number for entry in entries if entry and entry.kind == SYNCED), default=0)
        entries = entries[:sure]
    for entry in entries:
        # The highest count of any writer: every process that folds notes it, and entries are read in no order.
        if entry is not None and entry.kind == INDEX and entry.number >= found.folds:
            points = entry.high << 32 | entry.low
            found.folds, found.fields, found.points = entry.number, entry.start, points or found.points
    add_covers(found.files, writer, entries)


def _note_broken(place: str, entries: list[Entry | None], found: Coverage) -> None:
    """Entries at the end may have been cut short by a kill."""
    whole = max((i for i, entry in enumerate(entries) if entry is not None), default=-1)
    for i, entry in enumerate(entries):
        if entry is None:
            offset = SUMS_HEADER + i * ENTRY
            if i < whole:
                found.damages.append(Damage(place, "these sums are not those that were written", offset=offset))
            else:
                found.torn.append(Damage(place, "the last sums are a write cut short", offset=offset))
                return


def _read_base(folder: RunDirectory, path: Path, found: Coverage) -> None:
    """Read the blocks of files that were sealed once and not changed since."""
    place = f"{folder.journal.name}/{path.name}"
    found.has_base = True
    seal = decode_seal(path, place)
    if seal is None:
        raise FileNotFoundError(path)
    if isinstance(seal, Damage):
        found.damages.append(seal)
    else:
        _take_base(folder, seal, found)


def _take_base(folder: RunDirectory, seal: Seal, found: Coverage) -> None:
    for place, (size, crcs) in seal.files.items():
        name = place.rpartition("/")[2]
        if place == folder.index.name:
            found.has_index = True
            continue
        found.sealed.add(name)
        cover = found.files.setdefault(name, FileCover())
        cover.size = max(cover.size, size)
        if name.endswith(".seg"):
            for i, crc in enumerate(crcs):
                cover.add(Range(i * BLOCK, min((i + 1) * BLOCK, size), crc))


def _is_summed(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(FILE_HEADER) == SUMMED_HEADER
    except FileNotFoundError:
        return False
