"""The container: the base of runs, models and projects, from opening in a store to the end."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from naiad import address, clock, lifecycle, paths, scalars
from naiad.container_kinds import ContainerKind, RunId
from naiad.convert import with_article
from naiad.errors import FieldConflict, InvalidArgument, MissingField, NaiadTypeError, ServerError, shown
from naiad.fields.base import Field
from naiad.fields.string_set import TAG_PATHS
from naiad.handler import Handler
from naiad.kinds import ATOM_OF, DERIVED, PROTECTED, SYS, TAGS
from naiad.listing import listing
from naiad.ops import Assign, Op, Tags, begin_time
from naiad.session import WRITABLE_IN_SYS, Session
from naiad.storage.base import BEGIN_SECONDS, Reservation, RunReader, RunWriter, Store
from naiad.storage.opening import Place, locate, remove_temporary, temporary
from naiad.tree import lines_of, nested

Self = TypeVar("Self", bound="Container")


class Container:
    """The root of a tree of fields. In brackets it takes paths and gives handlers.

    Each class has its kind and the names of the `sys` fields that users may write. Opening one opens its store, finds
    it there or reserves an id for a new one, and calls `_go_on` or `_enter`.
    """

    _kind: ClassVar[ContainerKind]
    _writable: ClassVar[frozenset[str]] = WRITABLE_IN_SYS
    _writes_late: ClassVar[bool] = True
    """Whether going on makes this process a writer only at the first write: right for what is mostly read."""
    _kept: ClassVar[tuple[str, ...]] = ("_store", "_run", "_settings")
    """What crosses to another process."""

    _store: Store
    _run: RunId
    _settings: dict[str, Any]  # mode, strict, limits, on_error
    _is_temporary = False  # the store lasts as long as the container
    _end_state = "finished"
    _id: str
    _session: Session
    handler_class: ClassVar[type[Handler]] = Handler
    """What brackets give; `naiad.as_neptune` has one of its own."""
    _is_inherited = False  # this process was forked from the one that opened the container
    __iter__ = None  # brackets take paths, so without this a loop over a run would never end

    # Opening

    @property
    def _mode(self) -> str:
        mode: str = self._settings["mode"]
        return mode

    def _open_store(self, store: Place) -> Store:
        """Open the store to look in; in debug mode one that lasts as long as this container."""
        self._is_temporary = self._mode == "debug"
        self._store = temporary() if self._is_temporary else locate(store, is_offline=self._mode == "offline")
        return self._store

    def _enter(self, reservation: Reservation, ops: Sequence[Op], given: Mapping[str, Any]) -> None:
        """Begin the reserved container, or resume it if another process has begun it."""
        # The id existed. Either its run is complete, or the process that took the id was killed before its first ops:
        # then this process becomes the one that begins it.
        if reservation.is_begun:
            self._go_on(reservation.run, reservation.id, given)
            return
        if not reservation.is_new and self._is_begun(reservation.run):
            self._go_on(reservation.run, None, given)  # its id is that of the moment when it was named
            return
        try:
            self._attach(reservation.run, reservation.id, "owner", ops)
        except BaseException:  # only to clean up: whatever it is goes on
            # An id that was reserved and never begun would be an empty run in every listing.
            if reservation.is_new:
                self._store.release(reservation)
            raise

    def _is_begun(self, run: RunId) -> bool:
        """Whether the process that took the id has written the container's facts; False if it died first."""
        reader = self._store.reader(run)
        until = clock.monotonic() + BEGIN_SECONDS
        try:
            while "sys/id" not in reader.kinds():
                if clock.monotonic() > until:
                    return False
                clock.sleep(0.005)
        except ServerError as error:  # it went away since it was asked for the container
            if not self._store.goes_on_here(run, error):
                raise
        return True

    def _go_on(self, run: RunId, name: str | None, given: Mapping[str, Any]) -> None:
        """Open an existing container, changing only the arguments that were given."""
        self._attach(run, name, "owner", [])
        for path in ("name", "description"):
            if given.get(path) is not None:
                self["sys"][path] = given[path]
        if given.get("tags"):
            self["sys/tags"].add(given["tags"])

    def _attach(self, run: RunId, name: str | None, role: str, ops: Sequence[Op]) -> None:
        """Open reader and writer; the first ops, those of a new container, are all that is in it then."""
        self._run = run
        self._is_new = bool(ops)
        # The writer first: what the reader then finds are the ops that it has written.
        opener = None if self._mode == "read-only" else functools.partial(self._writer_of, run, role, ops)
        writer = opener() if opener and (self._is_new or not self._writes_late) else None
        try:
            session = self._session_with_fields(name, ops, writer, opener)
        except ServerError as error:  # it went away since it was asked for the container
            if opener is None or not self._store.goes_on_here(run, error):
                raise
            session = self._session_with_fields(name, ops, writer, opener)
        self._open(session)

    def _session_with_fields(
        self, name: str | None, ops: Sequence[Op], writer: RunWriter | None, opener: Callable[[], RunWriter] | None
    ) -> Session:
        """Return the session of a container with the fields that are in it already."""
        reader = functools.cache(functools.partial(self._store.reader, self._run))
        # One look at an existing container for its id and its fields. A new one is not even opened for reading.
        with reader().moment() if name is None else contextlib.nullcontext():
            try:
                self._id = name or str(reader().value("sys/id"))
            except MissingField:  # damaged, or another process is making it at this moment
                self._id = self._store.id_of(self._run)
            session = self._session_of(self._run.uid, reader, writer, opener)
            if name is None:
                session.reader = reader()  # it is open
            if opener is not None and writer is None:
                self._store.note_to_write(reader())
            # A new container holds exactly its first ops: the tree is made of them without reading anything.
            if ops:
                own = {op.path: op.kind for op in ops if isinstance(op, Assign)}
                session.add_known(own | dict.fromkeys(TAG_PATHS, TAGS) | DERIVED, is_new=True)
            elif opener is not None or not reader().is_partial:  # before it writes: no write waits for it
                session.refresh()
            else:
                session.look_up()
        return session

    def _writer_of(self, run: RunId, role: str, ops: Sequence[Op]) -> RunWriter:
        if not ops and not self._store.exists(run):  # or opening would make an empty one
            name = getattr(self, "_id", run.uid)
            raise self._kind.not_found(f"{self._kind.title} {name} has been deleted in the meantime.", run_id=name)
        role = "guest" if self._is_inherited else role
        return self._store.writer(run, role=role, first_ops=ops, on_error=self._settings["on_error"])

    def _session_of(
        self,
        key: str,
        open_reader: Callable[[], RunReader],
        writer: RunWriter | None = None,
        open_writer: Callable[[], RunWriter] | None = None,
    ) -> Session:
        return Session(
            f"{self._kind.title} {self._id}",
            key,
            open_reader,
            writer,
            is_strict=self._settings["strict"],
            has_limits=self._settings["limits"] == "neptune",
            is_sync=self._mode == "sync",
            inactive=self._kind.inactive,
            writable=self._writable,
            open_writer=open_writer,
            open_here=lambda problem: self._store.reader_here(self._run, problem),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross to another process by its name; it is opened there when it is first used."""
        home = getattr(type(self), "_home", type(self))
        return _restored, (home, {name: getattr(self, name) for name in self._kept})

    def _open(self, session: Session) -> None:
        """Begin: from here on the container can be used."""
        self._session = session
        self._state = "started"
        self._by_path: dict[str, Handler] = {}
        self._by_text: dict[str, Handler] = {}  # the same by what users wrote: "a//b" and "a/b" are one path
        self._stopping = threading.RLock()  # a plugin that is told of the end may call stop() again
        lifecycle.begin(self)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._fail(error)
        self.stop()

    def _ipython_display_(self) -> None:
        """Show live curves in a notebook that has anywidget; IPython takes the static form where this raises."""
        from naiad.notebook.live import show  # loaded by the first notebook: a script needs none

        if not show(self._session, "", repr(self)):
            raise NotImplementedError

    def _repr_html_(self) -> str:
        """Return all fields for a notebook."""
        return listing(self._session, "", repr(self))

    # Brackets

    def __getitem__(self, path: object) -> Handler:
        """Return the handler of a path; always the same one for the same path."""
        try:
            return self._by_text[path]  # type: ignore[index]  # what is no str is not found, and then looked at
        except KeyError:
            pass
        return self._find("", path, self._by_text)

    def __setitem__(self, path: object, value: Any) -> None:
        self[path].assign(value)

    def __delitem__(self, path: object) -> None:
        self[path].pop()

    def _ipython_key_completions_(self) -> list[str]:
        """Return the top-level names, for completion in notebooks."""
        self._session.refresh_for_display()
        return self._session.tree.completions()

    def _find(self, base: str, text: object, known: dict[str, Handler]) -> Handler:
        """Return the handler that a text in brackets means below a path, and remember it under that text."""
        handler = self._handler(paths.join(base, text) if base else paths.parse_or_root(text))
        if text.__class__ is str:  # 1, 1.0 and True would be one key of a dict and are three different paths
            known[text] = handler
        return handler

    def _handler(self, path: str) -> Handler:
        if self._session.is_stopped:
            self._session.require_active()
        return self._by_path.get(path) or self._by_path.setdefault(path, self.handler_class(self, path))

    # The verbs of the root

    def assign(self, value: Any, *, wait: bool = False) -> None:
        """Store each value of a dict at a path below the root, all of them or none."""
        self[""].assign(value, wait=wait)

    def append(self, value: Any, *, step: float | None = None, timestamp: Any = None, wait: bool = False) -> None:
        """Add a point to the series of each key of a dict, all with one step and time."""
        self[""].append(value, step=step, timestamp=timestamp, wait=wait)

    def extend(self, values: Any, *, steps: Any = None, timestamps: Any = None, wait: bool = False) -> None:
        """Add points to the series of each key of a dict of collections, all or none."""
        self[""].extend(values, steps=steps, timestamps=timestamps, wait=wait)

    def log(self, value: Any, *, step: float | None = None, timestamp: Any = None, wait: bool = False) -> None:
        """Append or extend; the old name of both."""
        self[""].log(value, step=step, timestamp=timestamp, wait=wait)

    def pop(self, path: str, *, wait: bool = False) -> None:
        """Remove the field at a path, or all fields of a namespace.

        Raises:
            FieldConflict: there is nothing to remove.
        """
        self[path].pop(wait=wait)

    def fetch(self) -> dict[str, Any]:
        """Return all single values as nested dicts; series, sets and files are left out."""
        values: dict[str, Any] = self[""].fetch()
        return values

    def define(self, path: str, value: Any, *, wait: bool = False) -> Field:
        """Store a value at a path where no field exists, and return the new field.

        Raises:
            FieldConflict: something is stored there.
        """
        handler = self[path]
        known = self._session.field(paths.parse(path))
        if known is not None:
            raise FieldConflict(f'"{known.path}" already exists; it is {with_article(known)}.', path=known.path)
        handler.assign(value, wait=wait)
        return self._session.existing(paths.parse(path))

    # What it is

    def __repr__(self) -> str:
        return f"<{self._kind.title} {self._id}>"

    @property
    def id(self) -> str:
        """The id, such as `DIGITS-3`; `with_id=` and the commands take it."""
        return self._id

    def get_url(self) -> str:
        """Return the address of its page if `naiad ui` shows the store or NAIAD_UI_URL is set, else of its folder.

        The address never contains a token.
        """
        base = None if self._is_temporary else address.pages(self._store.url())
        return address.page(base, *self._page()) if base else self._address()

    def _address(self) -> str:
        """The address of its storage, for people."""
        return self._store.url(self._run)

    def _page(self) -> list[str]:
        """The names between the slashes of its page's address."""
        values = self._session.reader.values("sys")
        texts = (values.get(f"sys/{name}") for name in ("model_id", "project"))
        model, project = (scalars.unpack_text(each) if isinstance(each, str | bytes) else "" for each in texts)
        return ["p", project, *(["models", model] if model else [self._kind.folder]), self._id]

    # What exists

    def exists(self, path: str) -> bool:
        """Return whether a field or namespace exists at a path, including those written by other processes."""
        if not isinstance(path, str):
            raise NaiadTypeError(f"exists() takes a path as a str, not {shown(path)}.")
        place = paths.parse_or_root(path)
        # A writer's own fields are in its tree; a reader's may have been removed elsewhere, so it looks again.
        if self._session.is_read_only or not self._session.tree.has(place):
            self._session.refresh_if_answered()
        return self._session.tree.has(place)

    def get_attribute(self, path: str) -> Field | None:
        """Return the field at a path, or None."""
        return self._session.field(paths.parse(path))

    def get_structure(self) -> dict[str, Any]:
        """Return the tree as nested dicts, with fields as leaves."""
        return nested(self._leaves())

    def print_structure(self) -> None:
        """Print the tree: sorted names and the type of each field. Coloured on a terminal, unless NO_COLOR is set."""
        is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        for line in lines_of(self._leaves(), is_coloured):
            print(line)

    def _leaves(self) -> dict[str, Field]:
        self._session.refresh_if_answered()
        return {path: self._session.tree.get(path) for path in self._session.tree.paths()}  # type: ignore[misc]

    def get_root_object(self: Self) -> Self:
        """Return the container itself; handlers have the same method."""
        return self

    # Life

    def get_state(self) -> str:
        """Return the state of this object: started, stopping or stopped."""
        return self._state

    def lock(self) -> threading.RLock:  # type: ignore[valid-type,unused-ignore]  # a function before Python 3.13
        """Return the lock that prevents other threads from changing the tree."""
        return self._session.lock

    def start(self) -> None:
        """Do nothing: the container is started when it is opened. Neptune has this method."""

    def ping(self) -> None:
        """Do nothing: naiad sends signs of life by itself. Neptune has this method."""

    def wait(self, *, disk_only: bool = False) -> None:  # noqa: ARG002 (Neptune has it)
        """Return when everything logged before is on disk, safe against a power cut.

        Args:
            disk_only: no effect: everything is written to disk.

        Raises:
            SyncFailed: the data could not be written to disk.
        """
        self._session.require_active()
        if self._session.has_writer:
            self._session.writer.wait()

    def protect(self, is_protected: bool = True) -> None:
        """Protect the container against deletion by trash, purge and pages, until `protect(False)`.

        It can still be written. The protection is on disk when the call returns.

        Raises:
            NaiadTypeError: the argument is neither True nor False.
            SyncFailed: the data could not be written to disk.
        """
        if not isinstance(is_protected, bool):
            raise NaiadTypeError(f"protect() takes True or False, not {shown(is_protected)}.", value=is_protected)
        self._session.write(Assign(PROTECTED, SYS[PROTECTED], is_protected), wait=True)

    def sync(self, *, wait: bool = True, remote: bool = False) -> None:
        """Write everything to disk, and load the fields of other processes.

        Args:
            wait: False only loads the fields of other processes.
            remote: if the store is a server, also wait until it has everything that was logged before.

        Raises:
            SyncFailed: the data could not be written to disk, or sent to the server.
        """
        if wait:
            self.wait()
        self._session.require_active()
        if remote and self._session.has_writer:
            self._session.writer.ship()
        self._session.refresh_if_answered()

    def stop(self, *, seconds: float | None = None) -> None:
        """Write everything and end. Stopping again does nothing.

        Args:
            seconds: the longest time to wait for a disk that does not answer; 10 if None.
        """
        if not (seconds is None or _is_duration(seconds)):
            raise InvalidArgument(f"seconds= must be a number that is not negative, or None, not {shown(seconds)}.")
        # A second thread that calls `stop()` waits here until the run is on disk, and then returns: its caller may
        # exit.
        with self._stopping:
            if self._state != "started":
                return
            self._state = "stopping"
            try:
                self._end(seconds)
            finally:
                # Also after an error, or the end of the process would try to stop it once more.
                self._state = "stopped"
                lifecycle.end(self)

    def _end(self, seconds: float | None) -> None:
        """Raise on every call from now on, and stop writing."""
        # First, so that verbs of other threads raise instead of waiting for a writer that will not take them.
        self._session.is_stopped = True
        self._by_text.clear()
        try:
            if self._session.has_writer:
                self._session.writer.stop(self._end_state, seconds)
        finally:
            # A forked child must not remove the store that its parent still writes.
            if self._is_temporary and not self._is_inherited:
                remove_temporary(self._store)

    def _disown(self) -> None:
        """In a forked child: the container stays usable, but its end is the parent's business."""
        self._is_inherited = True
        self._stopping = threading.RLock()

    def _fail(self, error: BaseException) -> None:
        """An exception ends the use of the container."""

    def _exit(self, code: int) -> None:
        """The process ends with this exit code."""

    def _terminate(self) -> None:
        """Note that a signal ends the process, without waiting for anything."""


class Distant:
    """Before the class of a container that came from another process. The first look at it opens it here."""

    _home: ClassVar[type[Container]]

    def __getattr__(self, name: str) -> Any:
        """Open the container, now that something of it is needed; from then on it is like any other."""
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = self._home  # type: ignore[assignment]  # the only difference is this method
        self._attach(self._run, None, "guest", [])
        return getattr(self, name)


def _restored(home: type[Container], kept: dict[str, Any]) -> Container:
    """Return a container: the open one of this process, or one that opens when it is used."""
    for known in lifecycle.open_containers():
        if isinstance(known, Container) and known._run == kept["_run"]:
            return known
    distant: type[Container] = type(f"Distant{home.__name__}", (Distant, home), {"_home": home})
    container = distant.__new__(distant)
    vars(container).update(kept)
    return container


def first_ops(
    texts: Mapping[str, str | None],
    tags: Sequence[str] = (),
    flags: Sequence[str] = (),
    *,
    may_join: bool = False,
    chosen: Collection[str] = (),
) -> list[Op]:
    """Return the first ops of a container: given texts below `sys`, and unset flags.

    Args:
        texts: by their names below `sys`.
        tags: to begin with.
        flags: names below `sys`.
        may_join: whether a server may show later that the container has begun before; it keeps its facts then.
        chosen: the texts that count nevertheless.
    """
    now = clock.now()
    at = begin_time(now) if may_join else now
    known = {name: scalars.pack_text(text) for name, text in texts.items() if text is not None}
    return [
        *(Assign(f"sys/{name}", ATOM_OF[str], text, now if name in chosen else at) for name, text in known.items()),
        Assign("sys/creation_time", SYS["sys/creation_time"], round(now * 1e6), at),
        *(Assign(f"sys/{name}", ATOM_OF[bool], False, at) for name in flags),
        Tags("sys/tags", [scalars.pack_text(tag) for tag in tags], [], False, now if tags else at),
        Tags("sys/group_tags", [], [], False, at),
    ]


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the password database, as in many containers
        return str(os.getuid())


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0
