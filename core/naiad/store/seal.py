"""The seal: what a run that was stopped in order consists of, so that later damage cannot pass for its end.

`seal.json` names every file with its size and the crc32 of each 4,096-byte block. It is written last and removed first.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naiad.errors import NewerFormat
from naiad.store.folder import RunFolder
from naiad.store.tails import Damage

__all__ = ["BLOCK", "Seal", "damaged_blocks", "quick_check", "read_seal", "remove_seal", "write_seal"]

FORMAT = 1
BLOCK = 4096
READ = 256 * BLOCK


@dataclass(frozen=True)
class Seal:
    """The files of a sealed run: name -> (bytes, crc32 of each block)."""

    files: dict[str, tuple[int, list[int]]]


def write_seal(folder: RunFolder) -> None:
    """Sync every file of the run and write down what it is.

    Raises:
        OSError: the disk refuses; the run stays unsealed.
    """
    files = {name: _measure(folder.path / name) for name in _content(folder)}
    body = {"format": FORMAT, "block": BLOCK, "files": files}
    text = json.dumps({**body, "crc32": _crc(body)}, indent=1)
    hidden = folder.path / ".seal.json.new"
    with hidden.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    hidden.replace(folder.seal)
    for directory in (folder.journal, folder.path):
        sync_folder(directory)


def read_seal(folder: RunFolder) -> Seal | Damage | None:
    """The seal, what is wrong with it, or None of a run that has none.

    Raises:
        NewerFormat: a later release wrote it.
    """
    try:
        text = folder.seal.read_bytes()
    except FileNotFoundError:
        return None
    damage = Damage(folder.seal.name, "it is not the seal that was written")
    try:
        body = json.loads(text)
        crc = body.pop("crc32")
        is_whole = crc == _crc(body)
    except (ValueError, KeyError, TypeError, AttributeError):
        return damage
    if not is_whole:
        return damage
    if body["format"] > FORMAT:
        raise NewerFormat(
            f"{folder.seal} was written by a later release of naiad (format {body['format']}; this one knows {FORMAT}).\n"
            "Install that release to read it; nothing was changed."
        )
    return Seal({name: (size, crcs) for name, (size, crcs) in body["files"].items()})


def remove_seal(folder: RunFolder) -> None:
    """Before anything of the run changes."""
    folder.seal.unlink(missing_ok=True)
    sync_folder(folder.path)


def damaged_blocks(folder: RunFolder, seal: Seal, name: str) -> list[int] | None:
    """Offsets of the blocks of a file that are not as sealed; None when the file is missing."""
    size, crcs = seal.files[name]
    try:
        found_size, found = _measure(folder.path / name, is_synced=False)
    except FileNotFoundError:
        return None
    blocks = [i * BLOCK for i, crc in enumerate(crcs) if i >= len(found) or found[i] != crc]
    if found_size > size and not blocks:
        blocks.append(size)
    return blocks


def quick_check(folder: RunFolder, seal: Seal) -> list[Damage]:
    """What is wrong at first sight: sizes, and every block of the journal, which has no other crc on its points."""
    damages = []
    for name, (size, _crcs) in seal.files.items():
        path = folder.path / name
        if not path.exists():
            damages.append(Damage(name, "it is missing"))
        elif path.stat().st_size != size:
            damages.append(Damage(name, f"it has {path.stat().st_size} bytes where {size} were sealed"))
        elif name != folder.index.name:
            blocks = damaged_blocks(folder, seal, name) or []
            damages += [Damage(name, "these bytes are not those that were sealed", offset=at) for at in blocks]
    return damages


def sync_folder(path: Path) -> None:
    """Let the names of new and renamed files reach the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _content(folder: RunFolder) -> list[str]:
    names = [folder.index.name] if folder.index.exists() else []
    journal = (name for name in sorted(os.listdir(folder.journal)) if name.endswith((".seg", ".ops")))
    return names + [f"{folder.journal.name}/{name}" for name in journal]


def _measure(path: Path, *, is_synced: bool = True) -> tuple[int, list[int]]:
    crcs, size = [], 0
    with path.open("rb") as stream:
        if is_synced:
            os.fsync(stream.fileno())
        while data := stream.read(READ):
            size += len(data)
            crcs += [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    return size, crcs


def _crc(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
