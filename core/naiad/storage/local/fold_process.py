"""The fold process: folds a busy run beside the program.

In a thread each call of numpy gives the interpreter's lock up and waits 5 ms to get it back from a busy loop, and a
call that keeps the lock makes an append wait. A process needs a core of its own instead.

    background thread of the writer                     fold process
    -------------------------------                     ------------
    list the files, write sums ---- "fold", files --->  Fold.fold: one transaction of the index
    wait without the interpreter's lock
    remove what is folded <-- names, positions, head -  goes on to wait
    close, or the program is gone ---- end of file -->  ends, after what it was at

It writes to the index alone. If it dies the writer folds in its own thread: a fold has happened whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from naiad import clock
from naiad.errors import DamagedData, NaiadError, NewerFormat, StorageError
from naiad.forks import holding_forks
from naiad.storage.local.journal.files import JournalFile, Source
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.processes import receive, send, start
from naiad.storage.results import Shadowed

START_SECONDS = 60.0
"""Longest wait for an answer, beyond which the process counts as lost: a fold takes a bounded piece."""


class FoldProcessLost(OSError):
    """The process ended or does not answer.

    A fold that it had begun has happened whole or not at all.
    """


class FoldProcess:
    """One such process, for one run, with the methods of `Fold`."""

    def __init__(self, folder: RunDirectory) -> None:
        """Start it; it is not waited for.

        Raises:
            OSError: no process can be started.
        """
        self._requests = self._replies = -1
        self.positions: dict[str, tuple[int, bool]] = {}
        self.finished: set[str] = set()
        self.counts = (0, 0, 0)
        """Folds, points and fields of the index after the last fold."""
        self.used_at = clock.monotonic()
        self._shadowed: list[Shadowed] = []
        with holding_forks():  # a child that inherits half of a pipe would keep it open
            call = f"main({os.fspath(folder.path.absolute())!r}, {os.getpid()})"
            self._requests, self._replies = start("naiad.storage.local.fold_program", call)

    def fold(self, sources: Sequence[Source[JournalFile]], writer: str, until: float) -> list[JournalFile]:
        """Fold the sources as `Fold.fold` does, for this writer.

        Raises:
            StorageError, DamagedData, NewerFormat: as `Fold.fold`.
            FoldProcessLost: there is no answer; it may have been done.
        """
        files = [each.file for each in sources]
        names = [(file.writer, file.number, file.suffix, os.fspath(file.path)) for file in files]
        wanted = [(name, each.is_final, each.is_awaited) for name, each in zip(names, sources, strict=True)]
        done, counts, positions, finished, shadowed = self._ask("fold", (wanted, writer), until)
        self.counts = counts
        self.positions = {name: (upto, is_done) for name, (upto, is_done) in positions.items()}
        self.finished.update(finished)
        self._shadowed = [Shadowed(*each) for each in shadowed]
        return [file for file in files if file.name in done]

    def shadowed(self, _writer: str) -> list[Shadowed]:
        """Return the hidden fields of the writer, after the last fold."""
        return self._shadowed

    def finish(self, until: float) -> None:
        """Bring the index into its final form, as `finish_index` does.

        Raises:
            StorageError: the disk reports an error.
            FoldProcessLost: there is no answer.
        """
        self._ask("finish", max(0.1, until - clock.monotonic()), until)

    def __del__(self) -> None:
        """Let it end; in a forked child only let go of it."""
        self.close()

    def close(self) -> None:
        """Let it end."""
        for fd in (self._requests, self._replies):
            if fd >= 0:
                os.close(fd)
        self._requests = self._replies = -1

    def _ask(self, what: str, content: object, until: float) -> Any:
        self.used_at = clock.monotonic()
        until = min(until, self.used_at + START_SECONDS)
        try:
            send(self._requests, (what, content))
            answer = receive(self._replies, until)
        except OSError as error:
            raise FoldProcessLost(*error.args) from error
        self.used_at = clock.monotonic()
        if answer is None:
            raise FoldProcessLost("the fold process has ended")
        is_done, found = answer
        if not is_done:
            raise _error(*found)
        return found


def _error(name: str, message: str, facts: dict[str, object]) -> NaiadError:
    of_class = next((each for each in (DamagedData, NewerFormat) if each.__name__ == name), StorageError)
    return of_class(message, **facts)
