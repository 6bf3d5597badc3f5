"""The catalog: a table of all runs of a store, with the value of every atom and the last one of every series.

It is a cache. Everything in it comes from the run folders; it is brought up to date before it is read, made anew when
it is damaged (see `catalog_file`), and kept in memory where the store cannot be written. A run that is written later
is found by its mark (`changed/<uid>`). A folder that was copied in, copied over or removed is found by looking: each
read looks at runs without a seal, and now and then at every folder, of a large store at some after the others.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import starmap
from operator import attrgetter
from pathlib import Path
from sqlite3 import DatabaseError, OperationalError, ProgrammingError
from typing import NamedTuple, TypeVar

from msgspec import MsgspecError

from naiad import clock, ids
from naiad.container_kinds import BY_FOLDER, KINDS, ContainerKind, RunId
from naiad.cycles import search_paused
from naiad.errors import DamagedData, NaiadError, StorageError
from naiad.progress import showing
from naiad.storage.catalog import Cell
from naiad.storage.local.catalog_file import CatalogFile, NotEmpty, begin
from naiad.storage.local.ids import Register
from naiad.storage.local.journal.leases import SUFFIX, Liveness, read_writers
from naiad.storage.local.layout import LOCK, SEAL, Layout, RunDirectory
from naiad.storage.sql.catalog import SqlCatalog
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.database import Database, is_refusal, open_in_memory
from naiad.storage.sql.values import (
    LAST_CONTAINER,
    LIST,
    LISTED,
    MADE,
    MANY_CELLS,
    REVISION,
    Entry,
    Known,
    Stamp,
    forget,
    put,
    stamps,
)

T = TypeVar("T")
ATTEMPTS = 3
"""How often a catalog is made anew, or another one is tried, before an error of it is raised."""
MANY = 1_000
"""Runs from which on starting processes to read them takes less time than it saves."""
BATCH = 256
"""Runs that are brought up to date in one transaction: others wait for milliseconds, not for the whole store."""
LARGE_BATCH = 4_096
"""The same for a catalog of very many runs, whose every transaction touches most pages of the indexes."""
PIECES = 16
"""Into how many pieces the runs are divided at least, so that all cores have some to the end."""
SETTLED_SECONDS = 2.0
"""A folder that was changed more recently may change again within one tick of its file system's clock."""
LOOK_SECONDS = 60.0
"""A process looks at every folder when it begins, and so often: one that was copied over shows from its inside only."""
ODD = (MsgspecError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Exceptions from reading rows that fit their checksum and that no release writes; `DamagedData` is a ValueError."""
_looked: dict[Path, float] = {}
NO_BAR = contextlib.nullcontext()
NO_DRAFT = contextlib.nullcontext()
ALL = (0, 0)
LOOK_FOLDERS = 500
"""Up to so many folders are looked at together; of more, the next so many at each look, so that no look is long: a
command begins with one, and a look at a folder takes 8 us on a local disk, and 500 us on others."""


class Look(NamedTuple):
    """The files of a container before it is read: their stamp, and the signs of life of its writers."""

    stamp: Stamp
    """Changes with every write; empty while there are writers that live."""
    writers: dict[str, Liveness] | None = None
    """By their leases alone; None of a sealed container, and where they are not known."""
    files: Mapping[str, os.stat_result] | None = None
    """By their place; of a sealed container without further folders, links or files that are not known."""


class MadeAnew(Exception):
    """The catalog was made anew between two transactions, so everything is to be read into it again."""


class _Own(threading.local):
    """The catalogs in memory of one thread: it has its transactions alone."""

    def __init__(self) -> None:
        self.engines: dict[Path, Database] = {}


_own = _Own()


class Catalog(SqlCatalog):
    """The catalog of one store: an index of its folders, under the ids of its register."""

    def __init__(self, layout: Layout, ids: Register) -> None:
        self._layout = layout
        self._ids = ids
        self._file = CatalogFile(layout.root / "catalog.db")
        self._made = ""
        """Which catalog was brought up to date."""
        self._is_file = True
        """Whether others read what is noted here: only then may a mark go."""
        self._draft: Database | None = None
        """The catalog that is written instead of the file while it is made anew."""
        self._may_draft = True

    def cells(self, run: RunId) -> Mapping[tuple[str, str], Cell]:
        """Return the cells of one container by path and kind, without looking at the others."""
        from naiad.storage.local.entries import read_entry

        return read_entry(self._ids, self._layout.folder(run.uid, run.kind), Stamp("", "")).cells

    def refresh(self) -> None:
        """Bring it up to date."""
        self.read(lambda _connection: None)

    def rebuild(self, *, progress_bar: bool | None = False) -> None:
        """Throw it away and make it anew from the run folders."""
        self.progress_bar = progress_bar
        self._discard()
        try:
            self._read_changed()
        except MadeAnew:  # by another process, at the same time
            self._update()

    def read(self, read: Callable[[Connection], T]) -> T:
        """Read in a transaction after everything that has changed was read again.

        Raises:
            StorageError: this user may not read the store.
        """
        for _ in range(ATTEMPTS):
            self._update()
            try:
                return self._read(read)
            except MadeAnew:
                continue
            except OSError:
                self._is_file = False
            except DamagedData:
                self._discard()
            except NaiadError:
                raise  # what was asked for cannot be answered, such as a column without an order
            except (DatabaseError, *ODD) as error:
                if isinstance(error, (OperationalError, ProgrammingError)) and not self._is_damaged():
                    raise  # the same
                self._discard()
        self._update()
        return self._read(read)

    def _update(self) -> None:
        for _ in range(ATTEMPTS):
            try:
                self._read_changed()
                return
            except (OSError, OperationalError) as error:
                if not self._is_file:
                    raise _refusal(self._layout.root, error) from error
                if isinstance(error, OperationalError) and not is_refusal(error) and self._is_damaged():
                    self._discard()
                else:  # a store that cannot be written: this thread's own catalog serves
                    self._is_file = False
            except MadeAnew:
                continue
            except (DatabaseError, *ODD):  # nothing is lost by that
                self._discard()
        self._read_changed()

    def _read(self, read: Callable[[Connection], T]) -> T:
        with self._transaction() as connection:
            return read(connection)

    @contextlib.contextmanager
    def _transaction(self, *, is_writing: bool = False) -> Iterator[Connection]:
        """A transaction of the catalog that is being brought up to date.

        Raises:
            MadeAnew: it is another one, as this one was damaged or removed meanwhile.
        """
        self._is_file = self._is_file and self._layout.root.is_dir()
        if not self._is_file:
            transaction: AbstractContextManager[Connection] = self._in_memory().begin()
        elif self._draft is not None:
            transaction = self._draft.begin()
        else:
            transaction = self._file.writing() if is_writing else self._file.reading()
        with transaction as connection:
            made = connection.value(MADE) or ""
            self._made = self._made or made
            if made != self._made:
                raise MadeAnew
            yield connection

    def _in_memory(self) -> Database:
        """Return a catalog in memory, filled from the one on disk and kept for further queries."""
        engine = _own.engines.get(self._layout.root)
        if engine is None:
            import tempfile  # loads twenty modules, for a store that cannot be written

            with tempfile.TemporaryDirectory(prefix="naiad-") as folder:
                copy = self._file.copy(Path(folder))
                engine = open_in_memory(copy)
            if copy is None:
                begin(engine, ids.new_uid())
            _own.engines[self._layout.root] = engine
        return engine

    def _is_damaged(self) -> bool:
        return self._is_file and bool(self._file.damages())

    def _discard(self) -> None:
        if self._is_file:
            try:
                self._file.discard()
            except OSError:  # such as a folder in its place, which is left alone
                self._is_file = False
        if not self._is_file:
            _own.engines[self._layout.root] = engine = open_in_memory()
            begin(engine, ids.new_uid())

    def _read_changed(self) -> None:
        self._made = ""
        # The marks before anything is read: a run that is marked later is read by the next call.
        marks, listed, began = self._marks(), self._listed(), clock.monotonic()
        with self._transaction() as connection:
            is_new = not connection.value(REVISION)
            is_noted = bool(listed) and connection.value(LISTED) == listed
            is_due = began >= _looked.get(self._layout.root, -LOOK_SECONDS) + LOOK_SECONDS
            turn = _next_numbers(connection.value(LAST_CONTAINER) or 0)
            is_listed = is_noted and self._is_file and (turn != ALL or not is_due)
            known = stamps(connection, marks if is_listed else None, turn if is_due else ALL)
            is_some = turn != ALL and not is_listed
            trusted = known.keys() - stamps(connection, marks, turn).keys() if is_some else set()
        watched = self._watched(marks, known) if is_noted and self._is_file else dict(self._layout.uids())
        gone = [uid for uid in known if uid not in watched]
        looked = ((uid, kind) for uid, kind in watched.items() if uid not in trusted)
        stale = list(self._stale(looked, marks, known))
        may_draft = self._may_draft and self._is_file and len(stale) >= MANY
        bar = showing(self.progress_bar, "Reading runs", len(stale), unit=" runs") if len(stale) > BATCH else NO_BAR
        with bar as report, self._drafting() if is_new and may_draft else NO_DRAFT:
            # Of many runs more go into one transaction: each ends with syncs of the disk and a crc of the file.
            most = BATCH if len(stale) < MANY else LARGE_BATCH
            entries: list[Entry] = []
            for some in self._entries(stale):
                entries += some
                if len(entries) >= most:
                    self._write(entries, gone)
                    entries, gone = [], []
                if report is not None:
                    report(len(some))
            # A process that looks at every folder mostly finds the list that stands there: writing it again would take
            # two syncs of the disk and a crc of the whole file.
            new_list = "" if is_noted else listed
            if entries or gone or new_list:
                self._write(entries, gone, new_list)
        if self._is_file:
            if not is_listed or is_due:
                _looked[self._layout.root] = began
            self._unmark(marks, watched)

    @contextlib.contextmanager
    def _drafting(self) -> Iterator[None]:
        """Write what follows to a draft, which becomes the catalog at the end.

        Raises:
            MadeAnew: another process was quicker, or the draft failed, and the file is to be written itself.
        """
        try:
            with self._file.draft(self._made) as self._draft:
                yield
        except NotEmpty as error:
            raise MadeAnew from error
        except OperationalError as error:  # such as no room for sorting the rows of an index
            self._may_draft = False
            raise MadeAnew from error
        finally:
            self._draft = None

    def _write(self, entries: list[Entry], gone: list[str], listed: str = "") -> None:
        with self._transaction(is_writing=True) as connection:
            if gone:
                forget(connection, gone)
            if entries:
                count = sum(map(len, map(attrgetter("cells"), entries)))
                with search_paused() if count > MANY_CELLS else contextlib.nullcontext():
                    put(connection, entries)
            if listed:
                connection.run(LIST, listed=listed)

    def _entries(self, stale: list[tuple[str, Look | None]]) -> Iterator[list[Entry]]:
        """Read entries in their order, in pieces; very many with all cores."""
        if len(stale) < MANY:
            read = partial(_read, self._ids, is_one_of_many=len(stale) > BATCH)
            for start in range(0, len(stale), BATCH):
                yield [*starmap(read, stale[start : start + BATCH])]
            return
        from naiad.storage.local.entry_processes import read_entries

        # Of very many in larger pieces: the other processes read on while this one writes a transaction.
        size = max(BATCH, min(LARGE_BATCH // 2, len(stale) // PIECES))
        # They look at the writers for themselves: by the time of the reading the first look may be old.
        yield from read_entries(
            self._ids, [(folder, look and look.stamp) for folder, look in stale], size, stamped_entry
        )

    def _stale(
        self, looked: Iterable[tuple[str, ContainerKind]], marks: dict[str, int], known: dict[str, Known]
    ) -> Iterator[tuple[str, Look | None]]:
        """Return the folders that have changed since they were read; a new one is stamped when it is read."""
        root = str(self._layout.root)
        for uid, kind in looked:
            before = known[uid][1] if uid in known else None
            # A text, since nearly all runs are sealed, and making a path object takes longer than the look itself.
            folder = f"{root}/{kind.folder}/{uid}"
            if before and before.seal and uid not in marks and before.seal == seal_stamp(folder):
                continue
            look = None if before is None else look_at(folder)
            if before is None or look is None or not look.stamp.files or look.stamp.files != before.files:
                yield folder, look

    def _listed(self) -> str:
        """Changes when a folder of a container is made, copied in or removed; empty while that would not be noticed."""
        times = []
        for kind in KINDS:
            with contextlib.suppress(FileNotFoundError):
                times.append((kind.folder, os.stat(self._layout.root / kind.folder).st_mtime_ns))
        latest = max((time for _folder, time in times), default=0)
        is_settled = latest < (clock.now() - SETTLED_SECONDS) * 1e9
        return repr(times) if is_settled else ""

    def _watched(self, marks: Iterable[str], known: dict[str, Known]) -> dict[str, ContainerKind]:
        """The containers to look at while no folder has come or gone, with the kind of each."""
        # Those with a seal are there, in the folder of the kind that they had: a look for each of them would take as
        # long as the one at its seal.
        sealed = {uid: BY_FOLDER[folder] for uid, (folder, stamp) in known.items() if stamp.seal}
        return {**dict(self._kinds({*marks, *known} - sealed.keys())), **sealed}

    def _kinds(self, uids: Iterable[str]) -> Iterator[tuple[str, ContainerKind]]:
        """Those of some uids that have a folder, with the kind it is in."""
        root = str(self._layout.root)
        return ((uid, kind) for uid in uids for kind in KINDS if os.path.isdir(f"{root}/{kind.folder}/{uid}"))

    def _marks(self) -> dict[str, int]:
        """The runs that may have changed, and when they were marked; each beginning of a run marks it anew."""
        try:
            with os.scandir(self._layout.root / "changed") as entries:
                return {entry.name: entry.stat().st_mtime_ns for entry in entries}
        except (FileNotFoundError, PermissionError):
            return {}

    def _unmark(self, marks: dict[str, int], kinds: Mapping[str, ContainerKind]) -> None:
        """Remove the marks of runs that were sealed when they were read, and not begun again since."""
        root = str(self._layout.root)
        for uid, marked in marks.items():
            if uid not in kinds:
                continue
            mark, folder = f"{root}/changed/{uid}", f"{root}/{kinds[uid].folder}/{uid}"
            with contextlib.suppress(OSError):
                # The mark goes only if the run is sealed and was not marked again. A writer that comes between the
                # two looks removes the seal first, which the second look sees, and marks it anew.
                if seal_stamp(folder) and os.stat(mark).st_mtime_ns == marked:
                    os.unlink(mark)
                    if not seal_stamp(folder):
                        Path(mark).touch()


def stamped_entry(ids: Register, folder: str, stamp: Stamp | None) -> Entry:
    """Read an entry, of a container that may have a stamp."""
    return _read(ids, folder, stamp and Look(stamp), is_one_of_many=True)


def _read(ids: Register, folder: str, look: Look | None, *, is_one_of_many: bool = False) -> Entry:
    """Read an entry. It is stamped first, so that a change while it is read shows at the next look.

    One of many is read without a reader if it is a short run; few are read in the one way that there is for all.
    """
    from naiad.storage.local.entries import read_entry

    look = look or look_at(folder)
    return read_entry(ids, RunDirectory(Path(folder)), look.stamp, look.writers, look.files if is_one_of_many else None)


def _next_numbers(last: int) -> tuple[int, int]:
    """Numbers of the containers whose turn it is to be looked at; none where there are few enough to look at all.

    Minutes decide, so that the looks of many processes go round as well as those of one.
    """
    if last <= LOOK_FOLDERS:
        return ALL
    turn = int(clock.now() // LOOK_SECONDS) % -(-last // LOOK_FOLDERS)
    return turn * LOOK_FOLDERS + 1, (turn + 1) * LOOK_FOLDERS + 1


def _refusal(root: Path, error: Exception) -> StorageError:
    return StorageError(
        f"The store {str(root)!r} cannot be read: {getattr(error, 'strerror', None) or error}.",
        errno=getattr(error, "errno", errno.EIO),
        filename=str(root),
    )


def look_at(folder: str) -> Look:
    """Look at the files of a container; the stamp is empty while it is written, or this user may not look."""
    try:
        return _look(folder)
    except (PermissionError, NotADirectoryError):
        return Look(Stamp("", ""))


def _look(folder: str) -> Look:
    seal = seal_stamp(folder)  # first: what comes in after it is not what it seals
    journal = f"{folder}/journal"
    # Before anything of the run is read. A writer that lives now may add points to a file without changing its time,
    # and die before the end of the reading: a look then would stamp a container that is to be read again.
    writers = None if seal else read_writers(journal, {})
    if writers and any(each.state == "alive" for each in writers.values()):
        return Look(Stamp("", ""), writers)
    files = []
    found: dict[str, os.stat_result] = {}
    is_plain = bool(seal)
    for directory, prefix in ((folder, ""), (journal, "journal/")):
        with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                is_folder = entry.is_dir()
                if name.endswith((".db", ".json", ".ops", ".seg", SUFFIX)) or name == "journal":
                    stat = entry.stat()
                    size = 0 if is_folder else stat.st_size
                    files.append(f"{name}:{size}:{stat.st_mtime_ns}")
                    if not is_folder:
                        found[prefix + name] = stat
                elif name != LOCK:
                    is_plain = False
                is_plain = is_plain and not entry.is_symlink() and is_folder == (name == "journal")
    return Look(Stamp(" ".join(sorted(files)), seal), writers, found if is_plain else None)


def seal_stamp(folder: str) -> str:
    """Changes with every seal of the container in a folder; empty while it has none."""
    try:
        stat = os.stat(f"{folder}/{SEAL}")
    except OSError:
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}"
