"""A store over PostgreSQL and objects, as a server serves it: it reads and changes runs that other machines send."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
from sqlalchemy.engine import Engine

from naiad import clock
from naiad.container_kinds import RUN, ContainerKind, RunId, kind_named, kind_of_id
from naiad.disk import Report
from naiad.errors import NeedsServer, shown
from naiad.file import File
from naiad.ops import Op
from naiad.refs import FileRef
from naiad.slots import DEAD_SLOT
from naiad.storage.base import Change, Reservation, RunReader, RunWriter, Store
from naiad.storage.catalog import Catalog, Cell
from naiad.storage.edits import refuse_deletion
from naiad.storage.local.entries import entry_of
from naiad.storage.local.layout import Layout
from naiad.storage.postgres import temporary
from naiad.storage.postgres.connection import CATALOG, STATEMENT_SECONDS, answered, reading, transaction
from naiad.storage.postgres.folding import Folder, Registry, drop, write_ops
from naiad.storage.postgres.notices import CHANGED, DUE, Listener, Sender
from naiad.storage.postgres.objects import Objects
from naiad.storage.postgres.reader import Place, PostgresReader
from naiad.storage.postgres.registrar import Registrar
from naiad.storage.postgres.scratch import make_scratch
from naiad.storage.results import Shadowed
from naiad.storage.sql.catalog import SqlCatalog
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.values import Stamp

T = TypeVar("T")
MOST_READERS = 256
FEW = 16
"""Up to so many runs with something new are folded before the catalog is read; of more, the workers fold them."""
BY_NAME = "select uid, kind from naiad.run where id = %s or uid = %s"
SOON = """
update naiad.due set at = now() + interval '5 seconds'
where run in (select run from naiad.due where waiting > 0 and at > now() + interval '5 seconds'
              order by run for update skip locked)
"""
WAITING = """
select run from naiad.due join naiad.run on number = run where waiting > 0 and failures < 3 order by run limit %s
"""


class PostgresStore(Store):
    """The containers of one database. Ids are taken by the receiving end; see `naiad.storage.postgres.registrar`."""

    def __init__(self, engine: Engine, objects: Objects, containers: Registrar) -> None:
        self._engine = engine
        self._objects = objects
        self._containers = containers
        self._folder = Folder(engine, objects)
        self._notices = Sender(engine)
        scratch = tempfile.mkdtemp(prefix="store-", dir=temporary.folder())
        self._clean = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        self._scratch = Path(scratch)
        self._readers: OrderedDict[RunId, PostgresReader] = OrderedDict()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        """The address of the database, without its password."""
        url = self._engine.url
        return f"postgresql://{url.host or ''}/{url.database or ''}"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a store over a database is a server's own")

    def has_begun(self) -> bool:
        """True: a server whose database is away is still the server of its runs."""
        return True

    def url(self, run: RunId | None = None) -> str:
        """Return the address of the database; views give that of the server."""
        return str(self) if run is None else f"{self}/{run.uid}"

    def projects(self) -> dict[str, str]:
        """Return the names of the projects that have a key, by key."""
        with transaction(self._engine) as raw:
            return dict(raw.execute("select key, name from naiad.project").fetchall())

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with this id or uid.

        Raises:
            ContainerNotFound: there is none.
        """
        own = name[:1000].replace("\0", "")
        rows = answered(self._engine, BY_NAME, own, own)
        found = _run(*rows[0]) if rows else None
        if found is None or kind not in (None, found.kind):
            asked = kind or kind_of_id(name) or RUN
            raise asked.not_found(f"There is no {asked.noun} {shown(name)}.", run_id=name)
        return found

    def find_custom(self, project: str, custom_run_id: str) -> RunId | None:
        """Return the run that has this custom id in a project; None if there is none."""
        return self._one("select uid, kind from naiad.run where project = %s and custom = %s", project, custom_run_id)

    def find_project(self, project: str) -> RunId | None:
        """Return the container of the project's own fields; None if nothing was ever written to them."""
        return self._one("select uid, kind from naiad.run where project = %s and kind = 'project'", project)

    def _one(self, query: str, *parameters: str) -> RunId | None:
        rows = answered(self._engine, query, *parameters)
        return _run(*rows[0]) if rows else None

    def find_source(self, source: str) -> Reservation | None:  # noqa: ARG002 (the interface passes it)
        """Return None: nothing is imported here."""
        return None

    def id_of(self, run: RunId) -> str:
        """Return the id under which a container is registered; its uid if there is none."""
        known = self._containers.find(run.uid)
        return run.uid if known is None else known.id

    def exists(self, run: RunId) -> bool:
        """Whether the container was begun and not deleted."""
        return self._one("select uid, kind from naiad.run where uid = %s", run.uid) == run

    def reader(self, run: RunId) -> RunReader:
        """Read a container.

        Raises:
            ContainerNotFound: there is none.
        """
        return self._reader(run)

    def _reader(self, run: RunId) -> PostgresReader:
        with self._lock:
            known = self._readers.get(run)
            if known is not None and not known.is_gone:
                self._readers.move_to_end(run)
                return known
        if known is not None:  # it may have been registered anew
            self._forget(run, known)
        number = self._number(run)
        # A folder for each number: one that was registered anew may have files with the names of its old ones.
        layout = Layout(self._scratch / str(number))
        make_scratch(layout.root)
        made = PostgresReader(Place(self._engine, self._objects, layout, run, number))
        with self._lock:
            # Made outside the lock, so that of two threads the first counts: readers share what they have loaded.
            found = self._readers.setdefault(run, made)
            for _ in range(len(self._readers) - MOST_READERS):
                self._readers.popitem(last=False)
        return found

    def _number(self, run: RunId) -> int:
        number = self._containers.number_of(run.uid)
        if number is None:
            raise run.kind.not_found(f"There is no {run.kind.noun} {run.uid}.", run_id=run.uid)
        return number

    def writer(
        self,
        run: RunId,
        *,
        role: str = "owner",  # noqa: ARG002 (every change here is an editor's)
        first_ops: Sequence[Op] = (),  # noqa: ARG002 (containers are begun elsewhere)
        on_error: str = "warn",  # noqa: ARG002 (errors are answers here)
    ) -> RunWriter:
        """Change fields of a container, as the pages do."""
        return PostgresWriter(self._engine, self._reader(run), run, self._number(run), self._notices)

    def _refuse(self) -> NoReturn:
        raise NeedsServer("Containers of a server begin on the machines that write them.")

    def reserve_run(self, project: str, custom_run_id: str | None = None) -> Reservation:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def reserve_model(self, project: str, key: str) -> Reservation:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def reserve_version(self, model: str) -> Reservation:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def reserve_project(self, project: str, key: str | None = None) -> Reservation:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def reserve_source(
        self,
        source: str,  # noqa: ARG002 (refused)
        kind: ContainerKind,  # noqa: ARG002 (refused)
        project: str,  # noqa: ARG002 (refused)
        wish: str | None = None,  # noqa: ARG002 (refused)
        parent: str = "",  # noqa: ARG002 (refused)
    ) -> Reservation:
        """Raise NeedsServer."""
        self._refuse()

    def bind_source(self, source: str, run: RunId, name: str) -> bool:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def lock_source(self, source: str) -> AbstractContextManager[None]:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def release(self, reservation: Reservation) -> None:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def move(self, run: RunId, project: str) -> str:  # noqa: ARG002 (refused)
        """Raise NeedsServer."""
        self._refuse()

    def catalog(self) -> Catalog:
        """Return the catalog of the store."""
        return PostgresCatalog(self)

    def listener(self) -> Listener:
        """Return a listener to changes, which every process over the database announces."""
        return Listener(self._engine, CHANGED)

    def delete(self, runs: Sequence[tuple[str, RunId]]) -> None:
        """Delete containers for good. Their content is freed by `naiad server gc`.

        Raises:
            ContainerProtected: one of them is protected; then nothing is deleted.
            BeingWritten: one of them is being written; then nothing is deleted.
        """
        refuse_deletion(self, runs)
        numbers = {run: self._number(run) for _name, run in runs}
        with transaction(self._engine) as raw:
            drop(raw, {number: run.uid for run, number in numbers.items()})
        self._notices.send(CHANGED)
        for run in numbers:
            self._forget(run, self._readers.get(run))

    def _forget(self, run: RunId, reader: PostgresReader | None) -> None:
        """Remove a container that was deleted from the memory of this process."""
        self._containers.forget(run)
        with self._lock:
            if self._readers.get(run) is reader:  # another thread may have made one of the container as it is now
                self._readers.pop(run, None)
        if reader is not None:
            reader.discard()

    def unfreed(self) -> tuple[int, float] | None:
        """Return None: `naiad server gc` looks at all objects."""
        return None

    def forget_project(self, project: str) -> None:
        """Free the key of a project whose containers were deleted."""
        with transaction(self._engine) as raw:
            raw.execute(
                "delete from naiad.project p where name = %s "
                # A run that another replica has registered meanwhile keeps the project and its key.
                "and not exists (select from naiad.run r where r.project = p.name)",
                [project],
            )

    def close(self) -> None:
        """Remove the files of this process."""
        self._clean()

    def fold_waiting(self) -> None:
        """Fold the runs with something new, if they are few; let workers fold many of them within seconds."""
        with transaction(self._engine) as raw:
            found = [number for (number,) in raw.execute(WAITING, [FEW + 1])]
            if len(found) > FEW:
                raw.execute(SOON)
        # A read then sees everything that was accepted before it; with many it would wait for the workers' work.
        if len(found) <= FEW:
            # All of them within the time of one statement: a reader waits no longer for another process's lock.
            until = clock.monotonic() + STATEMENT_SECONDS
            for number in found:
                self._folder.fold(number, until=until)
        else:
            self._notices.send(DUE)

    def read_catalog(self, read: Callable[[Connection], T]) -> T:
        """Return the result of a function that reads in one transaction of the catalog."""
        with reading(self._engine, CATALOG) as connection:
            return read(connection)

    def cells(self, run: RunId) -> dict[tuple[str, str], Cell]:
        """Return the cells of one container as they are now."""
        known = self._containers.find(run.uid)
        reader = self._reader(run)
        names = Registry(run.uid, "") if known is None else Registry(known.id, known.project)
        return dict(entry_of(reader, names, Stamp("", "")).cells)


class PostgresCatalog(SqlCatalog):
    """The catalog of a database, written by each fold."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def read(self, read: Callable[[Connection], T]) -> T:
        """Read in one transaction, after few new things were folded."""
        self._store.fold_waiting()
        return self._store.read_catalog(read)

    def cells(self, run: RunId) -> dict[tuple[str, str], Cell]:
        """Return the cells of one container by path and kind, without looking at the others."""
        return self._store.cells(run)


class PostgresWriter(RunWriter):
    """Changes of a server's own: each `write` is one transaction."""

    slot = DEAD_SLOT
    is_degraded = False
    is_raising = True
    own_folder = None

    def __init__(self, engine: Engine, reader: PostgresReader, run: RunId, number: int, notices: Sender) -> None:
        self._engine = engine
        self._notices = notices
        self._reader = reader
        self._run = run
        self._number = number
        self.point_log = self

    def write(self, changes: Sequence[Change]) -> list[Change]:
        """Write the ops of all changes, all or none; they are safe afterwards."""
        joining = self._reader.joining()
        at = max(clock.now(), joining.at + 1e-6)
        # One time for all of them, later than any that is there, as a writer in a folder stamps them.
        ops: list[Any] = [msgspec.structs.replace(op, at=at) for change in changes for op in change.ops]
        with transaction(self._engine) as raw:
            held = raw.execute("select from naiad.run where number = %s for key share", [self._number])
            if not held.rowcount:  # rows of a run that was deleted would stay for ever
                run = self._run
                raise run.kind.not_found(f"There is no {run.kind.noun} {run.uid}.", run_id=run.uid)
            file = write_ops(raw, self._number, ops, joining.session, at)
            # All of its bytes, since a fold counts them: of too few it would take later ones for folded.
            raw.execute(
                "insert into naiad.due (run, at, waiting) "
                "select run, now(), upto - start from naiad.inbox where run = %s and file = %s "
                "on conflict (run) do update set at = now(), waiting = due.waiting + excluded.waiting",
                [self._number, file],
            )
        self._notices.send(CHANGED, DUE)
        return list(changes)

    def points(
        self,
        number: int,  # noqa: ARG002 (refused)
        values: Sequence[float],  # noqa: ARG002 (refused)
        steps: Sequence[int | float],  # noqa: ARG002 (refused)
        times: Sequence[float],  # noqa: ARG002 (refused)
    ) -> None:
        """Raise NeedsServer: points come from the machines that write the run."""
        raise NeedsServer("Points of a run on a server come from the machine that writes it.")

    def ingest(self, file: File, report: Report = id) -> FileRef:  # noqa: ARG002 (refused)
        """Raise NeedsServer: content comes from the machines that write the run."""
        raise NeedsServer("Files of a run on a server come from the machine that writes it.")

    def log_printed(self, path: str, data: bytes, line: int) -> None:
        """Do nothing: nothing is printed here."""

    def drop(self, content: Sequence[str]) -> None:
        """Do nothing: no content is taken in."""

    def count_lost(self) -> None:
        """Do nothing: everything that is not written raises."""

    def warn_of(self, shadowed: Shadowed) -> None:
        """Do nothing: hidden fields are listed on the page of the run."""

    def rewind(
        self,
        path: str,  # noqa: ARG002 (refused)
        step: int | float,  # noqa: ARG002 (refused)
        *,
        is_first: bool = False,  # noqa: ARG002 (refused)
        but: Sequence[str] = (),  # noqa: ARG002 (refused)
    ) -> None:
        """Raise NeedsServer: a run goes back where it is written."""
        raise NeedsServer("A run on a server is rewound by the program that writes it.")

    def ship(self, seconds: float | None = None) -> None:
        """Do nothing: it is the server."""

    def note_end(self, state: str) -> None:
        """Do nothing: there is nothing to end."""

    def wait(self) -> None:
        """Do nothing: all that was written is committed."""

    def stop(self, state: str = "finished", seconds: float | None = None) -> None:
        """Do nothing: there is nothing to end."""


def _run(uid: str, kind: str) -> RunId:
    return RunId(uid, kind_named(kind))
