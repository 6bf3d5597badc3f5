"""Presence: one writer as other processes of its run see it, by its lease and by the absence of a seal."""

from __future__ import annotations

import os

from naiad.disk import close, is_deleted
from naiad.storage.local.integrity.seal import remove_seal
from naiad.storage.local.journal.journal import Journal
from naiad.storage.local.journal.leases import TAKEN, Lease
from naiad.storage.local.layout import RunDirectory

RETURN_SECONDS = 0.5


class Presence:
    """The lease of one writer, and the folder of the journal in which it has it."""

    def __init__(self, folder: RunDirectory, journal: Journal) -> None:
        self.lease: Lease | None = None
        """None before the first write of a forked child, and after the end."""
        self._folder = folder
        self._journal = journal

    def join(self) -> None:
        """Show that this process writes the run, which may be sealed.

        Raises:
            OSError: the folder takes no files.
        """
        self._show()
        if self._folder.seal.exists():  # only now: a run without a seal and without a lease looks damaged
            self._journal.directory.sums.has_base = True
            remove_seal(self._folder, self._journal.directory.writer)
        self._folder.mark_changed()

    def _show(self) -> None:
        # The lease before any file: files of a writer without one look as if it was dead.
        self.lease = Lease(self._journal.directory.fd, self._journal.directory.writer)
        self._journal.op_log.reserve.take()

    def is_lost(self) -> bool:
        """Whether the lease was taken over or deleted, so that the journal may count as final.

        This process may have been suspended for hours.
        """
        directory = self._journal.directory
        if directory.is_troubled or is_deleted(directory.fd):
            return False  # `recover` is called before the recovery from that
        return self.lease is None or self._journal.is_displaced or self.lease.is_gone(directory.fd)

    def recover(self) -> None:
        """Take a lease in the folder as it is now; the journal is displaced if another process saw none.

        Raises:
            OSError: there is no such folder.
        """
        directory = self._journal.directory.fd
        # The folder was deleted and made again, by a restore or a sync tool. The descriptor keeps its number, because
        # journal, sums and lease have it.
        if is_deleted(directory):
            found = os.open(self._folder.journal, os.O_RDONLY | os.O_DIRECTORY)
            os.dup2(found, directory, inheritable=False)
            os.close(found)
        if self.lease is not None and self.lease.is_gone(directory):
            self.forget()
            self._journal.is_displaced = True
        if self.lease is None:
            self._show()

    def join_again(self) -> None:
        """Take back that other processes have declared the writer dead, or have sealed the run.

        Raises:
            OSError: the disk reports an error; it may be done again.
        """
        writer = self._journal.directory.writer
        with self._folder.lock(RETURN_SECONDS):
            (self._folder.journal / (writer + TAKEN)).unlink(missing_ok=True)
            if self._folder.seal.exists():
                remove_seal(self._folder, writer)
            self._folder.mark_changed()

    def sync(self) -> None:
        """Put the lease on the disk.

        Raises:
            OSError: the disk reports an error.
        """
        if self.lease is not None:
            self.lease.sync()

    def let_go(self) -> None:
        """Stop being a writer in the eyes of others."""
        if self.lease is not None:
            self._journal.op_log.reserve.give_back()  # first: without the lease no process looks for it
            self.lease.release(self._journal.directory.fd)
            self.lease = None

    def forget(self) -> None:
        """Drop the lease: one that is gone, or in a forked child, where the parent's lock stays."""
        if self.lease is not None:
            self.lease.forget()
            self.lease = None

    def close(self) -> None:
        """Give the folder back."""
        close(self._journal.directory.fd)
