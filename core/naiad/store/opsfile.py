"""An ops file: frames, appended one `write()` at a time."""

from __future__ import annotations

import errno
import os

from naiad.store.frames import FILE_HEADER, file_header
from naiad.store.segment import new_file

__all__ = ["OpsFile"]


class OpsFile:
    """One file of frames that this process appends to."""

    def __init__(self, directory: int, name: str) -> None:
        """Make a new one.

        Raises:
            OSError: no room, no folder, no permission; nothing is left behind.
        """
        self.name = name
        self.size = FILE_HEADER
        self.synced: int | None = None  # size that is surely on the disk; see Journal.sync
        self.seen: int | None = None
        self.folded = 0  # bytes that are in the index
        self.is_doubtful = False  # a sync failed: only writing it anew makes it sure
        with new_file(directory, name, os.O_APPEND) as self.fd:
            os.write(self.fd, file_header())

    def append(self, frame: bytes) -> None:
        """Add one frame whole, or raise and leave the file as it was.

        Raises:
            OSError: the disk did not take all of it.
        """
        try:
            written = os.write(self.fd, frame)
        except BaseException:  # of the disk, or of a signal's handler: then the frame may be there
            if os.fstat(self.fd).st_size == self.size + len(frame):
                self.size += len(frame)
            raise
        if written < len(frame):
            os.ftruncate(self.fd, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        self.size += written

    def used(self) -> int:
        """Bytes written so far."""
        return self.size

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
