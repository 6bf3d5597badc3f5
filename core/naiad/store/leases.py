"""Leases: who is writing a run at this moment.

A writer holds an exclusive `flock` on `journal/<writer>.lease` for as long as it lives. The kernel drops it however
the process ends, so a lease that can be locked by somebody else belongs to the dead. The file is made under another
name and renamed once it is locked: there is no moment at which a living writer looks dead. Its mtime is the heartbeat,
which decides where locks do not reach (another host on a file system without them).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from dataclasses import dataclass

from naiad import clock
from naiad.ids import boot_id, host_name

__all__ = ["SUFFIX", "Lease", "Owner", "is_held", "read_leases"]

SUFFIX = ".lease"
HEARTBEAT_SECONDS = 10.0
SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class Owner:
    """Who took a lease."""

    writer: str
    pid: int
    host: str
    boot: str


class Lease:
    """This process's own lease on one run."""

    def __init__(self, directory: int, writer: str) -> None:
        """Take it.

        Raises:
            OSError: the folder takes no files.
        """
        self.name = writer + SUFFIX
        hidden = f".{self.name}"
        self._fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=directory)
        try:
            owner = Owner(writer, os.getpid(), host_name(), boot_id())
            os.write(self._fd, json.dumps(vars(owner)).encode())
            _lock(self._fd)
            os.rename(hidden, self.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            os.close(self._fd)
            _unlink(hidden, directory)
            raise

    def beat(self) -> None:
        """Show a sign of life to those whom the lock does not reach."""
        os.utime(self._fd)

    def is_gone(self) -> bool:
        """Whether somebody deleted the file, so that nobody can see this lease."""
        return os.fstat(self._fd).st_nlink == 0

    def release(self, directory: int) -> None:
        """Stop being a writer: remove the file, then let the lock go."""
        try:
            _unlink(self.name, directory)
        finally:
            os.close(self._fd)

    def forget(self) -> None:
        """In a forked child: drop the inherited descriptor. The parent's lock stays."""
        os.close(self._fd)


def read_leases(journal: str | os.PathLike[str]) -> dict[str, bool]:
    """The writers of a run that have not stopped in order, and whether each is alive."""
    try:
        names = os.listdir(journal)
    except FileNotFoundError:
        return {}
    found = {}
    for name in names:
        if name.endswith(SUFFIX) and not name.startswith("."):
            held = is_held(os.path.join(journal, name))
            if held is not None:
                found[name[: -len(SUFFIX)]] = held
    return found


def is_held(path: str) -> bool | None:
    """Whether the writer behind a lease file lives; None when the file has gone meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN):
            return True
        return _shows_life(fd)  # a file system without locks
    else:
        return _is_elsewhere(fd) and clock.now() - os.fstat(fd).st_mtime < SILENT_SECONDS
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            raise


def _owner(fd: int) -> Owner | None:
    try:
        return Owner(**json.loads(os.pread(fd, 4096, 0)))
    except (ValueError, TypeError, RecursionError):
        return None


def _is_elsewhere(fd: int) -> bool:
    """Whether the writer runs on another host, where this kernel's locks may say nothing."""
    owner = _owner(fd)
    return owner is not None and owner.host != host_name()


def _shows_life(fd: int) -> bool:
    owner = _owner(fd)
    if owner is not None and owner.host == host_name():
        return owner.boot == boot_id() and _process_exists(owner.pid)
    return clock.now() - os.fstat(fd).st_mtime < SILENT_SECONDS


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _unlink(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
