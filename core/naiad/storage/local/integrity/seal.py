"""The seal: the manifest of a finished run, with sizes and checksums of its files.

`seal.json` names every file with its size and the crc32 of each 4,096-byte block, and how many records of each number a
segment has, so that damage in it is known to concern these fields and no others. It is written last and removed first.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from array import array
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import msgspec

from naiad.disk import sync_all, sync_folder
from naiad.slots import FLOAT_STEP, RECORD, SEGMENT_HEADER
from naiad.storage.local.journal.bit_errors import BLOCK
from naiad.storage.local.journal.files import list_journal
from naiad.storage.local.journal.sums import SUFFIX
from naiad.storage.local.layout import RunDirectory, newer_format
from naiad.storage.results import Damage

FORMAT = 1
BASE = ".seal"
"""Ends the name of a seal that was valid until a writer came back; it lies beside that writer's sums."""
READ = 256 * BLOCK
WORDS, NUMBER_AT, COMMIT_AT = RECORD // 4, 6, 7
"""A record as numbers of four bytes: how many there are, and the places of its field number and its commit word."""


class Seal(msgspec.Struct, frozen=True):
    """The files of a sealed run: name -> (bytes, crc32 of each block); of segments also records by field number."""

    files: dict[str, tuple[int, list[int]]]
    records: dict[str, dict[int, int]]


_encode_sorted = msgspec.json.Encoder(order="sorted").encode
Size = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Name = Annotated[str, msgspec.Meta(pattern=r"^(run\.db|journal/[^/\x00]+\.(ops|seg))\Z")]
"""A file of a run: a repair cuts and mends what the seal names, so nothing else may be named."""


class _Body(msgspec.Struct):
    """The text of a seal. A crc only vouches for who wrote it: each value is checked."""

    files: dict[Name, tuple[Size, list[int]]]
    records: dict[Name, dict[int, Size]]

    def seal(self) -> Seal:
        """Return what readers use of it."""
        return Seal(self.files, self.records)


def write_seal(folder: RunDirectory, room: str = "") -> None:
    """Sync every file of the run and write the seal.

    Args:
        folder: of the run.
        room: the name of the file in the journal folder that a writer has reserved; the seal takes its place.

    Raises:
        OSError: the disk reports an error; the run stays unsealed.
    """
    names = _content(folder)
    files: dict[str, tuple[int, list[int]]] = {}
    records: dict[str, dict[str, int]] = {}
    for name in names:
        if name.endswith(".seg"):
            with open(folder.path / name, "rb", buffering=0) as stream:
                content = stream.readall()
            crcs = [zlib.crc32(content[at : at + BLOCK]) for at in range(0, len(content), BLOCK)]
            files[name] = (len(content), crcs)
            records[name] = _count_records(content)
        else:
            files[name] = _measure(folder.path / name)
    body = {"format": FORMAT, "block": BLOCK, "files": files, "records": records}
    # Written before anything is synced, and renamed after everything is.
    hidden = folder.path / ".seal.json.new"
    if room:
        # A file that is made takes longer where others were removed a moment ago: ext4 looks at each of them.
        with contextlib.suppress(OSError):
            os.rename(folder.journal / room, hidden)
    try:
        with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb") as stream:
            stream.write(json.dumps({**body, "crc32": _crc(body)}).encode())
            stream.truncate()
        for error in sync_all([*map(folder.path.joinpath, names), folder.journal, hidden]):
            raise error
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(hidden)  # on a full disk it would keep the room that was reserved
        raise
    os.replace(hidden, folder.seal)
    sync_folder(folder.path)
    # Last: until the seal is on the disk, the sums are all by which damage shows.
    _remove_sums(folder)


def read_seal(folder: RunDirectory) -> Seal | Damage | None:
    """Return the seal and its damage, or None for a run without one.

    Raises:
        NewerFormat: a later release wrote it.
    """
    return decode_seal(folder.seal, folder.seal.name)


def decode_seal(path: Path, name: str) -> Seal | Damage | None:
    """Decode a seal from elsewhere; `name` stands in its damage."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    seal = whole_seal(text)
    if seal is not None:
        return seal
    damage = Damage(name, "it is not the seal that was written")
    try:
        body = json.loads(text)
        crc = body.pop("crc32")
        is_whole = crc == _crc(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return damage
    if not is_whole:
        return damage
    if isinstance(body.get("format"), int) and body["format"] > FORMAT:
        raise newer_format(body["format"], FORMAT, path)
    try:
        return msgspec.convert(body, _Body, str_keys=True).seal()
    except (msgspec.ValidationError, RecursionError):
        return damage


def whole_seal(text: bytes) -> Seal | None:
    """Decode a seal of this format that is whole; None where it may be damaged, or its names are not in ASCII."""
    with contextlib.suppress(msgspec.MsgspecError, RecursionError, LookupError, TypeError, AttributeError):
        body = msgspec.json.decode(text)
        # The same bytes as those of `_crc`, at a quarter of the time: a catalog reads very many seals.
        if body.pop("crc32") == zlib.crc32(_encode_sorted(body)) and body["format"] == FORMAT:
            return msgspec.convert(body, _Body, str_keys=True).seal()
    return None


def remove_seal(folder: RunDirectory, writer: str) -> None:
    """Remove the seal before a change. A writer keeps it with its sums, as a record of the files."""
    folder.journal.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        # Renamed, not removed: it still tells which files there were, with their checksums, until a new seal replaces
        # it.
        folder.seal.rename(folder.journal / (writer + BASE))
    for directory in (folder.journal, folder.path):
        sync_folder(directory)


def _remove_sums(folder: RunDirectory) -> None:
    """Remove all sums, which the seal replaces."""
    for name in os.listdir(folder.journal):
        if name.endswith((SUFFIX, BASE)) and not name.startswith("."):
            (folder.journal / name).unlink(missing_ok=True)


def damaged_blocks(folder: RunDirectory, seal: Seal, name: str) -> list[int] | None:
    """Offsets of the blocks of a file that are not as sealed; None when the file is missing."""
    size, crcs = seal.files[name]
    try:
        found_size, found = _measure(folder.path / name)
    except FileNotFoundError:
        return None
    blocks = [i * BLOCK for i, crc in enumerate(crcs) if i >= len(found) or found[i] != crc]
    if found_size > size and not blocks:
        blocks.append(size)
    return blocks


def quick_check(folder: RunDirectory, seal: Seal) -> tuple[list[Damage], dict[str, list[int]]]:
    """Return visible damage, and the damaged blocks of each journal file.

    Of the index only the size is looked at: its rows carry their own crc, and a long run must open at once.
    """
    damages: list[Damage] = []
    damaged: dict[str, list[int]] = {}
    for name, (size, crcs) in seal.files.items():
        if name != folder.index.name:
            blocks = damaged_blocks(folder, seal, name)
            if blocks != []:
                damaged[name] = [i * BLOCK for i in range(len(crcs))] if blocks is None else blocks
                damages += seal_damages(folder, seal, name, blocks)
        elif _size(folder.index) != size:
            damages.append(_size_damage(folder, name, size))
    return damages, damaged


def seal_damages(folder: RunDirectory, seal: Seal, name: str, blocks: list[int] | None) -> list[Damage]:
    """Return the damage of a file with these damaged blocks: its size, and each stretch once."""
    size, _crcs = seal.files[name]
    found = _size(folder.path / name)
    if blocks is None or found is None:
        return [Damage(name, "it is missing")]
    damages = [] if found == size else [_size_damage(folder, name, size)]
    stretches: list[list[int]] = []
    # Neighbouring blocks are one stretch: a damaged megabyte is one line of a report, not 256.
    for at in blocks:
        if at >= found:
            break  # said by the size
        if stretches and at == stretches[-1][1]:
            stretches[-1][1] = at + BLOCK
        else:
            stretches.append([at, at + BLOCK])
    for start, end in stretches:
        what = f"bytes {start} to {min(end, found) - 1} are not all those that were sealed"
        damages.append(Damage(name, what, offset=start))
    return damages


def extra_files(folder: RunDirectory, seal: Seal) -> list[str]:
    """Files of the index and the journal that were not there when the run was sealed."""
    beside = [folder.index.name + end for end in ("-wal", "-journal") if _size(folder.path / (folder.index.name + end))]
    return [name for name in [*_content(folder), *beside] if name not in seal.files]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _size_damage(folder: RunDirectory, name: str, size: int) -> Damage:
    found = _size(folder.path / name)
    return Damage(name, "it is missing" if found is None else f"it has {found} bytes where {size} were sealed")


def _content(folder: RunDirectory) -> list[str]:
    names = [folder.index.name] if folder.index.exists() else []
    return names + [file.place for file in list_journal(folder.journal)]


def _measure(path: Path) -> tuple[int, list[int]]:
    crcs, size = [], 0
    with open(path, "rb", buffering=0) as stream:
        while data := stream.read(READ):
            while len(data) % BLOCK and (more := stream.read(BLOCK - len(data) % BLOCK)):
                data += more  # a read may be short anywhere, and blocks begin at multiples of their length
            size += len(data)
            crcs += [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    return size, crcs


def _count_records(content: bytes) -> dict[str, int]:
    """Count the records of a segment by field number, without numpy, which a short run never loads."""
    end = len(content) - len(content[SEGMENT_HEADER:]) % RECORD
    with memoryview(content) as whole, whole[SEGMENT_HEADER:end] as records, records.cast("I") as words:
        numbers, commits = words[NUMBER_AT::WORDS].tolist(), array("I", words[COMMIT_AT::WORDS].tobytes())
    offsets = array("I", range(SEGMENT_HEADER, end, RECORD))
    if commits != offsets:
        numbers = [number for number, commit, at in zip(numbers, commits, offsets, strict=True) if commit == at]
    counts: Counter[int] = Counter()
    for number, count in Counter(numbers).items():
        counts[number & ~FLOAT_STEP] += count
    return {str(number): count for number, count in counts.items()}


def _crc(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
