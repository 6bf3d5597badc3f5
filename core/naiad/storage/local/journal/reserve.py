"""The reserve: room on the disk that a writer takes at its start for what it has to say at its end.

A run whose disk is full to the end can thus still say that it stopped, and how much of it is missing. Nobody sees the
file before it is filled and renamed; of a writer that was killed it stays, hidden, until the run is folded.
"""

from __future__ import annotations

import contextlib
import os

from naiad.disk import allocate, close, write_all

RESERVED = 4096
"""The room: one block, enough for the end and for some eighty series that waited in memory."""


def reserve_names(writer: str) -> tuple[str, str]:
    """The names of a writer's reserve in the journal folder: its own, and one that keeps room for the final name.

    XFS keeps the names of a small folder in its inode. Once they are too many, the next one needs a block. With the
    second name the folder has that block already, or as much room in the inode as the second name gives up.
    """
    return f".{writer}.reserve", f".{writer}.reserve.name"


class Reserve:
    """The reserve of one writer."""

    def __init__(self, directory: int, writer: str) -> None:
        self._directory = directory
        self._name, self._room = reserve_names(writer)

    def take(self) -> None:
        """Take the room, if it is not taken yet.

        Raises:
            OSError: there is none.
        """
        fd = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=self._directory)
        try:
            allocate(fd, RESERVED)
        finally:
            close(fd)
        with contextlib.suppress(OSError):  # a file system without hard links, or it is there
            os.link(self._name, self._room, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def fill(self, name: str, data: bytes) -> None:
        """Turn it into a whole file of this name, without asking the disk for more room.

        Raises:
            OSError: there is no reserve, or the disk takes nothing at all.
        """
        fd = os.open(self._name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            write_all(fd, data)
            os.ftruncate(fd, len(data))
            os.fsync(fd)
        finally:
            close(fd)
        try:
            self._rename(name)
        except OSError:
            self._unlink(self._room)
            self._rename(name)
        self._unlink(self._room)

    def give_back(self) -> None:
        """Free the room, if it was not filled."""
        self._unlink(self._name)
        self._unlink(self._room)

    def _rename(self, name: str) -> None:
        os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._directory)
