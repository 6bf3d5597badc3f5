"""The folder of a journal as one writer has it open: its lock, its sums, its trouble, and syncing a file in it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable

from naiad.disk import save
from naiad.storage.local.journal import log_file
from naiad.storage.local.journal.log_file import File, LogFile
from naiad.storage.local.journal.sums import Sums
from naiad.storage.local.outbox import retire


class LogDirectory:
    """A journal's folder as one writer has it open, and the state of its disk."""

    def __init__(self, fd: int, writer: str) -> None:
        self.is_troubled = False
        """The disk has refused something, and not everything is stored since."""
        self.is_barred = False
        """Nothing may be written, because this writer could not show to other processes that it lives."""
        self.has_new_files = True
        self.on_rotation: Callable[[], object] = lambda: None
        self.on_trouble: Callable[[OSError], object] = lambda _error: None
        self.lock = threading.RLock()  # a writer holds it too, to stamp ops in the order of their frames
        self.begin(fd, writer)

    def begin(self, fd: int, writer: str) -> None:
        """Use it under the name of this writer."""
        self.fd = fd
        self.writer = writer
        self.sums = Sums(fd, writer)

    def abandon(self) -> None:
        """In a forked child: leave the parent's sums, its trouble, and the lock that one of its threads may hold."""
        self.lock = threading.RLock()
        self.is_troubled = self.is_barred = False
        self.sums.close()

    @property
    def takes_files(self) -> bool:
        """Whether it is worth trying to make a file."""
        return not self.is_troubled and not self.is_barred

    def trouble(self, error: OSError) -> None:
        """Note an error of the disk and report it; `on_trouble` may raise instead."""
        if error.errno is None:
            raise error  # not of the disk: the handler of a signal raised it
        self.is_troubled = True
        self.on_trouble(error)

    def sync(self, grown: Iterable[tuple[File, int, int]], rewrite: Callable[[File], object]) -> None:
        """Put files on the disk, each up to a size, with a weight; `rewrite` writes a doubtful one anew.

        Raises:
            OSError: one of them is not on the disk.
        """
        for file, used, weight in grown:
            # A record is counted before it is packed, so one sync may miss a record that its size includes: a file is
            # skipped only after two syncs have seen it at this size.
            if file.synced != used and self._put_on_disk(file, rewrite):
                file.safe, file.safe_weight = used, weight
                file.synced = used if file.seen == used else None
                file.seen = used

    def _put_on_disk(self, file: File, rewrite: Callable[[File], object]) -> bool:
        try:
            # fsync reports an error of the kernel once. The next call returns success for pages that it has dropped,
            # so the file is written anew from memory before another sync of it counts.
            if file.is_doubtful:
                rewrite(file)
            if file.fd < 0:
                return False  # it was folded and closed in between
            log_file.put_on_disk(file.fd)
        except OSError as error:
            if file.fd < 0:
                return False
            if not file.is_doubtful:
                file.is_doubtful = True
                with contextlib.suppress(OSError):  # the next sync tries again
                    rewrite(file)
            self.trouble(error)
            raise
        return True

    def sync_names(self) -> None:
        """Put the names of new files on the disk.

        Raises:
            OSError: the disk reports an error; the next call tries again.
        """
        # Cleared before the sync: a file that is made while it runs sets the flag again and is not missed.
        has_new, self.has_new_files = self.has_new_files, False
        if has_new:
            try:
                os.fsync(self.fd)
            except OSError:
                self.has_new_files = True
                raise

    def write_again(self, file: LogFile, size: int, flags: int = 0) -> None:
        """Copy the bytes of a file, which this process can still read, into a new one of its name.

        Raises:
            OSError: the disk reports an error; the old descriptor stays.
        """
        # Read through the old descriptor, which the page cache still serves, whatever the disk has lost or another
        # process has deleted.
        fd = save(self.fd, file.name, os.pread(file.fd, size, 0), flags)
        os.close(file.fd)
        file.fd = fd
        file.is_doubtful = False
        self.has_new_files = True

    def remove(self, file: LogFile, end: int | None = None) -> None:
        """Remove a file that the index has all of, or keep it in the outbox of a run with a remote.

        `end`: it counts only up to there, and what follows was written again to another file.
        """
        if end is not None:
            with contextlib.suppress(OSError):  # then a server gets what was written again twice, and no less
                _cut(self.fd, file.name, end)
        retire(self.fd, file.name)
        self.sums.note_folded(file.name)

    def unlink(self, name: str) -> None:
        """Remove a name, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)


def _cut(directory: int, name: str, end: int) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.fstat(fd).st_size > end:
            os.ftruncate(fd, end)
    finally:
        os.close(fd)
