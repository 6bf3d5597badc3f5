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
import hashlib
import json
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from naiad import clock
from naiad.container_kinds import KINDS, MODEL, MODEL_VERSION, PROJECT, RUN, ContainerKind, RunId, kind_of_id
from naiad.disk import sync_folder, write_all
from naiad.errors import DamagedData, ModelKeyTaken, NaiadValueError, NameTaken, StorageError, shown
from naiad.kinds import ATOM_OF
from naiad.ops import Assign
from naiad.scalars import pack_text, unpack_text
from naiad.settings import Tuning
from naiad.storage.base import RECORD, Change, RunWriter
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.ids import Register, refusals, sync_names
from naiad.storage.local.integrity.seal import remove_seal
from naiad.storage.local.journal.arrivals import HEADERS, Group, as_received, checked, name_form, suffix_of, writer_of
from naiad.storage.local.journal.files import JournalFile, list_journal, refuse_newer
from naiad.storage.local.journal.frames import FILE_HEADER, Frame, file_header, read_frames
from naiad.storage.local.journal.leases import hold_remote, may_be_written, read_leases, remote_state, touch_remote
from naiad.storage.local.journal.log_file import SEGMENT_HEADER
from naiad.storage.local.journal.segment import SEAL_AT, is_header, open_header, seal_fields
from naiad.storage.local.journal.sums import lone_sums
from naiad.storage.local.layout import SERVER, Layout, RunDirectory, open_lock
from naiad.storage.local.maintenance import Maintenance
from naiad.storage.local.reader import Reader
from naiad.storage.receiving import LARGEST_PART, Accepted, Piece, Position, Received, Registered, Sealing
from naiad.storage.sql import received
from naiad.storage.sql.database import open_for_reading
from naiad.storage.sql.received import Row

FORMAT = 1
"""The version of `received.db`."""
FOLDER = SERVER
MOST_OPEN = 256
"""Journal files that stay open between two groups."""
MOST_KNOWN = 4_096
"""Runs of which the positions stay in memory."""
REGISTERING = "registering"
"""A file with uid, project and custom id of the container that is being registered."""
MOVED = "moved"
"""A file that is touched when containers have got another id or project."""
SIGN_SECONDS = 5.0
"""The time for which the state in a writer's lease is not read again."""
MOST_ALIVE = 100_000
LOOK_SECONDS = 1.0
"""Between two looks at it."""
FINISH_SECONDS = 120.0
LOCK_SECONDS = 10.0
"""How long a group waits for a run that is being sealed; then it is refused, and the client sends it again."""
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
        self._folder = store.root / FOLDER
        self._blobs = Blobs(store.root / "blobs")
        self._lock = threading.RLock()
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._known: OrderedDict[str, dict[str, Position]] = OrderedDict()
        self._registered: dict[str, Registered] = {}
        self._unsynced: dict[Path, None] = {}
        self._behind = False
        """Whether something is committed that is not in its file yet, because the disk has refused it."""
        self._held = -1
        self._epoch = ""
        self._looked_at, self._moved_at = -1e9, 0
        self._alive: dict[tuple[RunId, str], float] = {}
        """The writers whose lease was written lately, so that touching it is enough."""
        path = self._folder / "received.db"
        self._engine: Engine
        if not is_writing:
            self._engine = received.open_received(path, is_writing=False)
            return
        with refusals(store.root):
            store.create()
            self._folder.mkdir(mode=0o700, exist_ok=True)
        # Before the database is opened: two servers on one store would each believe their own positions.
        self._held = _taken(self._folder / ".lock", store)
        self._engine = received.open_received(path, is_writing=True)
        with self._transaction() as connection:
            version, self._epoch = received.begin(connection, FORMAT, os.urandom(8).hex())
            if version > FORMAT:
                refuse_newer(version, FORMAT, path)
            self._take_containers(connection)
        with refusals(store.root):
            self._release_unused()
        try:
            self._replay()
        except TimeoutError:  # a process of the last server is still sealing a run; the first group tries again
            self._behind = True

    @property
    def epoch(self) -> str:
        """A text that changes when the record of received files was lost."""
        return self._epoch

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
        with self._lock, refusals(self._store.root):
            known = self.find(run.uid) or self._in_folder(run)
            if known is not None:
                if known.run.kind is not run.kind:
                    raise NameTaken(f"The uid {run.uid} is that of a {known.run.kind.noun}.")
                return known, False
            # The id is taken before the row is written. A crash in between leaves an id without a row, which the next
            # start releases: the client has not heard of it, asks again under its uid, and gets one.
            (self._folder / REGISTERING).write_text(json.dumps([run.uid, project, custom_run_id]))
            try:
                found, is_new = self._named(run, project, custom_run_id, wish, parent, is_exact)
                if found.run.uid not in self._registered:
                    with self._transaction() as connection:
                        received.register(connection, found.run.uid, found.run.kind.name, found.id, project)
                    self._registered[found.run.uid] = found
            except (OSError, SQLAlchemyError):
                self._release_unused()
                raise
            (self._folder / REGISTERING).unlink()
            sync_names()
            return found, is_new

    def _release_unused(self) -> None:
        """Release the id of a registration that was begun and not finished."""
        note = self._folder / REGISTERING
        try:
            uid, project, custom = json.loads(note.read_text())
        except FileNotFoundError:
            return
        except ValueError:  # torn: the id was still to be taken
            uid = ""
        register = self._store.register
        if uid and uid not in self._registered and self._store.layout.find(uid) is None:
            is_known = custom is not None and (register.custom(project, custom) or ("",))[0] == uid
            name = "" if is_known else register.id_of(uid)  # by its custom id it is found again
            if name and kind_of_id(name) is not PROJECT:  # that of a project is found again by its key
                register.release(name)
        # Removed, or the id of a run that is deleted later would be released by it.
        note.unlink()

    def _named(
        self, run: RunId, project: str, custom: str | None, wish: str | None, parent: str | None, is_exact: bool
    ) -> tuple[Registered, bool]:
        register = self._store.register
        if run.kind is RUN and custom is not None:
            known = register.custom(project, custom)
            if known is not None:
                return Registered(RunId(known[0], RUN), known[1], project), False
        key = register.key(project)
        if run.kind is PROJECT:
            own = register.uid(key)
            if not own and not register.take(key, run.uid):
                own = register.uid(key)
            return Registered(RunId(own or run.uid, PROJECT), key, project), not own
        if run.kind is MODEL:
            name = f"{key}-{_model_key(wish)}"
            if not is_exact:
                name = register.take_variant(name, run.uid)
            elif not register.take(name, run.uid):
                raise ModelKeyTaken(
                    f"Project {project!r} has a model {name} already.", key=_model_key(wish), model_id=name
                )
        elif run.kind is MODEL_VERSION:
            name = register.take_number(self._parent(parent or "", project), run.uid)
        else:
            name = register.take_number(key, run.uid)
            # Two machines have registered one custom id at the same moment: the first has it, and this one joins its
            # run.
            if custom is not None and not register.take_custom(project, custom, run.uid, name):
                register.release(name)
                return self._named(run, project, custom, wish, parent, is_exact)
        return Registered(run, name, project), True

    def _parent(self, parent: str, project: str) -> str:
        """The id of the model of a new version."""
        known = self.find(parent) or next((each for each in self._registered.values() if each.id == parent), None)
        if known is not None and known.run.kind is MODEL and known.project == project:
            return known.id
        found = self._store.find(parent, MODEL)
        own = unpack_text(str(self._store.reader(found).value("sys/project")))
        if own != project:
            raise MODEL.not_found(f"Project {project!r} has no model {shown(parent)}.", run_id=parent)
        return self._store.id_of(found)

    def _in_folder(self, run: RunId) -> Registered | None:
        """A container that came into the folder by other ways."""
        folder = self._store.layout.find(run.uid)
        if folder is None:
            return None
        own = RunId(folder.uid, folder.kind)
        reader = Reader(folder)
        project = unpack_text(str(reader.value("sys/name" if folder.kind is PROJECT else "sys/project")))
        found = Registered(own, self._store.id_of(own), project)
        with self._transaction() as connection:
            received.register(connection, own.uid, own.kind.name, found.id, project)
        self._registered[own.uid] = found
        return found

    def find(self, uid: str) -> Registered | None:
        """Return a container that was registered and not deleted; None if there is none."""
        if clock.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._follow_moves()
        return self._registered.get(uid)

    def _follow_moves(self) -> None:
        """Learn of the containers that commands have moved to another project, or deleted."""
        self._looked_at = clock.monotonic()
        with contextlib.suppress(FileNotFoundError):
            mark = (self._folder / MOVED).stat().st_mtime_ns
            if mark != self._moved_at:
                with self._transaction() as connection:
                    self._take_containers(connection)
                self._moved_at = mark

    def _take_containers(self, connection: Connection) -> None:
        rows = received.containers(connection)
        self._registered = {
            uid: Registered(RunId(uid, _kind(kind)), name, project) for uid, kind, name, project in rows
        }
        for uid in self._known.keys() - self._registered.keys():
            del self._known[uid]

    def count(self, project: str) -> int:
        """Return how many runs, models and versions of a project were registered and not deleted."""
        return sum(
            1 for each in [*self._registered.values()] if each.project == project and each.run.kind is not PROJECT
        )

    def forget(self, run: RunId) -> None:
        """Drop the knowledge of a container that was deleted."""
        with self._lock:
            with self._transaction() as connection:
                received.forget(connection, run.uid)
            self._registered.pop(run.uid, None)
            self._known.pop(run.uid, None)
            self._alive.clear()
            for path in [path for path in self._files if path.parent.parent.name == run.uid]:
                self._shut(path)

    def add_project(self, project: str, key: str | None = None) -> str:
        """Make a project, if it is not there, and return its key.

        Raises:
            ProjectExists: the key belongs to another one.
        """
        with self._lock, refusals(self._store.root):
            found = self._store.register.key(project, key)
            sync_names()
            return found

    # Bytes

    def is_name(self, file: str) -> bool:
        """Whether a journal file can have a name."""
        return name_form.match(file) is not None

    def checked(self, run: RunId, file: str, start: int, data: bytes) -> Piece:
        """Check bytes of a journal file.

        Raises:
            NaiadValueError: they are not whole records or frames, or this is not the name of a journal file.
            NewerFormat: they hold ops of a later release.
        """
        return checked(run, file, start, data)

    def received(self, run: RunId) -> Mapping[str, Received]:
        """Return how far each journal file was received, by name."""
        with self._lock:
            return {file: Received(each.upto, each.is_sealed) for file, each in self._positions(run).items()}

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
        with self._lock, refusals(self._store.root):
            # Committed pieces are not in their files yet: they go first, or a hole would stay where they belong.
            ended = self._replay() if self._behind else set()
            group = Group(self._positions)
            taken = [piece for piece in pieces if group.take(piece)]
            for sealing in sealings:
                group.seal(sealing)
            # The promise is kept here: bytes and positions are in one transaction on the disk before the answer. The
            # copy into the journal is made up for after a crash.
            self._commit(taken, group.changed)
            self._copy(taken, group.changed)
            # a writer lives as long as its client says so with its bytes: of one that is over, nothing need be said
            named = {(piece.run, writer_of(piece.file)) for piece in taken}
            named |= {(each.run, writer_of(each.file)) for each in sealings}
            ended |= self._note({**dict.fromkeys(named, False), **(writers or {})})
            grown: dict[RunId, int] = {}
            for piece in taken:
                grown[piece.run] = grown.get(piece.run, 0) + len(piece.data)
            asked = {*((piece.run, piece.file) for piece in pieces), *((each.run, each.file) for each in sealings)}
            files = {key: as_received(group.position(*key)) for key in asked}
            claimed = {piece.run for piece in taken if self._is_claimed(piece)}
            points = sum(len(piece.data) // RECORD for piece in taken if piece.file.endswith(".seg"))
            mismatched = frozenset(group.mismatched)
            return Accepted(files, mismatched, grown, len(taken), points, frozenset(ended), frozenset(claimed))

    def _is_claimed(self, piece: Piece) -> bool:
        known = self.find(piece.run.uid)
        own = {} if known is None else {"sys/id": known.id, "sys/project": known.project}
        return any(own.get(path, text) != text for path, text in piece.claims.items())

    def _commit(self, taken: Sequence[Piece], changed: Mapping[tuple[RunId, str], Position]) -> None:
        if not changed:
            return
        try:
            with self._transaction() as connection:
                rows = [Row(piece.run.uid, piece.file, piece.start, piece.data) for piece in taken]
                received.put_inbox(connection, rows)
                received.put_positions(connection, ((run.uid, file, each) for (run, file), each in changed.items()))
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", error)
            raise StorageError(f"The store {self._store} cannot be written: {reason}.", errno=errno.EIO) from error
        for (run, file), each in changed.items():
            self._positions(run)[file] = each

    def _copy(self, taken: Sequence[Piece], changed: Mapping[tuple[RunId, str], Position]) -> None:
        """Copy committed pieces into their files. A failed copy is made up for before the next group."""
        try:
            for run, writer in dict.fromkeys((piece.run, writer_of(piece.file)) for piece in taken):
                self._hold(run, writer)  # first: a run without seal and lease would look damaged
                self._unseal(run)
            for piece in taken:
                self._write(piece.run, piece.file, piece.start, piece.data)
            for (run, file), each in changed.items():
                if each.is_sealed:
                    self._end(run, file, each)
        except OSError:
            self._behind = True

    def _note(self, writers: Mapping[tuple[RunId, str], bool]) -> set[RunId]:
        """Hold the leases of living writers; return the runs of which one has ended, with all its files there."""
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
                is_complete = not self._behind and _is_complete(self._positions(run), writer)
                self._sign(run, writer, "dead" if is_complete else "ended")
                if is_complete:
                    ended.add(run)
        return ended

    # Content of files

    def content_of(self, project: str, wanted: Sequence[tuple[str, int]]) -> list[str]:
        """Return which content a project has sent, of some SHA-256 with their sizes, and keep it from being freed."""
        with self._transaction() as connection:
            # By project: that another project has sent this content gives no right to it.
            sent = received.sent(connection, project, [sha256 for sha256, _size in wanted])
        found = []
        for sha256, size in wanted:
            with contextlib.suppress(DamagedData, FileNotFoundError):
                if sha256 in sent and self._blobs.path(sha256).stat().st_size == size:
                    self._blobs.renew(sha256)
                    found.append(sha256)
        return found

    @contextlib.contextmanager
    def content(self, project: str, sha256: str) -> Iterator[_Content]:
        """Take in content. It is there when the block ends, and is not when it raises.

        Raises:
            NaiadValueError: another content was written than that of the hash.
            StorageError: the disk takes nothing.
        """
        with refusals(self._store.root), self._blobs.create(f"server-{os.getpid()}") as (name, fd):
            content = _Content(fd)
            yield content
            if content.sha256() != sha256:
                raise NaiadValueError(f"The content has the SHA-256 {content.sha256()}, not {sha256}.")
            self._blobs.put_in_place(name, sha256, content.size)
            self._blobs.release(name)
        with self._transaction() as connection:
            received.note_sent(connection, project, sha256)

    def foreign_content(self, project: str, names: Collection[str]) -> list[str]:
        """Return which content is here, of some SHA-256, that another project has sent and this one has not."""
        with self._transaction() as connection:
            sent = received.sent(connection, project, [*names])
        return [name for name in names if name not in sent and self._blobs.path(name).exists()]

    def content_bytes(self, project: str, sha256: str) -> bytes:
        """Return content that a project has sent.

        Raises:
            NaiadValueError: it has not, or it is larger than a part of a journal can be.
        """
        with self._transaction() as connection:
            is_sent = bool(received.sent(connection, project, [sha256]))
        try:
            if is_sent and self._blobs.path(sha256).stat().st_size <= LARGEST_PART:
                return self._blobs.path(sha256).read_bytes()
        except (FileNotFoundError, DamagedData):
            is_sent = False
        what = f"is larger than {LARGEST_PART:,} bytes" if is_sent else "was not sent"
        raise NaiadValueError(f"The content {sha256} {what}, so it is no part of a journal.")

    # Files

    def _make(self, run: RunId) -> Path:
        """Make the folder of a run, and return that of its journal."""
        folder = self._store.directory(run)
        if not folder.journal.is_dir():
            folder.journal.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.path)
            sync_folder(folder.path.parent)
            folder.mark_changed()
        return folder.journal

    def _sign(self, run: RunId, writer: str, state: str, *, is_reopened: bool = False) -> None:
        """Note the state of a writer. One without a living lease waits for a process that is sealing the run.

        Raises:
            OSError: the disk reports an error, or the run is sealed for so long.
        """
        journal = self._make(run)
        known = remote_state(journal, writer)
        is_new = known == "" or (known == "dead" and is_reopened)
        with self._store.directory(run).lock(LOCK_SECONDS) if is_new else contextlib.nullcontext():
            hold_remote(journal, writer, state, is_reopened=is_reopened)

    def _hold(self, run: RunId, writer: str) -> None:
        """Write the lease of a writer before its first bytes arrive.

        Whoever folds takes the files of a writer for final if it is dead, or has an end and no lease.
        """
        if clock.monotonic() < self._alive.get((run, writer), -1e9) + SIGN_SECONDS:
            return
        if remote_state(self._make(run), writer) in ("", "dead"):
            self._sign(run, writer, "ended", is_reopened=True)

    def _unseal(self, run: RunId) -> None:
        """Let a sealed run be written again, as its next writer would, which has its lease."""
        folder = self._store.directory(run)
        if folder.seal.exists():
            with folder.lock(LOCK_SECONDS):
                _remove_seal(folder)

    def _write(self, run: RunId, file: str, start: int, data: bytes) -> None:
        suffix = suffix_of(file)
        path = self._store.directory(run).journal / file
        fd = self._files.get(path, -1)
        if fd < 0:
            self._make(run)
            is_new = start == HEADERS[suffix]
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if is_new else 0), 0o666)
            except FileNotFoundError:
                return  # it was folded and removed: this is a copy of what is in the index
            self._files[path] = fd
            # The least recently used first; a server of a thousand runs must not run out of descriptors.
            while len(self._files) > MOST_OPEN:
                self._shut(next(iter(self._files)))
            # A copy that is made again leaves the header, which has the time of the first.
            if is_new and not _has_header(fd, suffix):
                os.pwrite(fd, file_header() if suffix == "ops" else open_header(), 0)
        self._files.move_to_end(path)
        self._unsynced[path] = None
        if os.pwrite(fd, data, start) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _end(self, run: RunId, file: str, position: Position) -> None:
        path = self._store.directory(run).journal / file
        fd = self._files.get(path, -1)
        if fd >= 0 and suffix_of(file) == "seg":
            os.pwrite(fd, seal_fields(position.upto, position.crc), SEAL_AT)
        self._shut(path)

    def _shut(self, path: Path) -> None:
        fd = self._files.pop(path, -1)
        if fd >= 0:
            os.close(fd)

    def checkpoint(self) -> None:
        """Put received files on the disk itself, and drop the copies that made them safe.

        Raises:
            StorageError: the disk reports an error; the copies stay.
        """
        with self._lock:
            with self._transaction() as connection:
                # Taken before the syncs: what is committed while they run keeps its copy until the next time.
                upto = received.newest(connection)
            unsynced, self._unsynced = self._unsynced, {}
        if not upto or self._behind:
            return
        try:
            with refusals(self._store.root):
                for path in unsynced:
                    _sync(path)
                for folder in {path.parent for path in unsynced}:
                    with contextlib.suppress(FileNotFoundError):
                        sync_folder(folder)
        except StorageError:
            with self._lock:
                self._unsynced = {**unsynced, **self._unsynced}
            raise
        with self._lock, self._transaction() as connection:
            received.empty_inbox(connection, upto)

    def _replay(self) -> set[RunId]:
        """Copy the inbox into its files once more; return the runs of which a writer has ended with that.

        Raises:
            TimeoutError: a run is being sealed for so long; the rest of the inbox is still to be copied.
        """
        with self._transaction() as connection:
            rows = received.read_inbox(connection)
            positions = {uid: received.positions(connection, uid) for uid in {row.uid for _number, row in rows}}
        by_run: dict[str, list[Row]] = {}
        for _number, row in rows:
            by_run.setdefault(row.uid, []).append(row)
        ended = set()
        for uid, own in by_run.items():
            known = self._registered.get(uid)
            if known is not None:
                self._make(known.run)
                with self._store.directory(known.run).lock(LOCK_SECONDS):
                    if self._copy_again(known.run, own, positions[uid]):
                        ended.add(known.run)
        self._behind = False
        return ended

    def _copy_again(self, run: RunId, rows: Sequence[Row], positions: Mapping[str, Position]) -> bool:
        """Copy rows of one run, but for files that were folded and removed; return whether a writer has ended.

        Nothing is written into a sealed run that has the bytes.
        """
        folder = self._store.directory(run)
        folded = _folded(folder)
        for row in rows:
            path = folder.journal / row.name
            self._unsynced[path] = None
            is_there = _has_bytes(path, row)
            if not is_there and not path.exists():
                folded = _folded(folder)  # a fold that this process does not wait for may just have removed it
            if folded.get(row.name, (0, False))[1] or (is_there and folder.seal.exists()):
                continue
            if not is_there:
                if remote_state(folder.journal, writer_of(row.name)) in ("", "dead"):
                    hold_remote(folder.journal, writer_of(row.name), "ended", is_reopened=True)
                _remove_seal(folder)
            self._write(run, row.name, row.start, row.data)
            position = positions.get(row.name)
            if position is not None and position.is_sealed and position.upto == row.start + len(row.data):
                self._end(run, row.name, position)
        ended = {writer_of(row.name) for row in rows}
        ended = {writer for writer in ended if remote_state(folder.journal, writer) == "ended"}
        if ended:
            # Its client had the answer and says no more. Positions are looked at in the files: the folder may have
            # been set back.
            there = self._compared(run, dict(positions))
            ended = {writer for writer in ended if _is_complete(there, writer)}
        for writer in ended:
            hold_remote(folder.journal, writer, "dead")
        return bool(ended)

    # Positions

    def _positions(self, run: RunId) -> dict[str, Position]:
        found = self._known.get(run.uid)
        if found is None:
            with self._transaction() as connection:
                found = received.positions(connection, run.uid)
            found = self._known[run.uid] = self._compared(run, found)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(run.uid)
        return found

    def _compared(self, run: RunId, known: dict[str, Position]) -> dict[str, Position]:
        """The positions, and those of files that came by other ways or were set back with their folder."""
        folder = self._store.directory(run)
        if not folder.path.is_dir():
            return {}  # nothing came yet, or it was lost with all its files
        files = {file.name: file for file in list_journal(folder.journal)}
        folded = {} if files.keys() >= known.keys() and not folder.index.exists() else _folded(folder)
        found: dict[str, Position] = {}
        for name in {*known, *files, *folded}:
            if name_form.match(name):
                position = known.get(name)
                upto, is_done = folded.get(name, (0, False))
                if name in files:
                    # The file is shorter than what was received: it was set back with its folder. What is there
                    # counts, and the client sends the rest again.
                    if position is None or files[name].path.stat().st_size < position.upto:
                        position = _measured(files[name])
                    found[name] = position
                elif is_done:
                    found[name] = position if position is not None else Position(upto, 0, True)
        return found

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
        with self._transaction() as connection:
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
                    complete = {
                        name
                        for name, each in positions.items()
                        if each.is_sealed and _size(folder.journal / name) >= each.upto
                    }
                    keeper.fold(None, complete=complete)
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
        writer = self._store.writer(run, role="guest", on_error="raise")  # a guest's end says nothing about a run
        try:
            writer.write([Change(path, TEXT, (Assign(path, TEXT, pack_text(text)),)) for path, text in wrong.items()])
            writer.wait()
        finally:
            writer.stop()

    def waiting(self) -> Sequence[RunId]:
        """Return the runs without a seal that were received here."""
        found = [each.run for each in self._registered.values()]
        return [
            run for run in found if (folder := self._store.directory(run)).journal.is_dir() and not folder.seal.exists()
        ]

    def migrate(self) -> str:
        """Return nothing: a folder is of one process, which has made its tables."""
        return ""

    def problem(self) -> str:
        """Return nothing: a folder that takes nothing raises with each group."""
        return ""

    def backlog(self) -> None:
        """Return None: waiting runs are counted where a folder is folded."""

    def close(self) -> None:
        """Give the store back."""
        with self._lock:
            for path in [*self._files]:
                self._shut(path)
            self._engine.dispose()
            if self._held >= 0:
                os.close(self._held)
                self._held = -1

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._lock, self._engine.begin() as connection:
            yield connection


def note_moved(store: Path, run: RunId, name: str, project: str) -> None:
    """Note the id that a container got in another project for the server of the store, which may run."""
    _change(store, lambda connection: received.move(connection, run.uid, name, project))


def note_deleted(store: Path, runs: Sequence[RunId]) -> None:
    """Let the server of a store, which may run, forget deleted containers, so that no client brings them back."""

    def forget(connection: Connection) -> None:
        for run in runs:
            received.forget(connection, run.uid)

    _change(store, forget)


def renew_epoch(store: Path) -> None:
    """Give the server of a store another epoch, which it has from its next start."""
    _change(store, lambda connection: received.renew_epoch(connection, os.urandom(8).hex()))


def _change(store: Path, change: Callable[[Connection], None]) -> None:
    path = store / FOLDER / "received.db"
    if not path.exists():
        return
    engine = received.open_received(path, is_writing=True)
    try:
        with engine.begin() as connection:
            change(connection)
    finally:
        engine.dispose()
    # After the commit: a server that sees the mark finds the change.
    (store / FOLDER / MOVED).touch()


class _Content:
    """Content on its way into a file, hashed meanwhile."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes."""
        write_all(self._fd, data, self.size)
        self._hash.update(data)
        self.size += len(data)

    def sha256(self) -> str:
        """The hash of all that was written."""
        return self._hash.hexdigest()


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


def _kind(name: str) -> ContainerKind:
    return next(kind for kind in KINDS if kind.name == name)


def _model_key(wish: str | None) -> str:
    found = MODEL.id_form.match(wish) if wish else None
    return found[2] if found else "MODEL"


def _folded(folder: RunDirectory) -> dict[str, tuple[int, bool]]:
    """The positions in the index of a run, which may be sealed: opening it for writing would change it."""
    from naiad.storage.local.index.index import Index  # numpy

    if not folder.index.exists():
        return {}
    index = Index(folder, open_for_reading(folder.index, is_final=folder.seal.exists()))
    with index.view() as connection:
        return index.positions(connection, [])


def _measured(file: JournalFile) -> Position:
    """The position of a file by its content: whole frames, or records up to the first hole."""
    data = file.path.read_bytes()
    if file.suffix == "ops":
        upto = FILE_HEADER
        for item in read_frames(data, FILE_HEADER):
            if not isinstance(item, Frame):
                break
            upto = item.end
        return Position(upto, zlib.crc32(data[FILE_HEADER:upto]), False)
    upto = SEGMENT_HEADER
    while upto + RECORD <= len(data) and int.from_bytes(data[upto + RECORD - 4 : upto + RECORD], "little") == upto:
        upto += RECORD
    return Position(upto, zlib.crc32(data[SEGMENT_HEADER:upto]), False)


def _has_bytes(path: Path, row: Row) -> bool:
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


def _is_complete(positions: Mapping[str, Position], writer: str) -> bool:
    """Whether all files of a writer are received to their ends."""
    own = [each for file, each in positions.items() if writer_of(file) == writer]
    return bool(own) and all(each.is_sealed for each in own)


def _remove_seal(folder: RunDirectory) -> None:
    """Let a sealed run be written again; under the lock of its folder."""
    if folder.seal.exists():
        with lone_sums(folder.journal, has_base=True) as sums:
            remove_seal(folder, sums.writer)
        folder.mark_changed()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync(path: Path) -> None:
    """Put a file on the disk itself; one that is gone was folded, by a transaction that is on the disk."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
