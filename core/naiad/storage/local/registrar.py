"""Registrar: the containers of other machines that a server keeps in a folder, and the ids that they get there.

    registering             a note with the uid     the id (a file)     the row in received.db     the note is removed
    a kill after                |                       |                   |                          |
    means for the next start    nothing was taken       release the id      drop the note              nothing

A client that got no answer asks again under the same uid, and gets one container and one id.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from naiad import clock
from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RUN, ContainerKind, RunId, kind_named, kind_of_id
from naiad.scalars import unpack_text
from naiad.storage.local.ids import Register, refusals, sync_names
from naiad.storage.local.layout import SERVER, Layout
from naiad.storage.local.reader import Reader
from naiad.storage.receiving import Registered, key_taken, model_key, no_model
from naiad.storage.sql import received

REGISTERING = "registering"
"""A file with uid, project and custom id of the container that is being registered."""
MOVED = "moved"
"""A file that is touched when containers have got another id or project."""
LOOK_SECONDS = 1.0
"""Between two looks at it."""


class Store(Protocol):
    """The store of a folder, as far as its registrar needs it."""

    @property
    def root(self) -> Path:
        """Its folder."""

    @property
    def layout(self) -> Layout:
        """Where the folders of its containers are."""

    @property
    def register(self) -> Register:
        """Which folder an id means."""

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with an id or uid."""

    def id_of(self, run: RunId) -> str:
        """Return the id under which a container is registered."""

    def reader(self, run: RunId) -> Reader:
        """Read a container."""


class Registrar:
    """The containers that one server has. The lock of its database keeps registrations apart."""

    def __init__(self, store: Store, database: received.Database) -> None:
        self._store = store
        self._folder = store.root / SERVER
        self._database = database
        self._known: dict[str, Registered] = {}
        self._looked_at, self._moved_at = -1e9, 0

    def begin(self) -> None:
        """Read the containers, and release the id of a registration that a kill has interrupted."""
        with self._database.transaction() as connection:
            self._take(connection)
        with refusals(self._store.root):
            self._release_unused()

    def register(
        self, run: RunId, project: str, custom: str | None, wish: str | None, parent: str | None, is_exact: bool
    ) -> tuple[Registered, bool]:
        """Register a container; see `naiad.storage.receiving.Receiver.register`."""
        with self._database.lock, refusals(self._store.root):
            known = self.find(run.uid) or self._in_folder(run)
            if known is not None:
                known.require(run.kind)
                return known, False
            # The id is taken before the row is written. A crash in between leaves an id without a row, which the next
            # start releases: the client has not heard of it, asks again under its uid, and gets one.
            (self._folder / REGISTERING).write_text(json.dumps([run.uid, project, custom]))
            try:
                found, is_new = self._named(run, project, custom, wish, parent, is_exact)
                if found.run.uid not in self._known:
                    self._add(found)
            except (OSError, SQLAlchemyError):
                self._release_unused()
                raise
            (self._folder / REGISTERING).unlink()
            sync_names()
            return found, is_new

    def add_project(self, project: str, key: str | None = None) -> str:
        """Make a project, if it is not there, and return its key.

        Raises:
            ProjectExists: the key belongs to another one.
        """
        with self._database.lock, refusals(self._store.root):
            found = self._store.register.key(project, key)
            sync_names()
            return found

    def find(self, uid: str) -> Registered | None:
        """Return a container that was registered and not deleted; None if there is none."""
        if clock.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._follow_moves()
        return self._known.get(uid)

    def all(self) -> Sequence[Registered]:
        """Return all containers that are known now."""
        return [*self._known.values()]

    def count(self, project: str) -> int:
        """Return how many runs, models and versions of a project were registered and not deleted."""
        return sum(1 for each in self.all() if each.project == project and each.run.kind is not PROJECT)

    def forget(self, run: RunId) -> None:
        """Remove a container that was deleted from the memory of this process."""
        with self._database.transaction() as connection:
            received.forget(connection, run.uid)
        self._known.pop(run.uid, None)

    # Names

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
            name = f"{key}-{model_key(wish)}"
            if not is_exact:
                name = register.take_variant(name, run.uid)
            elif not register.take(name, run.uid):
                raise key_taken(project, name)
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
        known = self.find(parent) or next((each for each in self.all() if each.id == parent), None)
        if known is not None and known.run.kind is MODEL and known.project == project:
            return known.id
        found = self._store.find(parent, MODEL)
        own = unpack_text(str(self._store.reader(found).value("sys/project")))
        if own != project:
            raise no_model(project, parent)
        return self._store.id_of(found)

    def _in_folder(self, run: RunId) -> Registered | None:
        """A container that came into the folder by other ways."""
        folder = self._store.layout.find(run.uid)
        if folder is None:
            return None
        own = RunId(folder.uid, folder.kind)
        project = unpack_text(str(Reader(folder).value("sys/name" if folder.kind is PROJECT else "sys/project")))
        return self._add(Registered(own, self._store.id_of(own), project))

    def _add(self, found: Registered) -> Registered:
        with self._database.transaction() as connection:
            received.register(connection, found.run.uid, found.run.kind.name, found.id, found.project)
        self._known[found.run.uid] = found
        return found

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
        if uid and uid not in self._known and self._store.layout.find(uid) is None:
            is_known = custom is not None and (register.custom(project, custom) or ("",))[0] == uid
            name = "" if is_known else register.id_of(uid)  # by its custom id it is found again
            if name and kind_of_id(name) is not PROJECT:  # that of a project is found again by its key
                register.release(name)
        # Removed, or the id of a run that is deleted later would be released by it.
        note.unlink()

    # Changes by commands, which run beside the server

    def _follow_moves(self) -> None:
        """Learn of the containers that commands have moved to another project, or deleted."""
        self._looked_at = clock.monotonic()
        with contextlib.suppress(FileNotFoundError):
            mark = (self._folder / MOVED).stat().st_mtime_ns
            if mark != self._moved_at:
                with self._database.transaction() as connection:
                    self._take(connection)
                self._moved_at = mark

    def _take(self, connection: Connection) -> None:
        rows = received.containers(connection)
        self._known = {
            uid: Registered(RunId(uid, kind_named(kind)), name, project) for uid, kind, name, project in rows
        }


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
    path = store / SERVER / received.FILE
    if not path.exists():
        return
    database = received.Database(path, is_writing=True)
    try:
        with database.transaction() as connection:
            change(connection)
    finally:
        database.close()
    # After the commit: a server that sees the mark finds the change.
    (store / SERVER / MOVED).touch()
