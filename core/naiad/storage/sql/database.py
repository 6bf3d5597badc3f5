"""Databases of SQLite, and opening them. Each setting is a named function whose docstring is its reason."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any
from urllib.parse import quote

from naiad.disk import is_network
from naiad.errors import StorageError
from naiad.forks import holding_forks
from naiad.storage.sql.connection import Connection

BUSY_SECONDS = 5.0
"""How long a fold waits for another process's: stopping has to end within seconds, and what waits is in the journal."""
States = list[tuple[int, int, int] | None]
"""The inode, size and time of change of each file of a database; None of one that is not there."""
MOST_COPIES = 3
"""How often an index is copied in which a fold ends meanwhile, before that is left to who reads it."""
MOST_UNUSED = 16
"""An index of which more than a sixteenth is unused is copied when its run ends, which makes it smaller."""


class Database:
    """A database file, or one in memory. Each transaction has a connection of its own unless one `is_kept`."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], begin: str = "BEGIN", *, is_kept: bool) -> None:
        self._connect = connect
        self._begin = begin
        self._is_kept = is_kept
        self._kept: sqlite3.Connection | None = None
        self.has_moved: Callable[[], bool] = bool
        """Whether the file has changed since, if the kept connection is one to a copy of it, or without locks."""
        self.is_settled = True
        """Whether what is read belongs together, also if the file has changed since."""

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block, and rolled back after an error in it.

        Raises:
            sqlite3.Error: the database cannot be opened, or is in use, or the disk reports an error.
        """
        with self._opened() as raw:
            raw.execute(self._begin)
            connection = Connection(raw)
            yield connection
            # Only here: after an error the `finally` below finds the transaction open, and rolls it back.
            raw.commit()
            del connection.raw  # callers may hold the transaction for longer than the file is to be open

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        """A transaction for reading, which is never committed.

        Raises:
            sqlite3.Error: the database cannot be opened, or the disk reports an error.
        """
        with self._opened() as raw:
            raw.execute(self._begin)
            yield Connection(raw)

    def dispose(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        raw = self._kept or self._connect()
        try:
            if self._is_kept:
                self._kept = raw
            yield raw
        finally:
            if raw.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # the error in the block is the one to be raised
                    raw.rollback()
            if not self._is_kept:
                raw.close()


def open_for_writing(path: Path) -> Database:
    """A database whose connections are opened and closed with each transaction, so that a fork inherits none."""
    is_remote = is_network(path)

    def protect(connection: sqlite3.Connection) -> None:
        journal_mode(connection, is_remote=is_remote)
        synchronous(connection)

    return _open_to_write(path, protect)


def open_new(path: Path) -> Database:
    """Open a file that a crash makes useless, until `finish_new` has put it on the disk."""
    return _open_to_write(path, unprotected)


def _open_to_write(path: Path, protect: Callable[[sqlite3.Connection], None]) -> Database:
    def connect() -> sqlite3.Connection:
        connection = _connect(_made(path))
        protect(connection)
        small_pages_stay(connection)
        linear_regexes(connection)
        case_matters(connection)
        return connection

    # IMMEDIATE takes the write lock at the start. A transaction that reads first and then writes would fail with
    # "locked" at that point, whatever its timeout.
    return Database(connect, "BEGIN IMMEDIATE", is_kept=False)


def finish_new(path: Path) -> None:
    """Put a file of `open_new` on the disk, in the mode in which `open_for_writing` goes on with it.

    Raises:
        sqlite3.Error: the disk reports an error to SQLite.
        OSError: it reports one here.
    """
    with contextlib.closing(_connect(str(path))) as connection:
        unprotected(connection)
        journal_mode(connection, is_remote=is_network(path))
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def open_locked(path: Path) -> Database:
    """Open a file that processes lock by other means, so that after a commit it is one file and complete."""

    def connect() -> sqlite3.Connection:
        connection = _connect(_made(path))
        rollback_journal(connection)
        synchronous(connection)
        check_pages(connection)
        linear_regexes(connection)
        case_matters(connection)
        return connection

    return Database(connect, is_kept=False)


def open_for_reading(path: Path, *, is_final: bool) -> Database:
    """Open a database with one read-only connection. `is_final`: without writers, so without locks and files.

    Raises:
        PermissionError: this user has no permission to read it.
    """
    if not os.access(path, os.R_OK):  # SQLite would only say that it is unable to open it
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    is_shared = is_final or _is_shared(path)

    def connect() -> sqlite3.Connection:
        if is_final:
            connection = _connect_alone(path)
            read_what_is_left(connection)
        else:
            connection, seen, database.is_settled = (_connect_settled if is_shared else _connect_apart)(path)
            database.has_moved = bool if seen is None else lambda: _states(path) != seen
        any_text(connection)
        return connection

    database = Database(connect, is_kept=True)
    return database


@contextlib.contextmanager
def unchanged(path: Path) -> Iterator[bool]:
    """Keep others from changing a database in the block, whose content stays as it is. False where that is impossible.

    A user who may only read it cannot do that, and no process can while a change lasts longer than `BUSY_SECONDS`.
    """
    connection: sqlite3.Connection | None = None
    with holding_forks():  # a child that inherits the lock could never take it, nor close what holds it
        with contextlib.suppress(sqlite3.Error):
            if os.access(path, os.W_OK) and _is_shared(path):
                connection = _connect(f"file:{quote(os.fsencode(path))}?mode=rw")  # of a missing one nothing is made
                connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection is not None and connection.in_transaction
        finally:
            if connection is not None:
                connection.close()


def _made(path: Path) -> str:
    """Create the file of a database under the umask, which SQLite would ignore, and return its name.

    Where that fails, SQLite raises.
    """
    if not path.exists():
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
    return str(path)


def _is_shared(path: Path) -> bool:
    """Whether SQLite may make and write the files beside an index by which readers and a writer agree."""
    beside = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    # In this order: a writer may remove them in between.
    return os.access(path.parent, os.W_OK) and all(os.access(log, os.W_OK) or not log.exists() for log in beside)


def _states(path: Path) -> States:
    """Return the facts of the files of a database that change when it is written."""
    found: States = []
    for end in ("", "-wal", "-journal"):
        try:
            state = os.stat(path.with_name(path.name + end))
        except OSError:
            found.append(None)
        else:
            found.append((state.st_ino, state.st_size, state.st_mtime_ns))
    return found


def _connect_alone(path: Path) -> sqlite3.Connection:
    """Connect without locks and files, so that a finished run is read from media that cannot be written."""
    return _connect(f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1")


def _connect_settled(path: Path) -> tuple[sqlite3.Connection, States | None, bool]:
    """Connect to an index that others may write; where one is in the middle of a change, to a copy of these states.

    One that was killed while it left or entered WAL mode leaves a rollback journal, which a reader may not apply. One
    that is suspended while it closes the index, or whose disk stalls, keeps it locked. While neither moves, a copy of
    all files is complete.
    """
    connection = _connect(f"file:{quote(os.fsencode(path))}?mode=ro")
    try:
        _open(connection)
    except sqlite3.OperationalError as error:
        if any(word in str(error) for word in ("readonly", "locked")):
            with contextlib.suppress(OSError):
                copy, states, is_settled = _connect_to_copy(path)
                if is_settled:
                    connection.close()
                    return copy, states, True
                copy.close()
    except sqlite3.DatabaseError:
        pass  # damaged, as every reading of it says
    return connection, None, True


def _connect_apart(path: Path) -> tuple[sqlite3.Connection, States, bool]:
    """Connect to an index that others may write and this user may not, so that no lock keeps the two apart.

    SQLite reads a log, which a fold or a killed run leaves, only where it may create a file. So it is read with a copy.

    Raises:
        StorageError: there is no room for the copy.
        PermissionError: this user may not read the log.
    """
    for _ in range(MOST_COPIES):
        states = _states(path)
        if not any(log and log[1] for log in states[1:]):
            return _connect_alone(path), states, False
        try:
            copy, states, is_settled = _connect_to_copy(path)
        except PermissionError:
            raise
        except OSError as error:
            if states == _states(path):  # else the fold ended meanwhile
                raise StorageError(
                    f"The index {path} cannot be copied into a temporary folder, which is needed to read it without "
                    f"permission to write: {error}.",
                    errno=error.errno, filename=str(path),
                ) from error  # fmt: skip
        else:
            if is_settled:
                return copy, states, True
            copy.close()
    return _connect_alone(path), states, False


def _connect_to_copy(path: Path) -> tuple[sqlite3.Connection, States, bool]:
    """Connect to a copy of an index and its logs; also their states, and whether they stayed so until it was made.

    Raises:
        OSError: they cannot be copied.
    """
    import tempfile  # loads the formats of archives; few indexes are copied

    with tempfile.TemporaryDirectory(prefix="naiad-", ignore_cleanup_errors=True) as folder:
        states, copy = _states(path), Path(folder) / path.name
        _copy_settled(path, copy)
        is_settled = states == _states(path)
        connection = _connect_alone(copy)
        with contextlib.suppress(sqlite3.DatabaseError):  # as every reading of it says
            _open(connection)  # from here on the copy needs no name
    return connection, states, is_settled


def _open(connection: sqlite3.Connection) -> None:
    """Open the file of a connection, which SQLite does at its first use."""
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _copy_settled(path: Path, copy: Path) -> None:
    """Copy an index and its logs, and bring the copy to its last complete state."""
    import shutil  # as above

    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))):
        if file.exists():
            shutil.copyfile(file, copy.with_name(file.name))
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(_connect(str(copy))) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()  # of a damaged one every reading says so


def open_in_memory(begin_with: Path | None = None) -> Database:
    """Open a database in memory, which begins with the content of a private file and ends with the object returned."""

    def connect() -> sqlite3.Connection:
        connection = _connect(":memory:")
        linear_regexes(connection)
        case_matters(connection)
        if begin_with is not None:
            with contextlib.closing(_connect(str(begin_with))) as source:
                source.backup(connection)
        return connection

    database = Database(connect, is_kept=True)
    with database.begin():  # read now: the file goes
        return database


def make_single_file(path: Path, seconds: float = BUSY_SECONDS) -> None:
    """Leave WAL mode, so that a finished index is one file that read-only media can hold.

    SQLite does not do that while a reader has the file open. Then a copy without WAL takes its place, and readers of
    the old file end with it in peace. A copy is also made of a file with much unused room.

    Raises:
        StorageError: the disk reports an error, or another process read all the time; the index is as it was.
    """
    with holding_forks():
        if _leave_log(path):
            return
    copy = path.with_name(f".{path.name}.new")
    copy.unlink(missing_ok=True)
    with holding_forks():
        _copy_without_log(path, copy, seconds)
    # The copy is on the disk before it takes the place of the index: a rename may reach the disk before the content.
    with copy.open("rb") as stream:
        os.fsync(stream.fileno())
    copy.replace(path)
    # After the rename: readers of the old file keep its log open, and a new reader would take the old log for that of
    # the new file.
    for log in ("-wal", "-shm"):
        path.with_name(path.name + log).unlink(missing_ok=True)


def _leave_log(path: Path) -> bool:
    """Write the log into the file; False if it is in use, or a copy would be smaller."""
    connection = _connect(str(path))
    try:
        # Not waited for: if a reader has the file, the copy below serves as well.
        connection.execute("PRAGMA busy_timeout=0")
        synchronous(connection)
        pages, unused = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
        )
        if unused * MOST_UNUSED > pages:
            return False
        return bool(connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0] == "delete")
    except sqlite3.Error:  # locked, or a failure that making a copy will meet again, and say
        return False
    finally:
        connection.close()


def _copy_without_log(path: Path, copy: Path, seconds: float) -> None:
    connection = _connect(str(path))
    try:
        connection.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")
        is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            raise StorageError(f"its index {path} has been locked by readers for too long", errno=errno.EBUSY)
        connection.execute("VACUUM INTO ?", (_made(copy),))
    except sqlite3.Error as error:
        raise StorageError(f"SQLite cannot use its index {path}: {error}", errno=errno.EIO) from error
    finally:
        connection.close()


class _Connection(sqlite3.Connection):
    """A connection that closes itself when nothing refers to it, as those of readers are left to.

    Python 3.13 warns of one that is not closed. One that a forked child inherited stays open: closing it there would
    write to files that belong to the parent.
    """

    _pid = 0  # of a connection that could not be opened, which must not be closed either

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pid = os.getpid()

    def __del__(self) -> None:
        if self._pid == os.getpid():
            self.close()


def _connect(target: str) -> sqlite3.Connection:
    return sqlite3.connect(
        target,
        timeout=BUSY_SECONDS,
        # Transactions are begun by hand: the module would begin one before the first change, and not before the first
        # read.
        isolation_level=None,
        # A reader is used by several threads, one after the other, under a lock of its own.
        check_same_thread=False,
        uri=target.startswith("file:"),
        factory=_Connection,
    )


def journal_mode(connection: sqlite3.Connection, *, is_remote: bool) -> None:
    """WAL lets readers go on while a fold commits. It needs shared memory, which network file systems lack."""
    connection.execute(f"PRAGMA journal_mode={'DELETE' if is_remote else 'WAL'}")


def rollback_journal(connection: sqlite3.Connection) -> None:
    """A WAL would leave a part of the commits outside of the file, whose crc32 would then prove little."""
    connection.execute("PRAGMA journal_mode=DELETE")


def unprotected(connection: sqlite3.Connection) -> None:
    """A file without its final name is of no use after a crash, so it needs no log, and is synced once, at its end."""
    connection.execute("PRAGMA journal_mode=MEMORY")
    connection.execute("PRAGMA synchronous=OFF")


def check_pages(connection: sqlite3.Connection) -> None:
    """Of a page with cells in impossible places SQLite reads nothing."""
    connection.execute("PRAGMA cell_size_check=ON")


def synchronous(connection: sqlite3.Connection) -> None:
    """FULL: journal files are removed after a fold, so the fold itself has to be on the disk when it returns."""
    connection.execute("PRAGMA synchronous=FULL")


def any_text(connection: sqlite3.Connection) -> None:
    """A text that is no UTF-8 any more must fail the crc of its row, and not the reading of all rows beside it."""
    # No function of Python's: a table has a hundred thousand texts, and each would cost a call.
    connection.text_factory = methodcaller("decode", "utf-8", "surrogateescape")


def read_what_is_left(connection: sqlite3.Connection) -> None:
    """Read the rest of a truncated file, which SQLite rejects as a whole. For reading only."""
    connection.execute("PRAGMA writable_schema=ON")


def is_refusal(error: sqlite3.Error) -> bool:
    """Whether a database cannot be opened or is locked, independent of its content."""
    return any(word in str(error) for word in ("locked", "busy", "unable to open", "readonly"))


def integrity(connection: Connection) -> list[str]:
    """Return SQLite's findings on the structure of a database; values are not checked."""
    found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]
    return [] if found == ["ok"] else found


def linear_regexes(connection: sqlite3.Connection) -> None:
    """Match regular expressions by RE2, in time proportional to the text.

    Python's `re` may need exponential time.
    """
    connection.create_function("regexp", 2, _matches, deterministic=True)


def _matches(pattern: str, text: str | None) -> bool:
    return text is not None and _compiled(pattern).search(text) is not None


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False  # what it has to say about memory is for its own developers
    return re2.compile(pattern, options)


def case_matters(connection: sqlite3.Connection) -> None:
    """Make LIKE case-sensitive, as in other databases."""
    connection.execute("PRAGMA case_sensitive_like=ON")


def small_pages_stay(connection: sqlite3.Connection) -> None:
    """Never vacuum by itself: rewriting a large index is the compaction's decision."""
    connection.execute("PRAGMA auto_vacuum=NONE")
