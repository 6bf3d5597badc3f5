"""The base of containers that have a folder: beginning, resuming, stopping."""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from naiad import clock, lifecycle, scalars
from naiad.container import Container
from naiad.errors import MissingField
from naiad.fields.string_set import TAG_PATHS
from naiad.kinds import ATOM_OF, DERIVED, SYS, TAGS
from naiad.ops import Assign, Op, Tags
from naiad.session import WRITABLE_IN_SYS, Session
from naiad.storage.container_kinds import ContainerKind
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import BEGIN_SECONDS, Store, Ticket
from naiad.storage.local.writer import Writer
from naiad.temporary import remove_temporary_store, temporary_store


class StoredContainer(Container):
    """A container with a folder of its own in a store.

    A class of it says its kind and which of its `sys` fields users may write. Opening one finds its folder, or takes
    an id for a new one, and calls `_go_on` or `_enter`.
    """

    _kind: ClassVar[ContainerKind]
    _writable: ClassVar[frozenset[str]] = WRITABLE_IN_SYS
    _writes_late: ClassVar[bool] = True
    """Whether going on makes this process a writer only at the first write: right for what is mostly read."""
    _kept: ClassVar[tuple[str, ...]] = ("_folder", "_settings")
    """What crosses to another process."""

    _folder: RunDirectory
    _settings: dict[str, Any]  # mode, strict, limits, on_error
    _temporary: Path | None = None
    _end_state = "finished"
    _id: str

    def __repr__(self) -> str:
        return f"<{self._kind.title} {self._id}>"

    # Opening

    @property
    def _mode(self) -> str:
        mode: str = self._settings["mode"]
        return mode

    def _place(self, store: str | os.PathLike[str] | None) -> Store:
        """The store to look in; in debug mode one that lasts as long as this container."""
        if self._mode != "debug":
            return Store.locate(store)
        place = temporary_store()
        self._temporary = place.root
        return place

    def _enter(self, place: Store, ticket: Ticket, ops: Sequence[Op], given: Mapping[str, Any]) -> None:
        """Begin the reserved container, or resume it if another process has begun it."""
        if not ticket.is_new and _is_begun(ticket.folder):
            self._go_on(ticket.folder, ticket.id, given)
            return
        try:
            self._attach(ticket.folder, ticket.id, "owner", ops)
        except BaseException:  # only to clean up: whatever it is goes on
            if ticket.is_new:
                place.abandon(ticket)
            raise

    def _go_on(self, folder: RunDirectory, name: str | None, given: Mapping[str, Any]) -> None:
        """Open an existing container, changing only the arguments that were given."""
        self._attach(folder, name, "owner", [])
        for path in ("name", "description"):
            if given.get(path) is not None:
                self["sys"][path] = given[path]
        if given.get("tags"):
            self["sys/tags"].add(given["tags"])

    def _attach(self, folder: RunDirectory, name: str | None, role: str, ops: Sequence[Op]) -> None:
        """Open reader and writer on the folder; the first ops, those of a new container, are all that is in it then."""
        self._folder = folder
        self._is_new = bool(ops)
        opener = None if self._mode == "read-only" else functools.partial(self._writer_of, folder, role, ops)
        writer = opener() if opener and (self._is_new or not self._writes_late) else None
        reader = Reader(folder)
        self._id = name or _id_of(reader)
        session = self._session_of(folder.uid, reader, writer, opener)
        if ops:
            session.add_known([(op.path, op.kind) for op in ops if isinstance(op, Assign)], is_new=True)
            session.add_known([(path, TAGS) for path in TAG_PATHS], is_new=True)
            session.add_known(DERIVED.items(), is_new=True)
        else:
            session.refresh()
        self._open(session)

    def _writer_of(self, folder: RunDirectory, role: str, ops: Sequence[Op]) -> Writer:
        if not ops and not folder.path.is_dir():  # or opening would make an empty one
            name = getattr(self, "_id", folder.uid)
            raise self._kind.not_found(f"{self._kind.title} {name} was deleted meanwhile.", run_id=name)
        role = "guest" if self._is_inherited else role
        return Writer.open(folder, role=role, first_ops=ops, on_error=self._settings["on_error"])

    def _session_of(
        self,
        key: str,
        reader: Reader,
        writer: Writer | None = None,
        open_writer: Callable[[], Writer] | None = None,
    ) -> Session:
        return Session(
            f"{self._kind.title} {self._id}",
            key,
            reader,
            writer,
            is_strict=self._settings["strict"],
            has_limits=self._settings["limits"] == "neptune",
            is_sync=self._mode == "sync",
            inactive=self._kind.inactive,
            writable=self._writable,
            open_writer=open_writer,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross to another process as the folder; it is opened there when it is first used."""
        home = getattr(type(self), "_home", type(self))
        return _restored, (home, {name: getattr(self, name) for name in self._kept})

    # What it is

    def get_url(self) -> str:
        """Return the address of the folder, which a browser or file manager opens."""
        return self._folder.path.absolute().as_uri()

    # The end

    def _end(self, seconds: float | None) -> None:
        super()._end(seconds)
        try:
            if self._session.has_writer:
                self._session.writer.stop(self._end_state, seconds)
        finally:
            if self._temporary is not None and not self._is_inherited:
                remove_temporary_store(self._temporary)


class Distant:
    """Before the class of a container that came from another process. The first look at it opens it here."""

    _home: ClassVar[type[StoredContainer]]

    def __getattr__(self, name: str) -> Any:
        """Open the container, now that something of it is needed; from then on it is like any other."""
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = self._home  # type: ignore[assignment]  # the only difference is this method
        self._attach(self._folder, None, "guest", [])
        return getattr(self, name)


def _restored(home: type[StoredContainer], kept: dict[str, Any]) -> StoredContainer:
    """Return the container of a folder: the open one of this process, or one that opens when it is used."""
    for known in lifecycle.open_containers():
        if isinstance(known, StoredContainer) and known._folder == kept["_folder"]:
            return known
    distant: type[StoredContainer] = type(f"Distant{home.__name__}", (Distant, home), {"_home": home})
    container = distant.__new__(distant)
    vars(container).update(kept)
    return container


def first_ops(texts: Mapping[str, str | None], tags: Sequence[str] = (), flags: Sequence[str] = ()) -> list[Op]:
    """Return the first ops of a container: given texts below `sys`, and unset flags."""
    at = clock.now()
    known = {f"sys/{name}": scalars.pack_text(text) for name, text in texts.items() if text is not None}
    return [
        *(Assign(path, ATOM_OF[str], text, at) for path, text in known.items()),
        Assign("sys/creation_time", SYS["sys/creation_time"], round(at * 1e6), at),
        *(Assign(f"sys/{name}", ATOM_OF[bool], False, at) for name in flags),
        Tags("sys/tags", [scalars.pack_text(tag) for tag in tags], [], False, at),
        Tags("sys/group_tags", [], [], False, at),
    ]


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password database, as in many containers
        return str(os.getuid())


def _is_begun(folder: RunDirectory) -> bool:
    """Whether the process that took the id has written the container's facts; False if it died first."""
    reader = Reader(folder)
    until = clock.monotonic() + BEGIN_SECONDS
    while "sys/id" not in reader.kinds():
        if clock.monotonic() > until:
            return False
        clock.sleep(0.005)
    return True


def _id_of(reader: Reader) -> str:
    try:
        return str(reader.value("sys/id"))
    except MissingField:  # damaged, or another process is making it at this moment
        return Store(reader.folder.path.parent.parent).id_of(reader.folder)
