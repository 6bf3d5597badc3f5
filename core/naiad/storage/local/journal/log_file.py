"""Log files: the common base of segments and ops files, with the size that is safe.

The one rule: once a sync of a file has failed, no later sync of it counts. Its bytes are written to a new file.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeVar

put_on_disk: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class LogFile(ABC):
    """One file that this process appends to, and how much of it is safe."""

    def __init__(self, name: str, fd: int, header: int) -> None:
        self.name = name
        self.fd = fd
        self.is_stored = True
        """Whether it is a file: a segment may be in memory while the disk refuses files."""
        self.synced: int | None = None
        """Its size at the last sync, if two syncs in a row saw that size; only then does the next one skip it."""
        self.seen: int | None = None
        self.safe = header
        """Bytes that a sync has confirmed."""
        self.safe_weight = 0
        self.folded = header
        """Bytes that are in the index."""
        self.is_doubtful = False
        """A sync failed: the kernel may have given pages up, and would claim success for them the next time."""

    @abstractmethod
    def progress(self) -> tuple[int, int]:
        """Bytes written so far, and their weight: how many points or ops would be missing without them."""

    def is_confirmed(self) -> bool:
        """Whether all of it is on the disk now."""
        if self.fd < 0:
            return True  # it was synced before it was closed
        if self.is_doubtful:
            return False
        try:
            put_on_disk(self.fd)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            with contextlib.suppress(OSError):  # if the disk refuses at last what was written, a sync has said so
                os.close(fd)


File = TypeVar("File", bound=LogFile)


def lost(files: Iterable[File], directory: int) -> list[File]:
    """The files of a folder whose names are gone, or belong to other files now."""
    found = []
    for file in files:
        if file.is_stored and file.fd >= 0:
            try:
                is_ours = os.stat(file.name, dir_fd=directory).st_ino == os.fstat(file.fd).st_ino
            except FileNotFoundError:
                is_ours = False
            if not is_ours:
                found.append(file)
    return found
