"""Receiver: journals of other machines, taken into the folder of a store byte by byte, exactly once.

    server                                  .naiad/server/received.db        .naiad/runs/<uid>/journal/
    a group of pieces --- one transaction -> inbox: the bytes
                                             position: how far each file is
    answer <------------- committed
                      --- the same bytes ---------------------------------> <writer>.<n>.seg, .ops
    every 30 s: sync these files, then drop the rows of the inbox
    after a kill:         inbox ------------------------------------------> written again at their offsets

A commit syncs one file, however many runs wrote. A kill between commit and copy loses nothing, and copying twice writes
the same bytes to the same place. Positions outlive the files, which the fold removes.

The process that folds outlives a killed server by the fold it is at, and seals a run beside the next server. The lock
of the run's folder keeps them apart: a seal is written under it, a fold shares it, and under it a server gives a lease
to a writer that has none and copies its inbox again. A run with a living lease is not sealed, so bytes need no lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import SQLAlchemyError

from naiad import clock
from naiad.container_kinds import PROJECT, ContainerKind, RunId
from naiad.disk import sync_folder
from naiad.errors import StorageError
from naiad.kinds import ATOM_OF
from naiad.ops import Assign
from naiad.scalars import pack_text, unpack_text
from naiad.settings import Tuning
from naiad.storage.base import Change, RunWriter
from naiad.storage.local.ids import Register, refusals
from naiad.storage.local.journal import arrivals
from naiad.storage.local.journal.arrivals import Group, writer_of
from naiad.storage.local.journal.leases import hold_remote, may_be_written, read_leases, remote_state
from naiad.storage.local.layout import SERVER, Layout, RunDirectory, newer_format, open_lock
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.local.received_content import ReceivedContent
from naiad.storage.local.received_files import ReceivedFiles, break_seal, has_bytes, sync
from naiad.storage.local.received_positions import (
    ReceivedPositions,
    count_fields,
    folded_positions,
    is_complete,
)
from naiad.storage.local.registrar import Registrar
from naiad.storage.receiving import (
    Accepted,
    Content,
    Piece,
    Position,
    Received,
    Registered,
    Sealing,
    Usage,
)
from naiad.storage.sql import received
from naiad.storage.sql.received import Row

if TYPE_CHECKING:
    pass

FORMAT = 1
"""The version of `received.db`."""
FINISH_SECONDS = 120.0
TEXT = ATOM_OF[str]


class Store(Protocol):
    """The store of a folder, as far as its receiving end needs it."""

    @property
    def root(self) -> Path:
        """Its folder."""

    @property
    def layout(self) -> Layout:
        """Where the folders of its containers are."""

    @property
    def register(self) -> Register:
        """Which folder an id means."""

    def create(self) -> None:
        """Make the folder if it is not there."""

    def directory(self, run: RunId) -> RunDirectory:
        """Return the folder of a container, there or not."""

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with an id or uid."""

    def id_of(self, run: RunId) -> str:
        """Return the id under which a container is registered."""

    def reader(self, run: RunId) -> Reader:
        """Read a container."""

    def writer(self, run: RunId, *, role: str = ..., on_error: str = ...) -> RunWriter:
        """Write a container."""


class Receiver:
    """The receiving end of a folder; see `naiad.storage.receiving`."""

    def __init__(self, store: Store, *, is_writing: bool = True) -> None:
        """Open it.

        Args:
            store: the store, which is made if need be.
            is_writing: whether this process takes journals; another one may only fold them.

        Raises:
            StorageError: another process takes journals for this store.
        """
        self._store = store
        self._behind = False
        """Whether something is committed that is not in its file yet, because the disk has refused it."""
        self._held = -1
        self._epoch = ""
        folder = store.root / SERVER
        if is_writing:
            with refusals(store.root):
                store.create()
                folder.mkdir(mode=0o700, exist_ok=True)
            # Before the database is opened: two servers on one store would each believe their own positions.
            self._held = _taken(folder / ".lock", store)
        self._database = received.Database(folder / received.FILE, is_writing=is_writing)
        self._containers = Registrar(store, self._database)
        self._files = ReceivedFiles(store)
        self._positions = ReceivedPositions(store, self._database)
        self._content = ReceivedContent(store.root, self._database)
        if is_writing:
            self._begin(folder / received.FILE)

    def _begin(self, path: Path) -> None:
        """Make the tables, and finish the work that the last server began."""
        with self._database.transaction() as connection:
            version, self._epoch = received.begin(connection, FORMAT, os.urandom(8).hex())
            if version > FORMAT:
                raise newer_format(version, FORMAT, path)
        self._containers.begin()
        try:
            self._replay()
        except TimeoutError:  # a process of the last server is still sealing a run; the first group tries again
            self._behind = True

    @property
    def epoch(self) -> str:
        """A text that changes when the record of received files was lost."""
        return self._epoch

    @property
    def uploads(self) -> None:
        """Nothing: all content comes through the server."""

    # Containers

    def register(
        self,
        run: RunId,
        project: str,
        *,
        custom_run_id: str | None = None,
        wish: str | None = None,
        parent: str | None = None,
        is_exact: bool = False,
    ) -> tuple[Registered, bool]:
        """Register a container, and return the one that is meant with whether it is new.

        Raises:
            ModelKeyTaken, ContainerNotFound, NameTaken, StoreNotWritable: as in the protocol.
        """
        was_known = self._containers.find(run.uid) is not None
        found, is_new = self._containers.register(run, project, custom_run_id, wish, parent, is_exact)
        if not was_known:
            # One that a command has deleted begins anew, or was put back into its folder from a copy: what it has is
            # looked at again, and bytes must not go into its removed files, which are open here.
            with self._database.lock:
                self._positions.forget(found.run)
                self._files.forget(found.run)
        return found, is_new

    def find(self, uid: str) -> Registered | None:
        """Return a container that was registered and not deleted; None if there is none."""
        return self._containers.find(uid)

    def is_at_hand(self, uid: str) -> bool:  # noqa: ARG002 (all are in memory)
        """Whether `find` needs no database for a uid."""
        return True

    def count(self, project: str) -> int:
        """Return how many runs, models and versions of a project were registered and not deleted."""
        return self._containers.count(project)

    def add_project(self, project: str, key: str | None = None) -> str:
        """Make a project, if it is not there, and return its key.

        Raises:
            ProjectExists: the key belongs to another one.
        """
        return self._containers.add_project(project, key)

    def forget(self, run: RunId) -> None:
        """Remove a container that was deleted from the memory of this process."""
        with self._database.lock:
            self._containers.forget(run)
            self._positions.forget(run)
            self._files.forget(run)

    # Bytes

    is_name = staticmethod(arrivals.is_name)
    checked = staticmethod(arrivals.checked)

    def received(self, run: RunId) -> Mapping[str, Received]:
        """Return how far each journal file was received, by name."""
        with self._database.lock:
            return {file: Received(each.upto, each.is_sealed) for file, each in self._positions.of(run).items()}

    def accept(
        self,
        pieces: Sequence[Piece],
        sealings: Sequence[Sealing] = (),
        writers: Mapping[tuple[RunId, str], bool] | None = None,
    ) -> Accepted:
        """Store the pieces that continue their files, in one transaction, and note which writers live or have ended.

        Raises:
            StorageError: the disk takes nothing; nothing is accepted.
        """
        with self._database.lock, refusals(self._store.root):
            # Committed pieces are not in their files yet: they go first, or a hole would stay where they belong.
            ended = self._replay() if self._behind else set()
            group = Group(pieces, sealings, writers)
            group.settle(self._positions.of)
            # The promise is kept here: bytes and positions are in one transaction on the disk before the answer. The
            # copy into the journal is made up for after a crash.
            self._commit(group)
            self._copy(group)
            ended |= self._files.note(
                group.signs, lambda run, writer: not self._behind and is_complete(self._positions.of(run), writer)
            )
            return group.accepted(ended, group.claimed(self.find))

    def _commit(self, group: Group) -> None:
        if not group.changed:
            return
        try:
            with self._database.transaction() as connection:
                rows = [Row(piece.run.uid, piece.file, piece.start, piece.data) for piece in group.taken]
                received.put_inbox(connection, rows)
                changed = ((run.uid, file, each) for (run, file), each in group.changed.items())
                received.put_positions(connection, changed)
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", error)
            raise StorageError(f"The store {self._store} cannot be written: {reason}.", errno=errno.EIO) from error
        for (run, file), each in group.changed.items():
            self._positions.of(run)[file] = each

    def _copy(self, group: Group) -> None:
        """Copy committed pieces into their files. A failed copy is made up for before the next group."""
        try:
            for run, writer in dict.fromkeys((piece.run, writer_of(piece.file)) for piece in group.taken):
                self._files.hold(run, writer)  # first: a run without seal and lease would look damaged
                self._files.unseal(run)
            for piece in group.taken:
                self._files.write(piece.run, piece.file, piece.start, piece.data)
            for (run, file), each in group.changed.items():
                if each.is_sealed:
                    self._files.end(run, file, each)
        except OSError:
            self._behind = True

    # Content of files

    def content_of(self, project: str, wanted: Sequence[tuple[str, int]]) -> list[str]:
        """Return those of some SHA-256, with sizes, whose content a project has sent, and keep it from being freed."""
        return self._content.sent_by(project, wanted)

    def content(self, project: str, sha256: str) -> AbstractContextManager[Content]:
        """Receive content: it is stored when the block ends, and is not if the block raises.

        Raises:
            NaiadValueError: another content was written than that of the hash.
            StorageError: the disk takes nothing.
        """
        return self._content.take(project, sha256)

    def foreign_content(self, project: str, names: Collection[str]) -> list[str]:
        """Return those of some SHA-256 whose content another project has sent and this one has not."""
        return self._content.foreign(project, names)

    def content_bytes(self, project: str, sha256: str) -> bytes:
        """Return content that a project has sent.

        Raises:
            NaiadValueError: it has not, or it is larger than a part of a journal can be.
        """
        return self._content.read(project, sha256)

    # Copies

    def checkpoint(self) -> None:
        """Put received files on the disk itself, and drop the copies that made them safe.

        Raises:
            StorageError: the disk reports an error; the copies stay.
        """
        with self._database.lock:
            with self._database.transaction() as connection:
                # Taken before the syncs: what is committed while they run keeps its copy until the next time.
                upto = received.newest(connection)
            unsynced, self._files.unsynced = self._files.unsynced, {}
        if not upto or self._behind:
            return
        try:
            with refusals(self._store.root):
                for path in unsynced:
                    sync(path)
                for folder in {path.parent for path in unsynced}:
                    with contextlib.suppress(FileNotFoundError):
                        sync_folder(folder)
        except StorageError:
            with self._database.lock:
                self._files.unsynced = {**unsynced, **self._files.unsynced}
            raise
        with self._database.transaction() as connection:
            received.empty_inbox(connection, upto)

    def _replay(self) -> set[RunId]:
        """Copy the inbox into its files once more; return the runs of which a writer has ended with that.

        Raises:
            TimeoutError: a run is being sealed for so long; the rest of the inbox is still to be copied.
        """
        with self._database.transaction() as connection:
            rows = received.read_inbox(connection)
            positions = {uid: received.positions(connection, uid) for uid in {row.uid for _number, row in rows}}
        by_run: dict[str, list[Row]] = {}
        for _number, row in rows:
            by_run.setdefault(row.uid, []).append(row)
        ended = set()
        for uid, own in by_run.items():
            known = self._containers.find(uid)
            if known is not None:
                self._files.make(known.run)
                with self._files.lock(known.run):
                    if self._copy_again(known.run, own, positions[uid]):
                        ended.add(known.run)
        self._behind = False
        return ended

    def _copy_again(self, run: RunId, rows: Sequence[Row], positions: Mapping[str, Position]) -> bool:
        """Copy rows of one run, but for files that were folded and removed; return whether a writer has ended.

        Nothing is written into a sealed run that has the bytes.
        """
        folder = self._store.directory(run)
        folded = folded_positions(folder)
        for row in rows:
            path = folder.journal / row.name
            self._files.unsynced[path] = None
            is_there = has_bytes(path, row)
            if not is_there and not path.exists():
                folded = folded_positions(folder)  # a fold that this process does not wait for may just have removed it
            if folded.get(row.name, (0, False))[1] or (is_there and folder.seal.exists()):
                continue
            if not is_there:
                if remote_state(folder.journal, writer_of(row.name)) in ("", "dead"):
                    hold_remote(folder.journal, writer_of(row.name), "ended", is_reopened=True)
                break_seal(folder)
            self._files.write(run, row.name, row.start, row.data)
            position = positions.get(row.name)
            if position is not None and position.is_sealed and position.upto == row.start + len(row.data):
                self._files.end(run, row.name, position)
        ended = {writer_of(row.name) for row in rows}
        ended = {writer for writer in ended if remote_state(folder.journal, writer) == "ended"}
        if ended:
            # Its client had the answer and says no more. Positions are looked at in the files: the folder may have
            # been set back.
            there = self._positions.compared(run, dict(positions))
            ended = {writer for writer in ended if is_complete(there, writer)}
        for writer in ended:
            hold_remote(folder.journal, writer, "dead")
        return bool(ended)

    def fields(self, run: RunId) -> int:
        """Return the number of fields of a run; those in bytes that are not folded yet may be missing."""
        return count_fields(self._store.directory(run))

    # Folding

    def fold(self, run: RunId) -> None:
        """Fold the received files, and finish the run if all its writers have ended.

        Raises:
            StorageError: the disk reports an error; nothing is lost.
            DamagedData: the run is damaged.
        """
        folder = self._store.directory(run)
        if not folder.journal.is_dir() or folder.seal.exists():
            return
        with self._database.transaction() as connection:
            positions = received.positions(connection, run.uid)
            names = next((row for row in received.containers(connection) if row[0] == run.uid), None)
        if names is not None:
            self._correct(run, names[2], names[3])
            if folder.seal.exists():
                return  # by that writer, the last one
        keeper = Maintenance(folder, Tuning.from_environment())
        try:
            with folder.lock(FINISH_SECONDS, is_shared=True):
                if folder.seal.exists():
                    return  # by a process of another server
                is_growing = may_be_written(read_leases(folder.journal))
                if is_growing:
                    # Its last bytes may be committed and not copied yet.
                    there = {
                        name: each.is_sealed and _size(folder.journal / name) >= each.upto
                        for name, each in positions.items()
                    }
                    keeper.fold(None, received=there)
            if not is_growing:
                keeper.finish(None, clock.monotonic() + FINISH_SECONDS)
        finally:
            keeper.close()
        folder.mark_changed()

    def _correct(self, run: RunId, name: str, project: str) -> None:
        """Let `sys/id` and `sys/project` be those of this store, in place of those of the client."""
        reader = self._store.reader(run)
        own = {"sys/id": name} | ({} if run.kind is PROJECT else {"sys/project": project})
        shown_now = reader.atoms("sys")
        wrong = {
            path: text
            for path, text in own.items()
            if path in shown_now and unpack_text(str(shown_now[path][1])) != text
        }
        if not wrong:
            return
        writer = self._store.writer(run, role="editor", on_error="raise")
        try:
            writer.write([Change(path, TEXT, (Assign(path, TEXT, pack_text(text)),)) for path, text in wrong.items()])
            writer.wait()
        finally:
            writer.stop()

    def waiting(self) -> Sequence[RunId]:
        """Return the runs without a seal that were received here."""
        found = [each.run for each in self._containers.all()]
        return [
            run for run in found if (folder := self._store.directory(run)).journal.is_dir() and not folder.seal.exists()
        ]

    def migrate(self) -> str:
        """Return nothing: a folder is of one process, which has made its tables."""
        return ""

    def problem(self) -> str:
        """Return nothing: a folder that takes nothing raises with each group."""
        return ""

    def usage(self) -> Usage | None:
        """Return None: there are no connections and no objects."""
        return None

    def backlog(self) -> None:
        """Return None: waiting runs are counted where a folder is folded."""

    def close(self) -> None:
        """Close the store, so that another process can open it for writing."""
        with self._database.lock:
            self._files.close()
            self._database.close()
            if self._held >= 0:
                os.close(self._held)
                self._held = -1


def _taken(path: Path, store: Store) -> int:
    """Lock the store for one server.

    Raises:
        StorageError: another one serves it.
    """
    fd = open_lock(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StorageError(
            f"Another naiad server serves the store {store}.\nStop it first, or serve another store.",
            errno=errno.EBUSY,
            filename=str(store),
        ) from None
    except OSError:
        pass  # a file system without locks
    return fd


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
