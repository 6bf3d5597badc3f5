"""The site: one store as it is served, with the readers and recent answers that requests share."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from naiad import clock
from naiad.container_kinds import PROJECT, ContainerKind
from naiad.errors import MissingField
from naiad.storage.base import Catalog, RunId, RunReader, Store
from naiad_web.server.access import Grant, Rules
from naiad_web.server.answers import Problem

MOST_READERS = 64
"""Readers that stay open: each holds the fields of its run, and the connection to its index."""
FRESH_SECONDS = 0.9
"""How long an answer about all runs serves others who ask the same."""
MOST_FRESH = 64


MOST_SITES = 64
"""Projects whose readers and answers are kept, where tokens are for single projects."""


class Sites:
    """The sites of a server: one for each project that tokens are for, and one for the whole store."""

    def __init__(self, store: Store, access: Rules) -> None:
        self.access = access
        self._store = store
        self._lock = threading.Lock()
        self._by_project: OrderedDict[str | None, Site] = OrderedDict()

    def site(self, grant: Grant) -> Site:
        """Return the store as a request sees it."""
        with self._lock:
            known = self._by_project.get(grant.project)
            if known is None:
                store = self.access.view(self._store, grant)
                known = self._by_project[grant.project] = Site(store, self.access, grant)
            self._by_project.move_to_end(grant.project)
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
        self._fresh: OrderedDict[Hashable, _Fresh] = OrderedDict()

    def seen_by(self, grant: Grant) -> Site:
        """Return this site, with the same readers and answers, for a request with these permissions."""
        if grant == self.grant:
            return self
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

    def project_reader(self, project: str) -> RunReader:
        """Return a reader of a project's own fields."""
        run = self.store.find_project(project)
        return self.reader(run) if run is not None else self.store.project_reader(project)

    def fresh(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the result of `make`, or its result for another request a moment ago.

        Of several requests for the same at once, one makes it and the others wait.
        """
        with self._lock:
            known = self._fresh.get(key)
            if known is None or clock.monotonic() > known.until:
                known = self._fresh[key] = _Fresh()
            self._fresh.move_to_end(key)
            while len(self._fresh) > MOST_FRESH:
                self._fresh.popitem(last=False)
        return known.get(make)

    def forget(self) -> None:
        """Make answers anew: something was changed here."""
        # whoever made a change expects to see it at once
        with self._lock:
            self._fresh.clear()


class _Fresh:
    """An answer of the last moment."""

    def __init__(self) -> None:
        self.until = float("inf")
        self._lock = threading.Lock()
        self._made: tuple[Any] | None = None

    def get(self, make: Callable[[], Any]) -> Any:
        with self._lock:
            if self._made is None:
                try:
                    self._made = (make(),)
                finally:
                    self.until = clock.monotonic() + FRESH_SECONDS
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
