"""What runs and projects have in common: brackets, the verbs of their root, reading, and an end."""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from naiad import lifecycle, paths
from naiad.convert import with_article
from naiad.errors import FieldConflict, InvalidArgument, NaiadTypeError, shown
from naiad.fields.base import Field
from naiad.handler import Handler
from naiad.listing import listing
from naiad.session import Session
from naiad.tree import lines_of, nested

Self = TypeVar("Self", bound="Container")


class Container:
    """The root of a tree of fields. In brackets it takes paths and gives handlers."""

    _session: Session
    handler_class: ClassVar[type[Handler]] = Handler
    """What brackets give; `naiad.as_neptune` has one of its own."""
    _is_inherited = False  # this process was forked from the one that opened the container
    __iter__ = None  # brackets take paths, so without this a loop over a run would never end

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
        """The old name of `append` and `extend`."""
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
        """Store a value at a path where nothing is yet, and return the new field.

        Raises:
            FieldConflict: something is stored there.
        """
        handler = self[path]
        known = self._session.field(paths.parse(path))
        if known is not None:
            raise FieldConflict(f'"{known.path}" exists already; it is {with_article(known)}.', path=known.path)
        handler.assign(value, wait=wait)
        return self._session.existing(paths.parse(path))

    # What exists

    def exists(self, path: str) -> bool:
        """Whether a field or namespace is at a path, also of other processes."""
        if not isinstance(path, str):
            raise NaiadTypeError(f"exists() takes a path as a str, not {shown(path)}.")
        place = paths.parse_or_root(path)
        if self._session.is_read_only or not self._session.tree.has(place):
            self._session.refresh()
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
        self._session.refresh()
        return {path: self._session.tree.get(path) for path in self._session.tree.paths()}  # type: ignore[misc]

    def get_root_object(self: Self) -> Self:
        """Return the container itself; handlers have the same method."""
        return self

    # Life

    def get_state(self) -> str:
        """Return how far this object is: started, stopping or stopped."""
        return self._state

    def lock(self) -> threading.RLock:  # type: ignore[valid-type,unused-ignore]  # a function before Python 3.13
        """Return the lock that keeps other threads from changing the tree."""
        return self._session.lock

    def start(self) -> None:
        """Do nothing: opening has started everything. Neptune has this method."""

    def ping(self) -> None:
        """Do nothing: that this process lives is shown by itself. Neptune has this method."""

    def wait(self, *, disk_only: bool = False) -> None:  # noqa: ARG002 (Neptune has it)
        """Return when everything logged before is on disk, safe against a power cut.

        Args:
            disk_only: makes no difference; there is nothing but the disk.

        Raises:
            SyncFailed: the disk did not take it.
        """
        self._session.require_active()
        if self._session.has_writer:
            self._session.writer.wait()

    def sync(self, *, wait: bool = True) -> None:
        """Store everything on disk and load the fields of other processes.

        Args:
            wait: only learn, when False.

        Raises:
            SyncFailed: the disk did not take it.
        """
        if wait:
            self.wait()
        self._session.require_active()
        self._session.refresh()

    def stop(self, *, seconds: float | None = None) -> None:
        """Write down everything and end. Stopping again does nothing.

        Args:
            seconds: how long a disk that does not answer may delay this; 10 if None.
        """
        if not (seconds is None or _is_duration(seconds)):
            raise InvalidArgument(f"seconds= takes a number that is not negative, or None, not {shown(seconds)}.")
        with self._stopping:
            if self._state != "started":
                return
            self._state = "stopping"
            try:
                self._end(seconds)
            finally:
                self._state = "stopped"
                lifecycle.end(self)

    def _end(self, seconds: float | None) -> None:  # noqa: ARG002 (for subclasses)
        """Refuse everything from now on."""
        self._session.is_stopped = True
        self._by_text.clear()

    def _disown(self) -> None:
        """In a forked child: the container stays usable, but its end is the parent's business."""
        self._is_inherited = True
        self._stopping = threading.RLock()

    def _fail(self, error: BaseException) -> None:
        """An exception ends the use of the container."""


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0
