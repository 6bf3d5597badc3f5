"""A regular file that is standard output or error: other programs' output is read back from it.

The `Watch` has the places of Python's writes. Bytes between these places were written by a C library
or a child process, and is read from the file itself, so that each byte is kept once.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
import threading
from collections.abc import Iterator

from naiad import clock

PIECE = 1024 * 1024
LOOK_SECONDS = 1.0
"""How long an answer to whether other programs write the file counts: it takes a look at all processes."""
LOWEST = 64
"""Our own descriptors are above this, out of the way of programs that count on theirs."""

Part = tuple[int, bytes]
"""The number of a stream, and bytes of it."""


class LogFile:
    """One file. `lock` is held while Python writes it, so that each write is noted with its place.

    Raises:
        OSError: the descriptor is not of a regular file, or cannot be read, or is not open for writing.
    """

    def __init__(self, descriptor: int, number: int) -> None:
        self.identity = identity(descriptor)
        if self.identity is None or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("no regular file")
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        if flags & os.O_ACCMODE == os.O_RDONLY:
            raise OSError("not open for writing")
        self.number = number  # of the stream that gets what is read back: 1 if both lead here
        self.lock = threading.RLock()
        self._descriptor = descriptor
        # Through /proc, so that a file which was renamed or deleted since can still be read, and with a position of
        # its own.
        found = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        self._reader = fcntl.fcntl(found, fcntl.F_DUPFD_CLOEXEC, LOWEST)
        os.close(found)
        self._is_appended = bool(flags & os.O_APPEND)
        self._upto = self._end()
        self._furthest = self._upto  # before it nothing is read back: a program may go back in its file
        self.count = itertools.count(1)
        """Numbers Python's writes as they begin: a signal handler's is noted before the one that it interrupts."""
        self._latest = 0  # number of the latest write that is settled
        self._owner = os.getpid()
        self._is_in_child = False
        self._is_shared: bool | None = None  # whether programs that are none of ours write it
        self._looked = 0.0

    def follows(self, size: int, end: int, count: int) -> bool:
        """Note that Python wrote so many bytes up to a place; False if they do not follow the bytes before."""
        # The usual case: no other program has written since, so nothing is read back.
        if end - size != self._upto or self._is_in_child:
            return False
        self._move_to(end)
        self._latest = count
        return True

    def settle(self, number: int, data: bytes, end: int, count: int) -> Iterator[Part]:
        """Yield Python's bytes up to a place, and before them the bytes of others since the last place."""
        start = end - len(data)
        if self._is_in_child:
            if not self._is_owner_alive():
                yield number, data
            return  # else the owner reads it back
        latest, self._latest = self._latest, max(count, self._latest)
        if end < 0 or not self._is_here():  # the program has put something else at the descriptor
            yield number, data
        elif count < latest and self._is_written_by_us_alone():
            return  # a signal handler printed in between, and this was read back before it
        elif start < self._furthest:
            self._furthest = min(self._furthest, self._size())  # it may have been cut
            self._move_to(end)  # or the program has gone back
            yield number, data
        else:
            yield from self._with_others(number, data, start, end)

    def reach(self) -> int:
        """Return the place up to which the file is written now; with `lock` held, so that no write is half noted."""
        if self._is_in_child or not self._is_here():
            return self._upto
        end = self._end()
        if self._is_appended and end < self._furthest:  # it was cut
            self._upto = self._furthest = 0
        return end

    def read(self, end: int) -> Iterator[Part]:
        """Yield the bytes of others up to a place. The caller has settled all that was noted before it."""
        self._upto = max(self._upto, self._furthest)
        while self._upto < end:
            data = os.pread(self._reader, min(PIECE, end - self._upto), self._upto)
            if not data:
                return
            self._move_to(self._upto + len(data))
            if self._is_written_by_us_alone():
                yield self.number, data

    def forked(self) -> None:
        """In a forked child: leave the file to the parent, as long as it lives."""
        self.lock = threading.RLock()
        self._is_in_child = True

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._reader)

    def _with_others(self, number: int, data: bytes, start: int, end: int) -> Iterator[Part]:
        """Locate a write among other programs' writes, one of which may precede the noted offset."""
        yield from self.read(max(self._upto, start - PIECE))
        found = os.pread(self._reader, end - self._upto, self._upto)
        cut = len(found) - len(data) if found.endswith(data) else found.rfind(data)
        self._move_to(end)
        is_ours = self._is_written_by_us_alone()
        if is_ours and cut > 0:
            yield self.number, found[:cut]
        yield number, data
        if is_ours and 0 <= cut < len(found) - len(data):
            yield self.number, found[cut + len(data) :]

    def _move_to(self, end: int) -> None:
        self._upto = end
        self._furthest = max(self._furthest, end)

    def _size(self) -> int:
        return os.fstat(self._reader).st_size

    def _end(self) -> int:
        """Return where the next write goes. A file that is only appended to may grow through other descriptors."""
        if self._is_appended:
            return self._size()
        return min(os.lseek(self._descriptor, 0, os.SEEK_CUR), self._size())

    def _is_here(self) -> bool:
        return identity(self._descriptor) == self.identity

    def _is_owner_alive(self) -> bool:
        try:
            os.kill(self._owner, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True

    def _is_written_by_us_alone(self) -> bool:
        """Whether only this process, its ancestors, which wait for it, and its descendants can write the file."""
        now = clock.monotonic()
        if self._is_shared is None or now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._is_shared = any(not _are_related(pid, os.getpid()) for pid in _writers(self.identity))
        return not self._is_shared


def identity(descriptor: int) -> tuple[int, int] | None:
    """Return the identity of a file, or None for a descriptor that is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _writers(file: tuple[int, int] | None) -> Iterator[int]:
    """Yield the processes that have a file open for writing, as far as this user may see them."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):
                found = os.stat(f"{folder}/{name}")
                is_written = os.lstat(f"{folder}/{name}").st_mode & stat.S_IWUSR
                if (found.st_dev, found.st_ino) == file and is_written:
                    yield int(pid)
                    break
        except OSError:
            continue  # it has ended, or belongs to someone else


def _are_related(one: int, other: int) -> bool:
    return other in _line(one) or one in _line(other)


def _line(pid: int) -> list[int]:
    """Return a process and its ancestors."""
    found = []
    while pid > 0 and pid not in found:
        found.append(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found
