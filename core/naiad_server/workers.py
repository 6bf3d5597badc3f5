"""Folding for a database: a process that folds the runs that are due, whichever replica has taken their bytes.

replica 1 ---.                        .--- worker of replica 1
replica 2 ---+--- due, in the database ---+--- worker of replica 2      a run is locked by the one that folds it
'                        '--- naiad server --role worker
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from naiad.errors import StorageError
from naiad.storage.base import Listener
from naiad.storage.opening import database_folder
from naiad.storage.receiving import Accepted, Receiver, RunFolder
from naiad_server.metrics import Metrics

LOOK_SECONDS = 0.5
BUSY_SECONDS = 0.05
"""The time until the next look if other workers have all runs that are due."""
REST_SECONDS = 5.0
"""The time between two looks for due runs without a notice."""
BACK_OFF_SECONDS = 5.0
ANALYZE_SECONDS = 5.0
"""The time between two checks for tables that have grown a lot; pages of a new catalog then use its indexes soon."""
LONGEST_BACK_OFF = 300.0
"""The longest pause of the archive after it has failed again and again."""
STOP_SECONDS = 8.0
ARCHIVE_STOP_SECONDS = 4.0
DATABASE, OBJECTS = "NAIAD_SERVER_DATABASE", "NAIAD_SERVER_OBJECTS"
"""The variables with the addresses of a worker: a command line would show the password to all users."""
PROGRAM = "import sys; sys.path[:] = {path!r}\nfrom naiad_server.workers import main; main()"
_log = logging.getLogger("naiad_server")


class Worker:
    """The worker process of a replica, begun again when it ends."""

    def __init__(self, database: str, objects: str, metrics: Metrics) -> None:
        self._environment = {**os.environ, DATABASE: database, OBJECTS: objects}
        self._metrics = metrics
        self._process: asyncio.subprocess.Process | None = None

    def begin(self, receiver: Receiver) -> None:
        """Do nothing: due runs are listed in the database."""

    def note(self, accepted: Accepted) -> None:
        """Do nothing: due runs were listed by the commit."""

    async def fold_runs(self) -> None:
        """Keep a worker alive, for ever, and count its folds."""
        while True:
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM.format(path=sys.path), stdin=pipe, stdout=pipe, env=self._environment
            )
            assert self._process.stdout is not None
            while line := await self._process.stdout.readline():
                seconds, _, problem = line.decode().strip().partition(" ")
                self._metrics.fold_seconds.observe(float(seconds))
                self._metrics.folds.labels("failed" if problem else "done").inc()
                if problem:
                    _log.warning("A fold has failed: %s", problem)
            await self._process.wait()
            await asyncio.sleep(LOOK_SECONDS)

    async def end(self) -> None:
        """Let the process end."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except asyncio.TimeoutError:  # a fold happens whole or not at all
            process.kill()
            await process.wait()


class NoWorker(Worker):
    """For a replica of the role `web`: workers run elsewhere."""

    async def fold_runs(self) -> None:
        """Do nothing."""


def main() -> None:
    """Fold due runs until the standard input ends: a line for each fold, with its seconds and its problem if any."""
    ended = threading.Event()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while sys.stdin.buffer.read(4096):
                pass
        ended.set()

    threading.Thread(target=watch, daemon=True).start()

    def tell(seconds: float, problem: str) -> None:
        print(f"{seconds:.6f} {problem}", flush=True)

    fold_due(os.environ[DATABASE], os.environ[OBJECTS], ended.is_set, tell)


def fold_due(database: str, objects: str, is_over: Callable[[], bool], note: Callable[[float, str], None]) -> None:
    """Fold the runs of a database that are due, until it is over, and archive old rows beside.

    Args:
        database: its address.
        objects: the address of the objects beside it.
        is_over: whether to end.
        note: is called after each fold with its duration and its problem.
    """
    folder = database_folder(database, objects)
    if not _is_usable(folder, is_over):
        return
    archive = threading.Thread(target=_archive_rows, args=(folder, is_over), name="naiad-archive", daemon=True)
    archive.start()
    try:
        _fold_runs(folder, is_over, note)
    finally:
        # A move happens whole or not at all, as a fold does; one that waits for the objects is not waited for.
        archive.join(ARCHIVE_STOP_SECONDS)


def _is_usable(folder: RunFolder, is_over: Callable[[], bool]) -> bool:
    """Wait until the database can be used, with one line for each reason; False if it is over."""
    noted = ""
    while not is_over():
        try:
            folder.due()
        except StorageError as error:
            if str(error) != noted:
                noted = str(error)
                _log.warning("%s", " ".join(noted.split()))
            _pause(BACK_OFF_SECONDS, is_over)
        else:
            return True
    return False


def _fold_runs(folder: RunFolder, is_over: Callable[[], bool], note: Callable[[float, str], None]) -> None:
    listener = folder.listener()
    while not is_over():
        try:
            due, seconds = folder.due()
            count = 0
            for numbers in due:
                if is_over():
                    return
                began = time.monotonic()
                problems = folder.fold_all(numbers)
                count += len(problems)
                for problem in problems:
                    note((time.monotonic() - began) / len(problems), problem)
            if due and not count:
                time.sleep(BUSY_SECONDS)
            if not due:
                _rest(listener, min(seconds, REST_SECONDS), is_over)
        except StorageError as error:  # the database is away: it is asked again until it is back
            _log.warning("%s", error)
            _pause(BACK_OFF_SECONDS, is_over)


def _archive_rows(folder: RunFolder, is_over: Callable[[], bool]) -> None:
    """Move old rows into objects, in a thread: folds go on while the objects are slow or away.

    Between two moves, make the statistics of tables that have grown a lot.
    """
    back_off = BACK_OFF_SECONDS
    analyze_at = 0.0
    while not is_over():
        try:
            if time.monotonic() >= analyze_at:
                analyze_at = time.monotonic() + ANALYZE_SECONDS
                _make_statistics(folder)
            if not folder.archive():
                _pause(REST_SECONDS, is_over)
            back_off = BACK_OFF_SECONDS
        except StorageError as error:
            _log.warning("Old rows stay in the database for now: %s", error)
            _pause(back_off, is_over)
            back_off = min(2 * back_off, LONGEST_BACK_OFF)


def _make_statistics(folder: RunFolder) -> None:
    """Update the planner statistics; if an operator's time limits forbid that, the worker goes on."""
    try:
        folder.analyze()
    except StorageError as error:
        _log.warning("Statistics of the catalog could not be made, so pages of long tables may be slow: %s", error)


def _pause(seconds: float, is_over: Callable[[], bool]) -> None:
    """Wait so many seconds, or until it is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not is_over():
        time.sleep(LOOK_SECONDS)


def _rest(listener: Listener, seconds: float, is_over: Callable[[], bool]) -> None:
    """Wait until a run may be due, at most so many seconds."""
    until = time.monotonic() + seconds
    # In steps, since the end of the process is announced elsewhere.
    while not is_over() and (left := until - time.monotonic()) > 0:
        try:
            if listener.wait(min(left, LOOK_SECONDS)):
                return
        except StorageError:  # no notice comes: due runs are looked for as often as without any
            time.sleep(LOOK_SECONDS)
            return
