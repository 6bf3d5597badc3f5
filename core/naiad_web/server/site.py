"""The site: one store as it is served, with the readers and recent answers that requests share."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from naiad import clock
from naiad.container_kinds import PROJECT, ContainerKind, RunId
from naiad.errors import MissingField, NaiadError
from naiad.scalars import unpack_text
from naiad.storage.base import RunReader, Store
from naiad.storage.catalog import Catalog
from naiad_web.server.access import Grant, Rules
from naiad_web.server.answers import Answer, Problem

MOST_READERS = 64
"""Readers that stay open: each holds the fields of its run, and the connection to its index."""
FRESH_SECONDS = 0.9
"""How long the mark of the catalog serves others."""
LASTING_SECONDS = 60.0
"""How long an answer about all runs serves while no run has changed; one about the last hour shifts by as much."""
MOST_IDS = 20_000
MOST_ANSWERS = 256
MOST_BYTES = 24 * 1024 * 1024
"""Bodies of such answers in memory: a table of 20,000 rows has 5 MB."""

MOST_SITES = 64
"""Projects whose readers and answers are kept, where tokens are for single projects."""


class Sites:
    """The sites of a server: one for each project that tokens are for, and one for the whole store."""

    def __init__(self, store: Store, access: Rules) -> None:
        self.access = access
        self.store = store
        self._lock = threading.Lock()
        self._by_project: OrderedDict[str | None, Site] = OrderedDict()

    def site(self, grant: Grant) -> Site:
        """Return the store as a request sees it."""
        with self._lock:
            known = self._by_project.get(grant.project)
            if known is None:
                store = self.access.view(self.store, grant)
                known = self._by_project[grant.project] = Site(store, self.access, grant)
            self._by_project.move_to_end(grant.project)
            # The project that was asked for longest ago goes first.
            while len(self._by_project) > MOST_SITES:
                self._by_project.popitem(last=False)
        return known.seen_by(grant)

    def forget(self) -> None:
        """Make answers anew: something was changed."""
        with self._lock:
            known = [*self._by_project.values()]
        for site in known:
            site.forget()


class Site:
    """A store, with the readers and recent answers that requests share, and the permissions of one of them."""

    def __init__(self, store: Store, access: Rules, grant: Grant) -> None:
        self.store = store
        self.access = access
        self.grant = grant
        self._lock = threading.Lock()
        self._readers: OrderedDict[RunId, RunReader] = OrderedDict()
        self._ids: dict[RunId, str] = {}
        self._answers: OrderedDict[Hashable, _Made] = OrderedDict()
        self._mark = _Made("", FRESH_SECONDS)

    def seen_by(self, grant: Grant) -> Site:
        """Return this site, with the same readers and answers, for a request with these permissions."""
        if grant == self.grant:
            return self
        # A shallow copy: readers, answers and the lock are those of the project, and the permissions its own.
        found = copy.copy(self)
        found.grant = grant
        return found

    def require_store(self) -> None:
        """Raise if the store is gone.

        Raises:
            Problem: it was deleted or moved.
        """
        if not self.store.has_begun():
            raise gone(self.store)

    @property
    def catalog(self) -> Catalog:
        """The catalog as it is now."""
        return self.store.catalog()

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with an id or uid.

        Raises:
            ContainerNotFound: there is none.
        """
        return self.store.find(name, kind)

    def reader(self, run: RunId) -> RunReader:
        """Return a reader of a container, one that others use too.

        Raises:
            ContainerNotFound: it was deleted.
        """
        # a reader of a deleted run would still answer from the index that it holds open
        if not self.store.exists(run):
            with self._lock:
                self._readers.pop(run, None)
            raise run.kind.not_found(f"{run.kind.title} {run.uid} was deleted.", run_id=run.uid)
        with self._lock:
            reader = self._readers.get(run)
            if reader is None:
                reader = self._readers[run] = self.store.reader(run)
            self._readers.move_to_end(run)
            while len(self._readers) > MOST_READERS:
                self._readers.popitem(last=False)
        return reader

    def id_of(self, run: RunId) -> str:
        """Return the id of a container, which never changes; its uid if it has none."""
        # the store finds the id of a uid only by reading all ids
        known = self._ids.get(run)
        if known is None:
            if len(self._ids) >= MOST_IDS:
                self._ids.clear()
            try:
                value = self.reader(run).value("sys/id")
                known = unpack_text(value) if isinstance(value, str | bytes) else str(value)
            except NaiadError:
                known = self.store.id_of(run)
            self._ids[run] = known
        return known

    def note_ids(self, kind: ContainerKind, uids: Iterable[str], names: Iterable[str]) -> None:
        """Note the ids of containers that were listed, since those are requested next."""
        if len(self._ids) < MOST_IDS:
            self._ids.update(zip((RunId(uid, kind) for uid in uids), names, strict=True))

    def project_reader(self, project: str) -> RunReader:
        """Return a reader of a project's own fields."""
        run = self.store.find_project(project)
        return self.reader(run) if run is not None else self.store.project_reader(project)

    def fresh(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the result of `make`, or its result for another request if no container has changed since.

        Of several requests for the same at once, one makes it and the others wait.
        """
        mark = self._marked()
        with self._lock:
            known = self._answers.get(key)
            # Made in this slot and outside the lock, so that a slow answer blocks those who want the same, and no
            # others.
            if known is None or known.mark != mark or known.is_over():
                known = self._answers[key] = _Made(mark, LASTING_SECONDS)
            self._answers.move_to_end(key)
            held = sum(each.size for each in self._answers.values())
            while len(self._answers) > MOST_ANSWERS or (held > MOST_BYTES and len(self._answers) > 1):
                held -= self._answers.popitem(last=False)[1].size
        return known.get(make)

    def forget(self) -> None:
        """Make answers anew: something was changed here."""
        # whoever made a change expects to see it at once
        with self._lock:
            self._answers.clear()
            self._mark = _Made("", FRESH_SECONDS)

    def _marked(self) -> str:
        """The mark of the catalog as it was a moment ago; looking costs 3 ms."""
        with self._lock:
            if self._mark.is_over():
                self._mark = _Made("", FRESH_SECONDS)
            mark = self._mark
        return str(mark.get(lambda: self.catalog.changes().mark))


class _Made:
    """A value made once for several requests."""

    def __init__(self, mark: str, seconds: float) -> None:
        self.mark = mark
        self.size = 0
        self._until = float("inf")
        self._seconds = seconds
        self._lock = threading.Lock()
        self._made: tuple[Any] | None = None

    def is_over(self) -> bool:
        return clock.monotonic() > self._until

    def get(self, make: Callable[[], Any]) -> Any:
        with self._lock:
            if self._made is None:
                try:
                    self._made = (make(),)
                # Also after an error, so that those who wait do not all try again at once.
                finally:
                    self._until = clock.monotonic() + self._seconds
                self.size = len(self._made[0].body) if isinstance(self._made[0], Answer) else 0
        return self._made[0]


def gone(store: Store) -> Problem:
    """Return the error for a store that is not there any more."""
    return Problem(503, "StoreGone", f"The store {store} is not there any more: it was deleted or moved.")


def project_of(reader: RunReader) -> str:
    """The name of the project of a container."""
    try:
        return str(reader.value("sys/name" if reader.run.kind is PROJECT else "sys/project"))
    except MissingField:
        return ""
