"""The file of the catalog: who may use it when, and the proof that it is as naiad left it.

    catalog.db    SQLite with a rollback journal: after a commit everything is in this one file
    catalog.sum   format, size and crc32 of it, and when the file was last found to fit them; empty while it is being
                  changed. Its lock is the catalog's

    reader:   shared lock ---- does the sum fit? ---- read
    writer:   exclusive lock - does the sum fit? ---- empty the sum - transaction - write the sum

A file with an empty sum had its writer killed: SQLite rolls back an open transaction, and everything is checked
once. A file that its sum does not fit is damaged, and is made anew. The sum of a large file has no crc32: there each
row has its own, and the rest is checked once a day.

A catalog of very many runs is written to a draft, a file of its own without journal, syncs and most indexes. These
follow at the end, and it takes the place of the empty catalog under the exclusive lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import math
import os
import sqlite3
import stat
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from naiad import clock, ids
from naiad.storage.local.layout import open_lock
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import Database, open_locked
from naiad.storage.sql.values import BEGIN, FORMAT_OF, MADE, REVISION, TABLES

FORMAT = 10
WHOLE_BYTES = 64 * 1024 * 1024
"""Up to this size the whole file has a crc32, which takes about 1 ms for each MB."""
PROVEN_SECONDS = 60.0
"""How long processes rely on a crc32 that fitted, while size and times of the file stay the same."""
SETTLED_SECONDS = 2.0
"""A file that was changed more recently may change again without another time: only its own process relies on it."""
CHECK_SECONDS = 24 * 3600.0
LOCK_SECONDS = 10.0
READ_BYTES = 1024 * 1024
SUM_BYTES = 160
"""Room for all numbers of a sum."""
BESIDE = ("-journal", "-wal", "-shm")
DRAFT = ".draft-"
DRAFT_SECONDS = 120.0
"""How long to wait for the draft of another process, which has most of it done before this one has begun."""
LARGE_CACHE = "PRAGMA cache_size=-65536"
"""Up to 64 MB of pages, not 2: thousands of new runs touch most pages of an index many times."""
UNSAFE = ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF")
"""A draft, which begins anew after an error, needs no way back, and is synced once at the end."""
_proven: dict[Path, tuple[tuple[object, ...], float]] = {}


class Sum(NamedTuple):
    """The size and crc of the catalog after its last change; `crc` is -1 of a large file."""

    format: int
    size: int
    crc: int
    checked: int  # when everything was checked last: seconds since 1970
    proven: int = 0  # when a reader last compared the crc, and the file that it found then
    inode: int = 0
    written: int = 0
    changed: int = 0


class NotEmpty(Exception):
    """The catalog that a draft was to replace has something in it."""


class CatalogFile:
    """The catalog of a store that this process may write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees the whole file as it was left.

        Raises:
            OSError: this user may not write the catalog, or another process had it all the time.
        """
        lock = self._lock(fcntl.LOCK_SH)
        try:
            if not self._is_proven(lock):
                _unlock(lock)
                lock = self._lock(fcntl.LOCK_EX)
                if not self._is_proven(lock):
                    self._mend(lock)
            with self._engine.begin() as connection:
                yield connection
        finally:
            _unlock(lock)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may change it. After an error everything is checked by the next one.

        Raises:
            OSError: this user may not write the catalog, or another process had it all the time.
        """
        lock = self._lock(fcntl.LOCK_EX)
        try:
            if not self._is_proven(lock):
                self._mend(lock)
            checked = _read_sum(lock).checked
            # Emptied before the first change: a kill from here on leaves an empty sum, which means that everything is
            # to be checked.
            os.ftruncate(lock, 0)
            with self._engine.begin() as connection:
                # Not for a read, which scans each page once: servers have several at a time.
                connection.raw.execute(LARGE_CACHE)
                yield connection
            self._write_sum(lock, checked)
        finally:
            _unlock(lock)

    @contextlib.contextmanager
    def draft(self, made: str) -> Iterator[Database]:
        """A new catalog, which takes the place of the empty one at the end of the block.

        One process makes it; others wait, for at most `DRAFT_SECONDS`, until it is there.

        Args:
            made: that of the empty one, and of the draft.

        Raises:
            NotEmpty: another process has written to the catalog meanwhile, or made another one.
            OSError: this user may not write the store.
        """
        self._await_drafts()
        with self.reading() as connection:
            _refuse_filled(connection, made)
        path = self.path.with_name(f"{self.path.name}{DRAFT}{ids.new_uid()}")
        draft = Database(functools.partial(_connect_draft, path), is_kept=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # SQLite ignores the umask
        try:
            _flock(lock, fcntl.LOCK_EX, math.inf)
            self._remove_drafts_left_by_kills(path)
            begin(draft, made, is_indexed=False)
            yield draft
            with draft.begin() as connection:
                connection.make_indexes(TABLES)
            draft.dispose()
            os.fsync(lock)
            self._replace(path, made)
        finally:
            draft.dispose()
            path.unlink(missing_ok=True)
            _unlock(lock)

    def _replace(self, path: Path, made: str) -> None:
        lock = self._lock(fcntl.LOCK_EX)
        try:
            if not self._is_proven(lock):
                raise NotEmpty
            with self._engine.begin() as connection:
                _refuse_filled(connection, made)
            checked = _read_sum(lock).checked
            os.ftruncate(lock, 0)  # as in `writing`
            try:
                path.replace(self.path)
            except FileNotFoundError as error:  # removed as an abandoned one, where locks do not hold
                raise NotEmpty from error
            self._write_sum(lock, checked)
        finally:
            _unlock(lock)

    def _await_drafts(self) -> None:
        """Wait until other processes have finished their drafts, for so long as one mostly takes."""
        until = clock.monotonic() + DRAFT_SECONDS
        for path in self._drafts():
            _is_unlocked(path, until)

    def _remove_drafts_left_by_kills(self, own: Path) -> None:
        """Remove those that no process has locked, if that of this process shows that locks hold here."""
        if not _is_unlocked(own):
            for path in filter(_is_unlocked, self._drafts()):
                with contextlib.suppress(OSError):  # another process did it
                    path.unlink()

    def _drafts(self) -> Iterator[Path]:
        return self.path.parent.glob(f"{self.path.name}{DRAFT}*")

    def discard(self) -> None:
        """Throw it away; nothing is lost by that.

        Raises:
            OSError: it cannot be removed.
        """
        lock = self._lock(fcntl.LOCK_EX)
        try:
            self._discard(lock)
        finally:
            _unlock(lock)

    def damages(self) -> list[str]:
        """All that is wrong with it, without changing anything; nothing while there is no catalog of this format."""
        if not os.path.lexists(self.path):
            return []
        try:
            lock = self._lock(fcntl.LOCK_SH)
        except OSError:  # this user may at most read it
            return self._damages_of_copy()
        try:
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                return ["it is not a file"]
            known = _read_sum(lock)
            if known.size and known.format != FORMAT:
                return []
            if known.size and not self._fits(known):
                return ["it is not what was written"]
            return self._damages_of_copy() if known.crc < 0 or not known.size else []
        except OSError as error:
            return [f"it cannot be read: {error.strerror or error}"]
        finally:
            _unlock(lock)

    def _damages_of_copy(self) -> list[str]:
        import tempfile  # loads twenty modules, for what is done now and then

        try:
            with tempfile.TemporaryDirectory(prefix="naiad-") as folder:
                return self._damages_of(_copied(self.path, Path(folder)))
        except OSError as error:
            return [f"it cannot be read: {error.strerror or error}"]

    def copy(self, folder: Path) -> Path | None:
        """A copy in another folder, if the file is as it was left: for who may read this one only."""
        try:
            sum_file = os.open(self._sum_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe
            try:
                known = _read_sum(sum_file)
            finally:
                os.close(sum_file)
            copy = _copied(self.path, folder)
        except OSError:
            return None
        if known.size:
            return copy if known.format == FORMAT and _fits(copy, known) else None
        return None if self._damages_of(copy) else copy

    # Proof

    def _is_proven(self, lock: int) -> bool:
        """Whether the file is as it was left. Nothing may lie beside it that SQLite would take for a part of it."""
        known = _read_sum(lock)
        if known.format != FORMAT or any(os.path.lexists(f"{self.path}{end}") for end in BESIDE):
            return False
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        identity = (known[:3], _identity(found))
        before, moment = _proven.get(self.path, ((), 0.0))
        if identity == before and clock.monotonic() < moment + PROVEN_SECONDS:
            return True
        if known.proven and _was_proven(known, found):
            return True
        if not self._fits(known):
            return False
        _proven[self.path] = identity, clock.monotonic()
        if known.crc >= 0:
            _prove(lock, known, found)
        if known.crc < 0 and clock.now() > known.checked + CHECK_SECONDS:
            threading.Thread(target=self._check_now_and_then, name="naiad", daemon=True).start()
        return True

    def _fits(self, known: Sum) -> bool:
        return stat.S_ISREG(os.lstat(self.path).st_mode) and _fits(self.path, known)

    def _mend(self, lock: int) -> None:
        """Make a sound file out of the existing one: as it is if nothing is wrong, else a new one."""
        known = _read_sum(lock)
        if known.size and known.format == FORMAT and self._is_file() and self._fits(known):
            self._remove(*BESIDE)
            return
        if not known.size and self._is_file():
            self._remove(*BESIDE[1:])  # naiad leaves none, and SQLite would take them for a part of the file
            if not self._damages_of(self.path):
                self._remove(*BESIDE)
                self._write_sum(lock, round(clock.now()))
                return
        self._discard(lock)
        begin(self._engine, ids.new_uid())
        self._write_sum(lock, round(clock.now()))

    def _is_file(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(self.path)
            return stat.S_ISREG(found.st_mode) and found.st_size > 0
        return False

    def _remove(self, *ends: str) -> None:
        for end in ends:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.path}{end}")

    def _damages_of(self, path: Path) -> list[str]:
        from naiad.storage.sql.check import damages  # with SQLAlchemy, which a reader of a sound catalog does without

        try:
            with open_locked(path).begin() as connection:
                if connection.value(FORMAT_OF) != FORMAT:
                    return ["it is of another format"]
                return damages(connection)
        except sqlite3.Error as error:
            return [str(error)]

    def _check_now_and_then(self) -> None:
        """Check a copy of a large file in all respects, so that no process waits for it."""
        import tempfile  # as above

        with contextlib.suppress(OSError), tempfile.TemporaryDirectory(prefix="naiad-") as folder:
            lock = self._lock(fcntl.LOCK_EX)
            try:
                known = _read_sum(lock)
                if known.crc >= 0 or clock.now() <= known.checked + CHECK_SECONDS:
                    return  # another process did it, or the file has become small
                _put_sum(lock, known._replace(checked=round(clock.now())))
                copy = _copied(self.path, Path(folder))
            finally:
                _unlock(lock)
            if self._damages_of(copy):
                self.discard()

    def _discard(self, lock: int) -> None:
        os.ftruncate(lock, 0)
        self._remove("", *BESIDE)

    # The sum and its lock

    @property
    def _sum_path(self) -> Path:
        return self.path.with_suffix(".sum")

    @property
    def _engine(self) -> Database:
        return _engine_of(self.path)

    def _write_sum(self, lock: int, checked: int) -> None:
        found = os.stat(self.path)
        crc = -1 if found.st_size > WHOLE_BYTES else _crc(self.path)
        known = Sum(FORMAT, found.st_size, crc, checked)
        _put_sum(lock, known)
        _proven[self.path] = (known[:3], _identity(found)), clock.monotonic()

    def _lock(self, how: int) -> int:
        """A descriptor of the sum, locked."""
        until = clock.monotonic() + LOCK_SECONDS
        while True:
            lock = open_lock(self._sum_path)
            try:
                is_locked = _flock(lock, how, until)
                with contextlib.suppress(FileNotFoundError):
                    # Another process may have removed the store and made it again while this one waited: the lock of
                    # a file without a name excludes no process.
                    if is_locked and os.path.samestat(os.fstat(lock), os.stat(self._sum_path)):
                        return lock
            except BaseException:  # only to clean up: whatever it is goes on
                os.close(lock)
                raise
            os.close(lock)  # another one has taken its place
            if clock.monotonic() > until:
                raise TimeoutError(f"other processes have held {self._sum_path} for {LOCK_SECONDS:g} s")


@functools.lru_cache(maxsize=16)
def _engine_of(path: Path) -> Database:
    """One for each file and process, since it remembers compiled statements. It keeps no connection."""
    return open_locked(path)


def _connect_draft(path: Path) -> sqlite3.Connection:
    """Connect to a file that this process alone uses, and that is thrown away if it is not completed."""
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in (*UNSAFE, LARGE_CACHE):
        connection.execute(setting)
    return connection


def begin(engine: Database, made: str, *, is_indexed: bool = True) -> None:
    """Make the tables of a catalog."""
    with engine.begin() as connection:
        connection.make(TABLES, is_indexed=is_indexed)
        connection.run(BEGIN, format=FORMAT, listed="", made=made, revision=0)


def _refuse_filled(connection: Connection, made: str) -> None:
    """Raise `NotEmpty` unless this is the catalog that was `made`, and nothing was written to it since."""
    if connection.value(MADE) != made or connection.value(REVISION):
        raise NotEmpty


def _flock(lock: int, how: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() > until:
                return False
            clock.sleep(0.002)
        except OSError:
            return True  # a file system without locks: there SQLite's own are all there is
        else:
            return True


def _is_unlocked(path: Path, until: float = -math.inf) -> bool:
    """Whether a draft can be locked, at once or until then. One that is gone, or another user's, cannot."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _flock(lock, fcntl.LOCK_EX, until)
    finally:
        _unlock(lock)


def _unlock(lock: int) -> None:
    """Not by closing alone: a child that was forked meanwhile has the descriptor, and with it the lock, as well."""
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _copied(path: Path, folder: Path) -> Path:
    import shutil  # as above

    copy = folder / path.name
    shutil.copyfile(path, copy)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(f"{path}-journal", f"{copy}-journal")
    return copy


def _read_sum(lock: int) -> Sum:
    return _parse(os.pread(lock, 2 * SUM_BYTES, 0))


def _parse(text: bytes) -> Sum:
    """Parse the sum in a text; one without a size if there is none."""
    try:
        return Sum(*map(int, text.split()))
    except (TypeError, ValueError):
        return Sum(0, 0, 0, 0)


def _put_sum(lock: int, known: Sum) -> None:
    # In one write of one length, since readers that hold the lock together may do this while others read it.
    os.pwrite(lock, " ".join(map(str, known)).encode().ljust(SUM_BYTES - 1) + b"\n", 0)
    os.ftruncate(lock, SUM_BYTES)  # of a damaged one there may be more


def _was_proven(known: Sum, found: os.stat_result) -> bool:
    """Whether another process has just compared the crc of this very file: a command then need not read all of it."""
    file = (known.size, known.inode, known.written, known.changed)
    return file == _identity(found) and 0 <= clock.now() - known.proven < PROVEN_SECONDS


def _prove(lock: int, known: Sum, found: os.stat_result) -> None:
    """Note that the file fits its sum, for other processes."""
    if clock.now() > found.st_ctime + SETTLED_SECONDS:
        _size, inode, written, changed = _identity(found)
        with contextlib.suppress(OSError):  # the others then compare it themselves
            _put_sum(lock, known._replace(proven=int(clock.now()), inode=inode, written=written, changed=changed))


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _fits(path: Path, known: Sum) -> bool:
    return known.size == os.path.getsize(path) and (
        known.size > WHOLE_BYTES if known.crc < 0 else known.crc == _crc(path)
    )


def _crc(path: Path) -> int:
    """The crc32 of a file.

    Closing it drops SQLite's locks on it in this process; the lock of the sum is in their place.
    """
    crc = 0
    with path.open("rb", buffering=0) as stream:
        while data := stream.read(READ_BYTES):
            crc = zlib.crc32(data, crc)
    return crc
