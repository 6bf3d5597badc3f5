"""The mark and sweep of `naiad gc`: a census of `blobs/`, then removal of unreferenced files.

First a census, then the references of all runs, then the sweep. Whatever was made, settled or renewed after the census
has a later time than it had there, and stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from naiad import clock
from naiad.storage.local.blobs import FORWARD, INCOMING, Blobs, is_incoming

GRACE_SECONDS = 600.0
"""What was used so recently is never removed: an op that names it may be on its way."""


@dataclass(frozen=True)
class StoredFile:
    """One file below `blobs/` at the census. `size` is the space that removing it would free."""

    name: str
    path: Path
    size: int
    modified: float
    inode: int

    @property
    def meaning(self) -> str:
        """The name that an op would have for it."""
        return self.name.removesuffix(FORWARD)

    @property
    def is_blob(self) -> bool:
        """Whether it is content in its place: neither incoming nor left on its way by a process that died."""
        return "." not in self.name

    @property
    def writer(self) -> str:
        """Who took it in; empty for a blob."""
        return self.meaning.partition(".")[0] if is_incoming(self.meaning) else ""


@dataclass(frozen=True)
class Census:
    """All files below `blobs/` at one moment."""

    at: float
    files: tuple[StoredFile, ...]


def census(blobs: Blobs) -> Census:
    """Take a census of `blobs/`. Call it first, then gather references, then call `sweep`."""
    at = clock.now()
    files: list[StoredFile] = []
    with contextlib.suppress(FileNotFoundError):
        for folder in sorted(os.listdir(blobs.root)):
            if folder == INCOMING or len(folder) == 2:
                files += _files(blobs.root / folder)
    return Census(at, tuple(files))


def sweep(
    blobs: Blobs,
    found: Census,
    referenced: Set[str],
    alive: Set[str] = frozenset(),
    *,
    grace: float = GRACE_SECONDS,
    is_dry: bool = False,
) -> list[StoredFile]:
    """Remove unreferenced files, and return them.

    What was made, settled or renewed since shortly before the census stays, whatever `referenced` says; so does a blob
    whose incoming name is still in use, because the op that has the sha256 may not be written yet.

    Args:
        found: a census taken before `referenced` was gathered.
        referenced: every sha256 and incoming name in an op or index of any run.
        alive: writers whose incoming files may not be named by an op yet.
        grace: how many seconds before the census count as recent.
        is_dry: remove nothing.
    """
    idle = [
        file
        for file in found.files
        if file.meaning not in referenced and file.writer not in alive and file.modified < found.at - grace
    ]
    kept = {file.inode for file in set(found.files) - set(idle)}
    idle = [file for file in idle if not file.is_blob or file.inode not in kept]
    if is_dry or not idle:
        return idle
    with blobs.lock(fcntl.LOCK_EX):
        return [file for file in idle if _remove(file)]


def _files(folder: Path) -> Iterator[StoredFile]:
    for name in sorted(os.listdir(folder)):
        with contextlib.suppress(FileNotFoundError):
            facts = (folder / name).stat(follow_symlinks=False)
            is_second = folder.name == INCOMING and facts.st_nlink > 1  # settled: the blob has the bytes
            yield StoredFile(name, folder / name, 0 if is_second else facts.st_size, facts.st_mtime, facts.st_ino)


def _remove(file: StoredFile) -> bool:
    """Remove a file that has not been touched since the census."""
    try:
        if file.path.stat(follow_symlinks=False).st_mtime != file.modified:
            return False
        file.path.unlink()
    except FileNotFoundError:
        return False
    return True
