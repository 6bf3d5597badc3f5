"""Content hashes of local files, and a cache of them: a folder of a million files is read once.

The cache is a file in the user's cache folder that may vanish, be damaged or be read-only at any time; then hashes are
made anew. An entry counts only for the same path, size, times and inode.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from naiad import clock
from naiad.disk import digest, open_file
from naiad.errors import OriginalChanged

AT_ONCE = 500
FRESH_NS = 2_000_000_000
"""What was changed this short a time ago may change again within one tick of the file system's clock."""
ATTEMPTS = 3
BUSY_SECONDS = 5.0
COLUMNS = "path TEXT PRIMARY KEY, size BIGINT, modified BIGINT, changed BIGINT, inode BIGINT, sha256 TEXT"
"""Those of `Measured`."""


@dataclass(frozen=True)
class Measured:
    """A file as it was when it was hashed."""

    path: str
    size: int
    modified: int
    changed: int
    inode: int
    sha256: str


def measure(path: str, report: Callable[[int], object]) -> Measured:
    """Hash a file.

    Raises:
        OriginalChanged: it is being written and does not hold still.
        FileError: it cannot be read.
    """
    fd = open_file(path)
    try:
        for _attempt in range(ATTEMPTS):
            # Facts before and after reading: equal ones show that the hash is of one state of the file.
            before = _facts(path, os.fstat(fd))
            sha256, size = digest(fd, report)
            if size == before[1] and before == _facts(path, os.fstat(fd)):
                return Measured(*before, sha256)
    finally:
        os.close(fd)
    raise OriginalChanged(
        f"{path!r} changed while it was being read. Track it after it has been written completely.", path=path
    )


def _facts(path: str, found: os.stat_result) -> tuple[str, int, int, int, int]:
    return path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class HashCache:
    """Cache of hashes by file. Every failure is a cache miss."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of_user(cls) -> HashCache:
        """The one in the user's cache folder."""
        home = os.path.expanduser("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
        folder = os.environ.get("XDG_CACHE_HOME") or (home if os.path.isabs(home) else os.devnull)  # no home, no cache
        return cls(Path(folder) / "naiad" / "hashes.db")

    def known(self, paths: Iterable[str]) -> dict[str, Measured]:
        """Those of the files that have not changed since they were hashed; by path."""
        wanted = list(paths)
        found: list[Measured] = []
        if self._file.exists():
            self._try(lambda connection: found.extend(_select(connection, wanted)))
        return {one.path: one for one in found if _is_unchanged(one)}

    def remember(self, files: Iterable[Measured]) -> None:
        """Keep these for the next time, except those changed just now."""
        now = int(clock.now() * 1e9)
        # A second change within the clock's tick leaves all facts as they are, and the old hash would count for new
        # content.
        rows = [one for one in files if max(one.modified, one.changed) < now - FRESH_NS]
        if rows:
            with contextlib.suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
            self._try(lambda connection: _replace(connection, rows))

    def _try(self, action: Callable[[sqlite3.Connection], object]) -> None:
        """Run a call in one transaction. A locked database is skipped, a damaged one deleted."""
        try:
            with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as connection, connection:
                connection.execute(f"CREATE TABLE IF NOT EXISTS content ({COLUMNS})")
                action(connection)
        except (UnicodeEncodeError, OverflowError):  # a name that is no UTF-8, an inode above 63 bit: not remembered
            return
        except (sqlite3.Error, OSError) as error:
            # An OperationalError is a lock or a full disk, which passes. Any other means that the file is damaged.
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                with contextlib.suppress(OSError):
                    self._file.unlink(missing_ok=True)


def _is_unchanged(one: Measured) -> bool:
    try:
        return astuple(one)[:-1] == _facts(one.path, os.stat(one.path))
    except OSError:
        return False


def _select(connection: sqlite3.Connection, paths: list[str]) -> Iterator[Measured]:
    # SQLite takes a limited number of variables in a statement, 999 in its older releases.
    for start in range(0, len(paths), AT_ONCE):
        some = paths[start : start + AT_ONCE]
        marks = ", ".join("?" * len(some))
        yield from (
            Measured(*row) for row in connection.execute(f"SELECT * FROM content WHERE path IN ({marks})", some)
        )


def _replace(connection: sqlite3.Connection, rows: list[Measured]) -> None:
    marks = ", ".join("?" * len(fields(Measured)))
    connection.executemany(f"REPLACE INTO content VALUES ({marks})", map(astuple, rows))
