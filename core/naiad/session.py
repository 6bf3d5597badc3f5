"""The session of a container: the tree of its fields, and the one place where checked changes become written ones."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Concatenate, ParamSpec, TypeVar

from naiad import clock, convert, paths
from naiad.convert import with_article
from naiad.errors import (
    FieldConflict,
    InactiveContainer,
    MissingField,
    NaiadError,
    ProtectedPath,
    ProtectedStage,
    ReadOnlyWarning,
    ServerError,
    StorageError,
    StorageWarning,
    warn_once,
)
from naiad.fields.atoms import Atom
from naiad.fields.base import Field, FieldSession
from naiad.fields.registry import field_class
from naiad.fields.run_state import RunState
from naiad.fields.series import Series
from naiad.kinds import DERIVED
from naiad.ops import Assign, Delete, Strings
from naiad.storage.base import Change, RunReader, RunWriter
from naiad.transaction import Transaction
from naiad.tree import Tree

P = ParamSpec("P")
T = TypeVar("T")
MANY_STORED = 1_000
"""Stored fields that come together, from which on each is made when it is first asked for."""
SILENT_SECONDS = 30.0
"""For how long writes do without a server that did not answer."""
MOST_LOOKED_UP = 8
"""Fields that are looked up one by one; a program that reads more of them needs the tree."""
WRITABLE_IN_SYS = frozenset({"sys/name", "sys/description", "sys/tags", "sys/group_tags", "sys/failed"})


class _FilledTree:
    """The tree of a session that looks up fields, filled at its first use; then it is an attribute again.

    `cached_property` would hold a lock of its own meanwhile, which a thread that holds the session's may wait for.
    """

    def __get__(self, session: Session, _owner: type) -> Tree[Field]:
        session.refresh()
        return session._tree


class Session:
    """The state that the fields of one container share: tree, lock, writer and reader.

    The tree holds the fields that existed when the container was opened, and all that this process has written since.
    Fields that other processes add are seen by `refresh`, which is called for a path not found here.

    A program that reads one of 100,000 fields needs no tree: after `look_up` it is filled when it is first used, and
    before that a few fields are looked up one by one.
    """

    tree = _FilledTree()
    """The fields that are known here."""

    def __init__(
        self,
        title: str,
        key: str,
        open_reader: Callable[[], RunReader],
        writer: RunWriter | None,
        *,
        is_strict: bool = False,
        has_limits: bool = False,
        is_sync: bool = False,
        inactive: type[InactiveContainer] = InactiveContainer,
        writable: frozenset[str] = WRITABLE_IN_SYS,
        open_writer: Callable[[], RunWriter] | None = None,
        open_here: Callable[[ServerError], RunReader | None] = lambda _problem: None,
    ) -> None:
        self.title = title
        self.key = key
        self._open_reader = open_reader
        self.is_strict = is_strict
        self.has_limits = has_limits
        self.is_sync = is_sync
        self._tree: Tree[Field] = Tree()
        vars(self)["tree"] = self._tree
        self._left_to_look_up = 0
        self.lock = threading.RLock()
        self.is_stopped = False
        self.left_out: dict[str, set[type]] = {}  # types of values that were left out with a warning, by path
        self.is_read_only = writer is None and open_writer is None
        self._writer = writer
        self._open_writer = open_writer  # of what is mostly read: nobody is a writer before the first write
        self._open_here = open_here
        self._here: RunReader | None = None  # since the server did not answer a question of a write
        self._asks_at = 0.0
        self._inactive = inactive
        self._writable = writable
        _sessions.add(self)

    @functools.cached_property
    def reader(self) -> RunReader:
        """The only door to reading the run; opened when it is first used."""
        return self._open_reader()

    def look(self, question: Callable[[RunReader], T]) -> T:
        """Answer a question of a write about the stored run; from the folder here while its server is away.

        A run that only reads raises then: the folder may have a part of the run.
        """
        if self._here is None or clock.monotonic() >= self._asks_at:
            try:
                return question(self.reader)
            except ServerError as problem:
                if not self.is_read_only:
                    self.writer  # noqa: B018 (it makes the folder, if this is the first write)
                self._require_folder(problem)
        assert self._here is not None
        return question(self._here)

    def _require_folder(self, problem: ServerError) -> None:
        """Go on with the folder here for a while, with one warning; raise the problem if nothing is written here."""
        here = None if self.is_read_only else self._open_here(problem)
        if here is None:
            raise problem
        self._here, self._asks_at = here, clock.monotonic() + SILENT_SECONDS

    @property
    def has_writer(self) -> bool:
        """Whether this process may have written something."""
        return self._writer is not None

    @property
    def writer(self) -> RunWriter:
        """The only door to changing the run; `commit` looks after runs that were opened for reading and have none."""
        if self._writer is None:
            if self._open_writer is None:
                raise self._inactive(f"{self.title} is open for reading only.")
            with self.lock:
                self._begin_to_write(self._open_writer)
        assert self._writer is not None
        return self._writer

    def _begin_to_write(self, open_writer: Callable[[], RunWriter]) -> None:
        if self._writer is None:  # another thread may have done it
            self._writer = open_writer()

    def require_active(self) -> None:
        """Raise if the container was stopped."""
        if self.is_stopped:
            raise self._inactive(f"{self.title} was stopped and can no longer be used.\nOpen it again to continue it.")

    def require_writable(self, path: str) -> None:
        """Raise ProtectedPath for paths that naiad itself writes."""
        if path.startswith("sys/") and path not in self._writable:
            raise self._protected(path)

    def require_removable(self, path: str) -> None:
        """Raise ProtectedPath for fields that naiad needs."""
        if path.startswith("sys/"):
            raise self._protected(path)

    def _protected(self, path: str) -> ProtectedPath:
        if path == "sys/stage":
            return ProtectedStage(
                '"sys/stage" cannot be changed or removed like other fields.\n'
                'Use change_stage("production"), a method of the model version.',
                path=path,
            )
        names = ", ".join(sorted(self._writable))
        return ProtectedPath(
            f'"{path}" cannot be changed or removed, because naiad keeps it.\nYou may assign to {names}.', path=path
        )

    # What exists

    def field(self, path: str) -> Field | None:
        """Return the field at a path, refreshing if this process has none there."""
        self.require_active()
        known = self._tree.get(path)
        if known is None and self._left_to_look_up:
            known = self._looked_up(path)
        # Reading the kinds costs a query, so a path that is known here is not asked for again, though another process
        # may have removed it since.
        if known is None and not self.tree.is_namespace(path):
            self.refresh_if_answered()
            known = self.tree.get(path)
        return known

    def look_up(self) -> None:
        """Look up the first fields one by one, and fill the tree when it is used; only if nothing is written here."""
        vars(self).pop("tree")
        self._left_to_look_up = MOST_LOOKED_UP

    def _looked_up(self, path: str) -> Field | None:
        """Return the stored field at a path without reading which others there are; None where that is not enough."""
        try:
            kind = DERIVED.get(path) or self.reader.atom(path)[0]
        except (NaiadError, OSError):  # as the tree is filled, it is raised again or a sentence is made of it
            kind = ""
        with self.lock:
            if kind and self._left_to_look_up:
                self._left_to_look_up -= 1
                self.add_known({path: kind})
            else:
                self._left_to_look_up = 0
            return self._tree.get(path)

    def existing(self, path: str) -> Field:
        """Return the field at a path.

        Raises:
            MissingField: there is none; the message names paths that look alike.
        """
        found = self.field(path)
        if found is None:
            raise self.missing(path)
        return found

    def missing(self, path: str) -> MissingField:
        """Return the error for a path without a field."""
        return MissingField(f'{self.title} has no field "{path}".{self.tree.hint(path)}', path=path)

    def refresh(self) -> None:
        """Load the changes of other processes."""
        with self.lock:
            kinds = self.reader.kinds()
            # What waits in memory is in the tree and not in the store. Compared with the store it would look removed,
            # so nothing is taken out of the tree until the disk has it.
            if self._is_waiting():
                self.add_known(self._fitting(kinds))
                return
            # A field that has another kind now was removed and defined anew elsewhere, or lost against one that was
            # defined first: its object here would write to a path that is no longer its own.
            gone: list[Field] = []
            for known in self._tree.made():
                # No `if`: see tests/core/storage/test_locks.py.
                gone += [known] if kinds.get(known.path) != known.kind else []
            for known in gone:
                self._forget(known)
            if self._tree.unmade:
                self._tree.drop_unmade(kinds)
            self.add_known(kinds)
            # Last, as other threads look at these without the lock.
            self._left_to_look_up = 0
            vars(self)["tree"] = self._tree
            # Only after the tree is right, because the warning may be an error and leave by an exception.
            if gone and self._writer is not None:
                self._say_what_is_shadowed(gone)

    def refresh_if_answered(self) -> None:
        """Load the changes of other processes; those that are known stay while the server of a written run is away."""
        if self._here is None or clock.monotonic() >= self._asks_at:
            try:
                self.refresh()
            except ServerError as problem:
                self._require_folder(problem)

    def refresh_for_display(self) -> None:
        """Refresh before displaying a read-only container, ignoring read errors."""
        if self.is_read_only:
            with contextlib.suppress(OSError, NaiadError):  # then what is known already is shown
                self.refresh()

    def refresh_before_define(self) -> None:
        """See the fields that other processes have made, before one is made that is new here."""
        if self.is_read_only or (self._writer is not None and not self._writer.peers_have_written()):
            return
        try:
            self.refresh_if_answered()
        except (OSError, NaiadError):
            return  # what cannot be read forbids no write; the one that was defined first is shown then

    def replacement(self, field: Field) -> Field:
        """Return the field that is at the path of another one now, which turned out to be of another kind.

        Raises:
            MissingField: there is none.
            FieldConflict: this process has not stored all it wrote, so the kinds cannot be compared.
        """
        self.refresh()
        found = self.existing(field.path)
        if found.kind == field.kind:
            raise FieldConflict(f'"{field.path}" is no longer {with_article(field)} in the store.', path=field.path)
        return found

    def _fitting(self, kinds: Mapping[str, str]) -> dict[str, str]:
        return {path: kind for path, kind in kinds.items() if self._has_room(path)}

    def _has_room(self, path: str) -> bool:
        try:
            self._tree.check(path)
        except FieldConflict:
            return False
        return True

    def _say_what_is_shadowed(self, gone: Iterable[Field]) -> None:
        own = {(field.path, field.kind) for field in gone}
        for each in self.reader.shadowed():
            if (each.path, each.kind) in own:
                self.writer.warn_of(each)

    def _is_waiting(self) -> bool:
        """Whether data of this process waits in memory for the disk, invisible to readers."""
        return self._writer is not None and self._writer.is_degraded

    def add_known(self, kinds: Mapping[str, str], *, is_new: bool = False) -> None:
        """Give fields that are stored already their place in the tree."""
        holds, new = self._tree.holds, dict[str, str]()
        if not all(map(holds, kinds)):  # all are nearly always, and may be 100,000
            new = dict(kinds)
            for path in [*filter(holds, kinds)]:
                del new[path]
        # Classes are looked up before any field is put: a kind that raises leaves the tree as it was.
        classes: dict[str, type[Field]] = {}
        for kind in {*new.values()}:
            classes[kind] = field_class(kind)
        if len(new) >= MANY_STORED and not is_new:
            self._tree.expect(new, self._make)
            return
        fields = []
        for path, kind in new.items():
            fields.append(classes[kind](self, path, is_new=is_new))
        for field in fields:
            self._tree.put(field.path, field)

    def _make(self, path: str) -> Field | None:
        """Make the field of a kind that is stored at a path, unless another thread has made or removed it."""
        with self.lock:
            kind = self._tree.unmade.get(path)
            if kind is not None:
                field = field_class(kind)(self, path, is_new=False)
                if path in self._tree.unmade:  # else a signal handler has made it meanwhile
                    self._tree.put(path, field)
            return self._tree.get(path)

    def atoms(self, path: str = "") -> dict[str, object]:
        """Return all single values at or below a path, by their paths; series and sets are left out."""
        self.require_active()
        return self.stored_atoms(path)

    def stored_atoms(self, path: str = "") -> dict[str, object]:
        """Return the same of a container that may have been stopped."""
        found = {}
        for each, (kind, plain) in self.reader.atoms(path).items():
            made_of = field_class(kind)
            if issubclass(made_of, Atom | RunState):
                found[each] = made_of.read(plain)
        return found

    def _forget(self, field: Field) -> None:
        self._tree.remove(field.path)
        field.forget()

    # Changing it

    def transact(self, plan: Callable[[Transaction], object], wait: bool = False, content: Iterable[str] = ()) -> None:
        """Write the changes that one verb plans, all or none; drop ingested content that they do not name.

        The lock is taken by a `with` in this frame: Ctrl-C cannot come between taking a lock that is written in C and
        entering the block, but it can come in the first line of any method.

        Raises:
            FieldConflict: a field would lie above or below another one.
            ProtectedPath: only naiad writes there.
        """
        transaction = Transaction(self, wait, content)
        try:
            with self.lock:
                # Looked at under the lock: `stop()` takes it too, so that no change is planned on a writer that is
                # closing.
                if self.is_stopped:
                    self.require_active()
                try:
                    plan(transaction)
                    transaction.commit()
                except BaseException:  # only to clean up: whatever it is goes on
                    transaction.roll_back()
                    raise
        finally:
            # Outside the lock, and however the block was left: content that no written op names would stay in the
            # store until gc.
            if transaction.unused:
                self.writer.drop([*transaction.unused])
        # Warnings come last, when all is written: where warnings are errors, they raise, and the rest of the call is
        # kept.
        if transaction.left_out:
            transaction.warn()
        if wait or self.is_sync:
            self._wait()

    def ingest(
        self,
        path: str,
        wait: bool,
        take: Callable[Concatenate[FieldSession, P], T],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T | None:
        """Copy files into the store without the lock, since others log meanwhile.

        Returns:
            The result of `take`; None if the disk does not take the files and training goes on without them.
        """
        self.require_active()
        try:
            return take(self, *arguments, **options)
        except StorageError as problem:
            self.skip_file(path, problem, wait)
            return None

    def skip_file(self, path: str, problem: StorageError, wait: bool = False) -> None:
        """Let training go on without a file that the disk does not take; raise if the user wants that, or waits."""
        # Counted before anything is raised: the run is incomplete whether the user catches the error or not.
        self.writer.count_lost()
        if wait or self.is_sync or self.writer.is_raising:
            raise problem
        warn_once((self.key, path, "storage"), f'"{path}" was not stored. {problem}', StorageWarning)

    def write(self, *ops: Assign | Strings, wait: bool = False) -> None:
        """Write to fields that only naiad writes, all or nothing."""
        self.require_active()
        if self.is_read_only:
            self.decline()
            return
        self.writer.write([Change(op.path, op.kind, (op,)) for op in ops])
        if wait:
            self.writer.wait()

    def rewind(
        self, path: str, step: float, *, wait: bool = False, is_first: bool = False, but: Iterable[str] = ()
    ) -> None:
        """Hide the points above a step of all series at or below a path; those of `monitoring/` stay.

        Raises:
            NaiadValueError: the step is no number.
        """
        self.require_active()
        above = convert.step(path, step)
        if self.is_read_only:
            self.decline()
            return
        with self.lock:
            self.writer.rewind(path, above, is_first=is_first, but=tuple(but))
            self._rewind_fields(path)
        if wait or self.is_sync:
            self._wait()

    def _rewind_fields(self, path: str) -> None:
        for field in self.tree.made(path):  # others look up their last step later
            if isinstance(field, Series):
                field.rewound()

    def _wait(self) -> None:
        if self._writer is not None:
            self._writer.wait()

    def copy(self, source: Field, path: str, wait: bool = False) -> None:
        """Store the content of a field at another path too: `run[path] = source`."""
        self.transact(lambda tx: tx.assign(paths.parse(path), source), wait)

    def remove(self, path: str, wait: bool = False) -> None:
        """Remove the field at a path, or all fields of a namespace, in one write.

        Raises:
            FieldConflict: there is nothing to remove.
        """
        with self.lock:
            if self.field(path) is None and not self.tree.is_namespace(path):
                raise FieldConflict(f"{self.missing(path)}\nThere is nothing to remove.", path=path)
            gone = self.tree.paths(path)
            for each in gone:
                self.require_removable(each)
            if self.is_read_only:
                self.decline()
                return
            self.writer.write([Change(path, "", tuple(map(Delete, gone)))])
            for each in gone:
                self._forget(self.tree.get(each))  # type: ignore[arg-type]  # paths() lists what is there
        if wait or self.is_sync:
            self._wait()

    def decline(self) -> None:
        """Warn once that nothing is stored, because the container is open for reading only."""
        warn_once(self.key, f"{self.title} is open for reading only, so nothing is stored in it.", ReadOnlyWarning)


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child: another thread of the parent may have held a lock, and that thread does not exist here."""
    for session in _sessions:
        session.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
