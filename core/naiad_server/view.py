"""The view of a store that a token has: one project of it, or all.

`StoreView.sees` is the one place where the project of a token meets the project of a container. The server reads and
changes its store through views alone, so that another project's containers do not exist there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn
from urllib.parse import quote

from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RUN, ContainerKind, RunId, kind_of_id
from naiad.errors import ContainerNotFound, MissingField, NeedsServer, ProjectNotFound, shown
from naiad.ops import Op
from naiad.scalars import unpack_text
from naiad.storage.base import Listener, Reservation, RunReader, RunWriter, Store
from naiad.storage.catalog import Catalog, Cell, Changes, ProjectCounts
from naiad.storage.receiving import Receiver

PAGES = {RUN: "runs", MODEL: "models", MODEL_VERSION: "models"}
MOST_REMEMBERED = 100_000


class StoreView(Store):
    """A store as the tokens of one project see it, or those of all projects."""

    def __init__(self, store: Store, receiver: Receiver, project: str | None, address: str) -> None:
        self._store = store
        self._receiver = receiver
        self._project = project
        self._address = address
        self._projects: dict[RunId, str] = {}

    def __str__(self) -> str:
        """The address of the server, in place of the folder."""
        return self._address

    def sees(self, run: RunId) -> bool:
        """Whether a container is of the project of this view."""
        return self._project is None or self._project_of(run) == self._project

    def _project_of(self, run: RunId) -> str:
        known = self._receiver.find(run.uid)
        if known is not None:
            return known.project
        found = self._projects.get(run)
        if found is None:
            try:
                own = self._store.reader(run).value("sys/name" if run.kind is PROJECT else "sys/project")
            except MissingField:
                return ""
            found = unpack_text(own) if isinstance(own, str | bytes) else ""
            # Emptied as a whole, since what is asked for most is soon there again.
            if len(self._projects) >= MOST_REMEMBERED:
                self._projects.clear()
            self._projects[run] = found
        return found

    def _own(self, project: str) -> str:
        """The name of a project, if it is one that this view shows.

        Raises:
            ProjectNotFound: it is not.
        """
        if self._project not in (None, project):
            raise ProjectNotFound(f"There is no project {shown(project)}.", run_id=project)
        return project

    def _missing(self, name: str, kind: ContainerKind | None = None) -> Exception:
        found = kind or kind_of_id(name) or RUN
        # A name alone has the form of a project's key too, and a run is what is mostly meant.
        found = RUN if found is PROJECT and kind is None else found
        return found.not_found(f"There is no {found.noun} {shown(name)}.", run_id=name)

    def has_begun(self) -> bool:
        """Whether anything was ever stored in it."""
        return self._store.has_begun()

    def url(self, run: RunId | None = None) -> str:
        """Return the address of the server, or of the page of a container."""
        if run is None:
            return self._address
        project = quote(self._project_of(run), safe="")
        own = "" if run.kind is PROJECT else f"/{PAGES[run.kind]}/{quote(self.id_of(run), safe='')}"
        return f"{self._address}/p/{project}{own}"

    def format_version(self) -> int | None:
        """Return the version of the store's form."""
        return self._store.format_version()

    def default_project(self) -> str:
        """Return the project of the view, or else of the store."""
        return self._project or self._store.default_project()

    def projects(self) -> dict[str, str]:
        """Return the names of the projects that it shows, by key."""
        return {key: name for key, name in self._store.projects().items() if self._project in (None, name)}

    def find(self, name: str, kind: ContainerKind | None = None) -> RunId:
        """Return the container with this id or uid.

        Raises:
            ContainerNotFound: there is none, or it is of another project: both look the same.
        """
        if self._project is None:
            return self._store.find(name, kind)
        try:
            run = self._store.find(name)
        except ContainerNotFound as error:
            raise self._missing(name, kind) from error
        if not self.sees(run) or kind not in (None, run.kind):
            raise self._missing(name, kind)
        return run

    def find_custom(self, project: str, custom_run_id: str) -> RunId | None:
        """Return the run that has this custom id in a project; None if there is none."""
        return self._store.find_custom(self._own(project), custom_run_id)

    def find_project(self, project: str) -> RunId | None:
        """Return the container of the project's own fields; None if nothing was ever written to them."""
        return self._store.find_project(self._own(project))

    def find_source(self, source: str) -> Reservation | None:
        """Return the container that was made of a source; None if there is none."""
        found = self._store.find_source(source)
        return found if found is not None and self.sees(found.run) else None

    def id_of(self, run: RunId) -> str:
        """Return the id under which a container is registered; its uid if there is none."""
        known = self._receiver.find(run.uid)
        return known.id if known is not None else self._store.id_of(run)

    def exists(self, run: RunId) -> bool:
        """Whether the container was begun and not deleted, and is shown."""
        return self._store.exists(run) and self.sees(run)

    def reader(self, run: RunId) -> RunReader:
        """Read a container.

        Raises:
            ContainerNotFound: it is of another project.
        """
        return self._store.reader(self._seen(run))

    def _seen(self, run: RunId) -> RunId:
        if not self.sees(run):
            raise self._missing(run.uid, run.kind)
        return run

    def project_reader(self, project: str) -> RunReader:
        """Read a project to which nothing was written."""
        return self._store.project_reader(self._own(project))

    def writer(
        self, run: RunId, *, role: str = "owner", first_ops: Sequence[Op] = (), on_error: str = "warn"
    ) -> RunWriter:
        """Write a container.

        Raises:
            ContainerNotFound: it is of another project.
        """
        return self._store.writer(self._seen(run), role=role, first_ops=first_ops, on_error=on_error)

    def reserve_run(self, project: str, custom_run_id: str | None = None) -> Reservation:
        """Take the next id of a project."""
        return self._store.reserve_run(self._own(project), custom_run_id)

    def reserve_model(self, project: str, key: str) -> Reservation:
        """Take the id of a model."""
        return self._store.reserve_model(self._own(project), key)

    def reserve_version(self, model: str) -> Reservation:
        """Take the next id among the versions of a model."""
        self.find(model, MODEL)
        return self._store.reserve_version(model)

    def reserve_project(self, project: str, key: str | None = None) -> Reservation:
        """Begin or join the fields of a project itself."""
        return self._store.reserve_project(self._own(project), key)

    def reserve_source(
        self, source: str, kind: ContainerKind, project: str, wish: str | None = None, parent: str = ""
    ) -> Reservation:
        """Take an id for a container from elsewhere."""
        return self._store.reserve_source(source, kind, self._own(project), wish, parent)

    def bind_source(self, source: str, run: RunId, name: str) -> bool:
        """Let a source mean a container that exists."""
        return self._store.bind_source(source, self._seen(run), name)

    def lock_source(self, source: str) -> AbstractContextManager[None]:
        """Keep out other processes that lock the same source."""
        return self._store.lock_source(source)

    def release(self, reservation: Reservation) -> None:
        """Take back the reservation of a container that could not be begun."""
        self._store.release(reservation)

    def move(self, run: RunId, project: str) -> NoReturn:  # noqa: ARG002 (the interface passes it)
        """Raise NeedsServer: tokens are for one project, so no run leaves it."""
        raise NeedsServer(f"{self.id_of(run)} cannot be moved to another project of a server.")

    def delete(self, runs: Sequence[tuple[str, RunId]]) -> None:
        """Delete containers for good.

        Raises:
            ContainerNotFound: one of them is of another project.
            BeingWritten: one of them is being written; then nothing is deleted.
        """
        # All of them are looked at before the first is deleted.
        self._store.delete([(name, self._seen(run)) for name, run in runs])
        for _name, run in runs:
            self._receiver.forget(run)

    def put_in_trash(self, runs: Sequence[RunId], *, is_out: bool) -> Sequence[RunId]:
        """Return those that are to be written here."""
        return self._store.put_in_trash([self._seen(run) for run in runs], is_out=is_out)

    def unfreed(self) -> tuple[int, float] | None:
        """Return the bytes that nothing refers to; of the whole store, so only a view of all projects does."""
        return self._store.unfreed() if self._project is None else None

    def forget_project(self, project: str) -> None:
        """Free the key of a project whose containers were deleted."""
        self._store.forget_project(self._own(project))

    def listener(self) -> Listener | None:
        """Return a listener to changes of the whole store, which it does not name."""
        return self._store.listener()

    def catalog(self) -> Catalog:
        """The catalog, with the containers of the project alone."""
        catalog = self._store.catalog()
        return catalog if self._project is None else CatalogView(catalog, self, self._project)


class CatalogView(Catalog):
    """The catalog of one project."""

    def __init__(self, catalog: Catalog, store: StoreView, project: str) -> None:
        self._catalog = catalog
        self._store = store
        self._project = project

    def _own(self, project: str | None) -> str:
        return self._store._own(self._project if project is None else project)

    def answer(self, call: str, **arguments: Any) -> Any:
        """Return the result of a call in the project; those without one are methods of their own below."""
        arguments["project"] = self._own(arguments["project"])
        return getattr(self._catalog, call)(**arguments)

    def projects(self) -> list[ProjectCounts]:
        """Return the one project."""
        return [each for each in self._catalog.projects() if each.name == self._project]

    def changes(self, since: str | None = None) -> Changes:
        """Return the changes of the project since a mark."""
        found = self._catalog.changes(since)
        keys = {key for key, _name in self._store.projects().items()}
        rows = [row for row in found.rows if row.project == self._project]
        return found._replace(
            rows=rows,
            new=found.new & {row.uid for row in rows},
            # A removed container has no project any more; its id still has the key of one.
            removed=[(uid, name) for uid, name in found.removed if name.partition("-")[0] in keys],
        )

    def cells(self, run: RunId) -> Mapping[tuple[str, str], Cell]:
        """Return the cells of one container."""
        return self._catalog.cells(self._store._seen(run))
