"""An ops file: frames, appended one `write()` at a time."""

from __future__ import annotations

import errno
import os

from naiad.disk import close, new_file, write_all
from naiad.storage.local.journal.frames import FILE_HEADER, encode_frame, file_header
from naiad.storage.local.journal.leases import lock


class OpsFile:
    """One file of frames that this process appends to, and holds locked as long as it does."""

    def __init__(self, directory: int, name: str, sequence: int = 0, *, is_summed: bool = False) -> None:
        """Make a new one; `sequence` is that of the frame before its first, `is_summed` whether there are sums.

        Raises:
            OSError: no room, no folder, no permission; nothing is left behind.
        """
        self.name = name
        self.sequence = sequence
        self.size = FILE_HEADER
        self.synced: int | None = None  # size that is surely on the disk; see Upkeep.sync
        self.seen: int | None = None
        self.folded = 0  # bytes that are in the index
        self.is_doubtful = False  # a sync failed: only writing it anew makes it sure
        self.safe = 0  # bytes that a sync has confirmed
        self.weight = self.safe_weight = 0  # of what is in it, and in these bytes; see rotation.weight
        self._pending = 0  # bytes of the frame that is being written
        with new_file(directory, name, os.O_APPEND) as self.fd:
            lock(self.fd)
            write_all(self.fd, file_header(is_summed=is_summed))

    def append(self, payload: bytes, weight: int = 0) -> None:
        """Add one frame whole, or raise and leave the file as it was.

        Raises:
            OSError: the disk did not take all of it.
        """
        if self._pending:
            self.settle()
        frame = encode_frame(self.sequence + 1, payload)
        self._pending = len(frame)
        written = os.write(self.fd, frame)
        if written < self._pending:
            os.ftruncate(self.fd, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        self.size += written
        self.sequence += 1
        self.weight += weight
        self._pending = 0

    def settle(self) -> None:
        """Find out what became of an append that did not return: Ctrl-C may come before the write and after it."""
        if self._pending:
            size = os.fstat(self.fd).st_size
            self.sequence += size == self.size + self._pending
            self.size = size
            self._pending = 0

    def used(self) -> int:
        """Bytes written so far."""
        return self.size

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            close(fd)
