"""Received files: the journal files of other machines in the folders of their runs, with the leases of their writers.

A process of this or of an earlier server may seal a run meanwhile. It does so under the lock of the run's folder, so a
writer without a living lease waits for that lock before it gets one; a run with a living lease is not sealed.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from naiad import clock
from naiad.container_kinds import RunId
from naiad.disk import sync_folder
from naiad.storage.local.integrity.seal import remove_seal
from naiad.storage.local.journal.arrivals import HEADERS, suffix_of
from naiad.storage.local.journal.frames import file_header
from naiad.storage.local.journal.leases import hold_remote, remote_state, touch_remote
from naiad.storage.local.journal.segment import SEAL_AT, is_header, open_header, seal_fields
from naiad.storage.local.journal.sums import lone_sums
from naiad.storage.local.layout import RunDirectory
from naiad.storage.receiving import Position
from naiad.storage.sql.received import Row

MOST_OPEN = 256
"""Journal files that stay open between two groups."""
SIGN_SECONDS = 5.0
"""The time for which the state in a writer's lease is not read again."""
MOST_ALIVE = 100_000
LOCK_SECONDS = 10.0
"""How long a group waits for a run that is being sealed; then it is refused, and the client sends it again."""


class Store(Protocol):
    """The store of a folder, as far as files need it."""

    def directory(self, run: RunId) -> RunDirectory:
        """Return the folder of a container, there or not."""


class ReceivedFiles:
    """The journal files that one server writes. Callers use it one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: OrderedDict[Path, int] = OrderedDict()
        self._alive: dict[tuple[RunId, str], float] = {}
        """The writers whose lease was written lately, so that touching it is enough."""
        self.unsynced: dict[Path, None] = {}
        """The files with bytes that may not be synced to the disk yet."""

    def make(self, run: RunId) -> Path:
        """Make the folder of a run, and return that of its journal."""
        folder = self._store.directory(run)
        if not folder.journal.is_dir():
            folder.journal.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.path)
            sync_folder(folder.path.parent)
            folder.mark_changed()
        return folder.journal

    def write(self, run: RunId, file: str, start: int, data: bytes) -> None:
        """Write bytes at their place.

        Raises:
            OSError: the disk takes nothing.
        """
        suffix = suffix_of(file)
        path = self._store.directory(run).journal / file
        fd = self._open.get(path, -1)
        if fd < 0:
            self.make(run)
            is_new = start == HEADERS[suffix]
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if is_new else 0), 0o666)
            except FileNotFoundError:
                return  # it was folded and removed: this is a copy of what is in the index
            self._open[path] = fd
            # The least recently used first; a server of a thousand runs must not run out of descriptors.
            while len(self._open) > MOST_OPEN:
                self._shut(next(iter(self._open)))
            # A copy that is made again leaves the header, which has the time of the first.
            if is_new and not _has_header(fd, suffix):
                os.pwrite(fd, file_header() if suffix == "ops" else open_header(), 0)
        self._open.move_to_end(path)
        self.unsynced[path] = None
        if os.pwrite(fd, data, start) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def end(self, run: RunId, file: str, position: Position) -> None:
        """Write the end of a file into its header, and close it."""
        path = self._store.directory(run).journal / file
        fd = self._open.get(path, -1)
        if fd >= 0 and suffix_of(file) == "seg":
            os.pwrite(fd, seal_fields(position.upto, position.crc), SEAL_AT)
        self._shut(path)

    def forget(self, run: RunId) -> None:
        """Close the files of a container that was deleted."""
        self._alive = {key: at for key, at in self._alive.items() if key[0] != run}
        for path in [path for path in self._open if path.parent.parent.name == run.uid]:
            self._shut(path)

    def close(self) -> None:
        """Close all files."""
        for path in [*self._open]:
            self._shut(path)

    def _shut(self, path: Path) -> None:
        fd = self._open.pop(path, -1)
        if fd >= 0:
            os.close(fd)

    # Leases

    def hold(self, run: RunId, writer: str) -> None:
        """Write the lease of a writer before its first bytes arrive.

        A fold takes the files of a writer for final if the writer is dead, or has ended and has no lease.
        """
        if clock.monotonic() < self._alive.get((run, writer), -1e9) + SIGN_SECONDS:
            return
        if remote_state(self.make(run), writer) in ("", "dead"):
            self._sign(run, writer, "ended", is_reopened=True)

    def note(self, writers: Mapping[tuple[RunId, str], bool], is_complete: Callable[[RunId, str], bool]) -> set[RunId]:
        """Hold the leases of living writers; return the runs with one that has ended and whose files are complete."""
        ended: set[RunId] = set()
        now = clock.monotonic()
        for (run, writer), is_alive in writers.items():
            is_known = now < self._alive.get((run, writer), -1e9) + SIGN_SECONDS
            if is_alive and is_known and touch_remote(self._store.directory(run).journal, writer):
                continue
            self._alive.pop((run, writer), None)
            journal = self._store.directory(run).journal
            if is_alive:
                self._sign(run, writer, "alive")
                if len(self._alive) >= MOST_ALIVE:
                    self._alive.clear()
                self._alive[run, writer] = now
            elif journal.is_dir() and remote_state(journal, writer) != "dead":
                # Dead only with all files: a fold takes the files of a dead writer for final, and would end them
                # before the rest arrives, or is copied.
                has_all = is_complete(run, writer)
                self._sign(run, writer, "dead" if has_all else "ended")
                if has_all:
                    ended.add(run)
        return ended

    def unseal(self, run: RunId) -> None:
        """Unseal a run, as the next writer that has its lease would."""
        folder = self._store.directory(run)
        if folder.seal.exists():
            with self.lock(run):
                break_seal(folder)

    def lock(self, run: RunId) -> AbstractContextManager[None]:
        """Lock a run against being sealed; TimeoutError if another process holds the lock for too long."""
        return self._store.directory(run).lock(LOCK_SECONDS)

    def _sign(self, run: RunId, writer: str, state: str, *, is_reopened: bool = False) -> None:
        """Note the state of a writer. One without a living lease waits for a process that is sealing the run.

        Raises:
            OSError: the disk reports an error, or the run is sealed for so long.
        """
        journal = self.make(run)
        known = remote_state(journal, writer)
        is_new = known == "" or (known == "dead" and is_reopened)
        with self.lock(run) if is_new else nullcontext():
            hold_remote(journal, writer, state, is_reopened=is_reopened)


def break_seal(folder: RunDirectory) -> None:
    """Unseal a run; the caller holds the lock of its folder."""
    if folder.seal.exists():
        with lone_sums(folder.journal, has_base=True) as sums:
            remove_seal(folder, sums.writer)
        folder.mark_changed()


def has_bytes(path: Path, row: Row) -> bool:
    """Whether the bytes of a row are in its file, with the header before the first ones."""
    suffix = suffix_of(row.name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if row.start == HEADERS[suffix] and not _has_header(fd, suffix):
            return False
        return os.pread(fd, len(row.data), row.start) == row.data
    finally:
        os.close(fd)


def _has_header(fd: int, suffix: str) -> bool:
    data = os.pread(fd, HEADERS[suffix], 0)
    return data == file_header() if suffix == "ops" else is_header(data)


def sync(path: Path) -> None:
    """Sync a file to the disk; one that is gone was folded, by a transaction that is on the disk."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
