"""A new index of a run: written under a hidden name, and put in its place when it is whole and on the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from naiad.disk import sync_folder
from naiad.forks import holding_forks
from naiad.ids import new_writer_id
from naiad.storage.local.index.index import Index
from naiad.storage.local.layout import RunDirectory, take_lock
from naiad.storage.sql.database import BUSY_SECONDS, finish_new, open_new


@contextmanager
def new_index(folder: RunDirectory) -> Iterator[Index]:
    """An empty index under a hidden name; at the end of the block it becomes that of the run, on the disk and whole.

    Nothing of it is written twice, as the log of an index that others may read would be. A crash leaves at most a
    hidden file, which `remove_unfinished` removes.

    Raises:
        FileExistsError: another process has made one meanwhile, and that one stays. Where the file system has no hard
            links, an empty one is there.
        sqlite3.Error: the disk reports an error to SQLite.
        OSError: it reports one here.
    """
    hidden = folder.path / f".{folder.index.name}.{new_writer_id()}"
    try:
        index = Index(folder, open_new(hidden))
        index.create()
        yield index
        with holding_forks():
            finish_new(hidden)
        _put_in_place(hidden, folder)
        sync_folder(folder.path)
    finally:
        _remove_with_logs(hidden)


def _put_in_place(hidden: Path, folder: RunDirectory) -> None:
    try:
        # A link, not a rename, which would replace the index that another process has just made.
        os.link(hidden, folder.index)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP):
            raise
        # Without hard links a rename may replace one that another process makes in this moment. So each puts an empty
        # one there, with which nothing is lost, and only one at a time: the other may have folded into its own already.
        _remove_with_logs(hidden)
        Index(folder, open_new(hidden)).create()
        finish_new(hidden)
        with holding_forks(), _held(folder.path):
            if not folder.index.exists():
                hidden.rename(folder.index)
                sync_folder(folder.path)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder.index)) from error


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep other processes from putting an index into a folder meanwhile, where the file system has locks."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        take_lock(fd, BUSY_SECONDS, path)
        yield
    finally:
        os.close(fd)


def remove_unfinished(folder: RunDirectory) -> None:
    """Remove the hidden files of indexes that were never finished. No other process may fold the run meanwhile."""
    for path in folder.path.glob(f".{folder.index.name}.*-*"):
        path.unlink(missing_ok=True)


def _remove_with_logs(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
