"""Trouble: errors of the disk under one writer, which are warned about once, or raised on request.

The one rule: trouble of the machine never raises into training; `on_error="raise"` turns that round for those who want
it. The data waits in the journal meanwhile, see `journal/`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from naiad.errors import NaiadError, StorageError, StorageWarning, warn_once
from naiad.storage.local.journal.journal import Journal, JournalClosed
from naiad.storage.local.layout import RunDirectory

DISK_ERRORS = {
    number
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "ENODEV", "ENXIO", "ESTALE", "EUCLEAN")
    if (number := getattr(errno, name, None))
}
"""Those by which a disk is full, dead or read-only: whatever meets one first, the warning is the same, and only one."""


class Trouble:
    """The errors of the disk that one writer meets, in any of its threads."""

    def __init__(self, folder: RunDirectory, journal: Journal, memory_bytes: int) -> None:
        self.is_raising = True
        """Whether they raise. Until the writer is open: a store that cannot be written is an error of `init_run`."""
        self._folder = folder
        self._journal = journal
        self._memory_bytes = memory_bytes

    def meet(self, error: OSError) -> None:
        """Report an error of the journal.

        Raises:
            StorageError: if errors are to raise.
        """
        directory = self._journal.directory
        if self.is_raising:
            directory.is_troubled = directory.is_barred
            raise StorageError(
                f"The run in {self._folder.path} cannot be written: {error.strerror}", errno=error.errno
            ) from error
        self._warn_of_disk(error)

    def attempt(self, what: str, action: Callable[[], object]) -> bool:
        """Do something with the run, of which an error is a warning, and return whether it is done.

        Args:
            what: the participle for the warning, such as "synced".
            action: the step.
        """
        try:
            action()
        except JournalClosed:  # by a stop that did not wait for this thread, which finishes in its place
            return False
        except (OSError, NaiadError) as error:
            with contextlib.suppress(StorageWarning):  # where warnings are errors, they still must not end this thread
                if _is_of_disk(error):
                    self._warn_of_disk(error)
                elif not self._journal.directory.is_troubled:  # else it was said before
                    self.warn(
                        what,
                        f"The run in {self._folder.path} could not be {what}: {error}\nIts points stay in its journal.",
                    )
            return False
        except StorageWarning:
            return False
        return True

    def warn_of_files(self, error: OSError) -> None:
        """Warn that content is not in its place yet."""
        with contextlib.suppress(StorageWarning):  # where warnings are errors, they still must not end this thread
            if _is_of_disk(error):
                self._warn_of_disk(error)
            else:
                self.warn(
                    "stored", f"Files of the run in {self._folder.path} are not yet moved into the store: {error}"
                )

    def report_loss(self, lost: int) -> None:
        """Warn of the points and ops that were not stored by the end.

        Raises:
            StorageError: if errors are to raise.
        """
        message = f"{lost} points and ops of the run in {self._folder.path} could not be stored."
        if self.is_raising:
            raise StorageError(message, errno=errno.EIO)
        self.warn("lost", message)

    def warn(self, about: str, message: str) -> None:
        """Warn once in the life of the writer about one thing."""
        warn_once((self._journal.directory.writer, about), message, StorageWarning)

    def _warn_of_disk(self, error: Exception) -> None:
        """Warn once in a run about errors of the disk, whichever file is affected."""
        self.warn(
            "written",
            f"The run in {self._folder.path} cannot be written: {_reason(error)} ({_free(self._folder)} bytes free).\n"
            f"Its points stay in its journal, and up to {self._memory_bytes} bytes that the journal does not "
            "take are kept in memory. All is written as soon as that is possible.",
        )


def _is_of_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in DISK_ERRORS


def _reason(error: Exception) -> str:
    """The error with its number, which those that are not the system's own do not show."""
    number = getattr(error, "errno", None)
    return str(error) if number is None or str(error).startswith("[Errno") else f"[Errno {number}] {error}"


def _free(folder: RunDirectory) -> int:
    try:
        found = os.statvfs(folder.path)
        return found.f_bavail * found.f_frsize
    except OSError:
        return 0
