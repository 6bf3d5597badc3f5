"""The folder of a container: its layout. `.naiad/runs/<uid>/` can be copied, moved and deleted as a whole.

Models, model versions and projects have the same folder in `models/`, `versions/` and `projects/`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from naiad import clock
from naiad.container_kinds import BY_FOLDER, KINDS, RUN, ContainerKind
from naiad.errors import NewerFormat
from naiad.ids import is_uid

FORMAT = 1
"""The version of the layout, which a store says in its file `format`."""
LOCK_POLL_SECONDS = 0.005
INCOMING = "incoming"
OUTBOX = "outbox"
REMOTE = "remote.json"
SEAL = "seal.json"
LOCK = ".lock"
"""An empty file, by whose `flock` processes exclude each other from a run."""
UNSHIPPED = "unshipped"
SERVER = "server"
"""The folder in a store of what a server that takes runs into it keeps."""


class RunDirectory:
    """The folder of one run, or of another container; nothing in it needs to exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uid = path.name
        """The name of the folder."""
        self.kind: ContainerKind = BY_FOLDER.get(path.parent.name, RUN)
        """The kind of the container, by its parent folder; elsewhere it counts as a run."""
        self.journal = path / "journal"
        """The unfolded files: `<writer>.<n>.seg`, `<writer>.<n>.ops`, `<writer>.lease`."""
        self.index = path / "run.db"
        """The SQLite file that the journal is folded into; a short run has none."""
        self.seal = path / SEAL
        """Size and crc of every file of a run that was stopped in order."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunDirectory) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def remote(self) -> Path:
        """Names the server that the run is shipped to; absent of a run that stays here."""
        return self.path / REMOTE

    @property
    def outbox(self) -> Path:
        """Journal files that are folded and kept for a server; see `naiad.storage.local.outbox`."""
        return self.path / OUTBOX

    @property
    def blobs(self) -> Path:
        """Content of the files of all runs of the store; see `naiad.storage.local.blobs`."""
        return self.path.parent.parent / "blobs"

    def has_incoming(self) -> bool:
        """Whether the store has content that no process has settled, or may have on a disk that fails."""
        try:
            with os.scandir(self.blobs / INCOMING) as entries:
                return next(entries, None) is not None
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def mark_changed(self) -> None:
        """Let the catalog look at the container again.

        Raises:
            OSError: the store takes no files.
        """
        folder = f"{self.path.parent.parent}/changed"
        mark = f"{folder}/{self.uid}"
        try:
            os.utime(mark)
        except FileNotFoundError:
            try:
                fd = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                os.makedirs(folder, exist_ok=True)
                fd = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.close(fd)
        except PermissionError:  # another user of the store made it, and keeps it from being written
            with contextlib.suppress(FileNotFoundError):
                os.unlink(mark)
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))

    @contextlib.contextmanager
    def lock(self, seconds: float = 30.0, *, is_shared: bool = False) -> Iterator[None]:
        """Keep other processes from beginning, folding, sealing or repairing this run meanwhile.

        Writers append without it. It is a `flock`, so it ends with its holder, however that one dies.

        Args:
            seconds: how long to wait for it.
            is_shared: whether other processes may hold it shared at the same time.

        Raises:
            TimeoutError: another process held it all the time.
            OSError: the folder cannot be written.
        """
        fd = open_lock(self.path / LOCK)
        try:
            take_lock(fd, seconds, self.path, is_shared=is_shared)
            yield
        finally:
            os.close(fd)


def open_lock(path: Path) -> int:
    """A descriptor to lock a file by, which is made if need be. One that another user made may be read-only here.

    Raises:
        OSError: the folder takes no files.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough for a `flock`


class Layout(Struct, frozen=True):
    """Where the containers of a store lie: each in a folder named by its uid, below the folder of its kind."""

    root: Path

    def folder(self, uid: str, kind: ContainerKind = RUN) -> RunDirectory:
        """The folder of a container, there or not. The uid was checked by `ids.is_uid`."""
        return RunDirectory(self.root / kind.folder / uid)

    def find(self, uid: str) -> RunDirectory | None:
        """Return the folder of the container with this uid, of whichever kind; None if there is none."""
        if is_uid(uid):
            for kind in KINDS:
                path = self.root / kind.folder / uid
                if path.is_dir():
                    return RunDirectory(path)
        return None

    def folders(self) -> Iterator[RunDirectory]:
        """All containers: the runs, then the other kinds, each the oldest first."""
        for uid, kind in self.uids():
            yield self.folder(uid, kind)

    def uids(self) -> Iterator[tuple[str, ContainerKind]]:
        """The uids of all containers with their kinds, in the order of `folders`."""
        for kind in KINDS:
            with contextlib.suppress(FileNotFoundError):
                yield from ((name, kind) for name in sorted(filter(is_uid, os.listdir(self.root / kind.folder))))

    def unmark(self, uid: str) -> None:
        """The catalog need not look at this container, which is gone."""
        (self.root / "changed" / uid).unlink(missing_ok=True)


def take_lock(fd: int, seconds: float, path: Path, *, is_shared: bool = False) -> None:
    """Wait for a lock of a file, exclusive unless it is shared.

    Raises:
        TimeoutError: another process held it all the time.
    """
    until = clock.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() > until:
                raise TimeoutError(f"another process has held the lock of {path} for {seconds:g} s") from None
            clock.sleep(LOCK_POLL_SECONDS)
        except OSError:
            return  # a file system without locks: SQLite's own and exclusive creation still hold
        else:
            return


def newer_format(version: int, known: int, subject: object) -> NewerFormat:
    """Return the error for a file or folder of a later release."""
    return NewerFormat(
        f"{subject} was written by a later release of naiad (format {version}; this release reads up to {known}).\n"
        "Install that release to read it; nothing was changed."
    )
