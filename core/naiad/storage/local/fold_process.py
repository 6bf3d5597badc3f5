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

import contextlib
import fcntl
import math
import os
import re
import select
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from naiad import clock
from naiad.errors import DamagedData, NaiadError, NewerFormat, StorageError
from naiad.forks import holding_forks
from naiad.storage.base import Shadowed
from naiad.storage.local.journal.files import JournalFile, Source
from naiad.storage.local.layout import RunDirectory

SHELL = "/bin/sh"
REQUESTS, REPLIES = 3, 4
"""The descriptors that it is started with."""
LOWEST = 64
PROGRAM = """import sys; sys.path[:] = {path!r}
from naiad.storage.local.fold_program import main; main({folder!r}, {pid})"""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Folding multiplies no matrix: threads for that would only take memory."""
START_SECONDS = 60.0
"""Longest wait for an answer, beyond which the process counts as lost: a fold takes a bounded piece."""
_length = struct.Struct("<Q")


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
            self._requests, self._replies = _start(folder)

    def fold(self, sources: Sequence[Source[JournalFile]], writer: str, until: float) -> list[JournalFile]:
        """Fold the sources as `Fold.fold` does, for this writer.

        Raises:
            StorageError, DamagedData, NewerFormat: as `Fold.fold`.
            FoldProcessLost: there is no answer; it may have been done.
        """
        files = [each.file for each in sources]
        names = [(file.writer, file.number, file.suffix, os.fspath(file.path)) for file in files]
        wanted = list(zip(names, [each.is_final for each in sources], strict=True))
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


def can_start() -> bool:
    """Whether there is an interpreter to run it."""
    name = Path(sys.executable or "").name
    is_interpreter = re.fullmatch(r"(python|pypy)[\d.]*[a-z]*", name) is not None and not getattr(sys, "frozen", False)
    return is_interpreter and hasattr(os, "posix_spawn") and os.path.exists(__file__)


def _start(folder: RunDirectory) -> tuple[int, int]:
    """Start it by a shell that ends at once.

    A program that waits for any child of its own must never get this one.
    """
    requests, asking = _pipe()
    answers, replies = _pipe()
    program = PROGRAM.format(path=sys.path, folder=os.fspath(folder.path.absolute()), pid=os.getpid())
    # `-S -s`: no site-packages are searched at the start, since the path of this process is given whole.
    command = [SHELL, "-c", '"$@" &', SHELL, sys.executable, "-S", "-s", "-c", program]
    # Standard streams are the null device: a program that reads its output to the end must not wait for this process.
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)),
        (os.POSIX_SPAWN_DUP2, requests, REQUESTS),
        (os.POSIX_SPAWN_DUP2, replies, REPLIES),
    ]
    try:
        starter = os.posix_spawn(SHELL, command, {**os.environ, **ONE_THREAD}, file_actions=actions)
    except OSError:
        os.close(asking)
        os.close(answers)
        raise
    finally:
        # The ends of the new process are closed here, or the end of the pipe would never be seen when it is gone.
        os.close(requests)
        os.close(replies)
    with contextlib.suppress(ChildProcessError):  # the program's own waiting has come first
        os.waitpid(starter, 0)
    return asking, answers


def _pipe() -> tuple[int, int]:
    """Make a pipe on descriptors above those of the new process."""
    pair = os.pipe()
    # posix_spawn duplicates them one after the other: an end that is itself number 3 or 4 would be overwritten by the
    # first.
    raised = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, LOWEST) for each in pair]
    for each in pair:
        os.close(each)
    return raised[0], raised[1]


def send(fd: int, content: object) -> None:
    """Write a message to a pipe."""
    data = msgspec.msgpack.encode(content)
    view = memoryview(_length.pack(len(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int, until: float) -> Any:
    """Return the next message; None at the end of the pipe.

    Raises:
        TimeoutError: there was none for so long.
    """
    head = _read(fd, _length.size, until)
    data = head and _read(fd, _length.unpack(head)[0], until)
    return msgspec.msgpack.decode(data) if data else None


def _read(fd: int, size: int, until: float) -> bytes:
    data = bytearray()
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    while len(data) < size:
        left = until - clock.monotonic()
        if left <= 0 or not waiting.poll(None if left == math.inf else left * 1000):
            raise TimeoutError("the fold process does not answer")
        part = os.read(fd, size - len(data))
        if not part:
            return b""
        data += part
    return bytes(data)


def _error(name: str, message: str, facts: dict[str, object]) -> NaiadError:
    of_class = next((each for each in (DamagedData, NewerFormat) if each.__name__ == name), StorageError)
    return of_class(message, **facts)
