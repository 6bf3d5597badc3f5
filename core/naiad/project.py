"""The project: fields shared by its runs and models, and tables of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naiad import options
from naiad.container import Container, first_ops
from naiad.container_kinds import MODEL, PROJECT, RUN, RunId
from naiad.errors import ProjectNotFound
from naiad.storage.base import Store
from naiad.storage.catalog import Summary
from naiad.storage.opening import Place
from naiad.table import Table, fetch_table

if TYPE_CHECKING:
    from naiad.ops import Op
    from naiad.typing import ProgressBarType

PRIVATE = "priv"
"""The visibility of a project by default."""


class Project(Container):
    """The runs and models of one project in a store, and metadata of the project itself.

    Args:
        project: the name of the project; by default NAIAD_PROJECT, else the name of the folder that holds the store.
        api_token: of a server, `naiad_...`; a folder needs none.
        mode: "async" (default, or NAIAD_MODE), "sync", "read-only" or "debug", as for a run; "offline" is for runs
            only.
        flush_period: no effect, because a call has stored its data when it returns.
        proxies: no effect.
        async_lag_callback: no effect.
        async_lag_threshold: no effect.
        async_no_progress_callback: no effect.
        async_no_progress_threshold: no effect.
        store: a folder or the address of a server. Default: NAIAD_STORE, else the nearest `.naiad` in or above the
            working directory.
        strict: raise for values that no field accepts, instead of leaving them out with a warning. Default:
            NAIAD_STRICT.
        limits: "neptune" cuts long texts and rejects steps that do not increase, as Neptune did.
        on_error: "warn" continues if the disk fails; "raise" raises.

    Raises:
        ProjectNotFound: the store has no project of this name.

    >>> with init_project() as project:
    ...     project["datasets/train/version"] = 3
    ...     for run in project.runs():
    ...         print(run.id, run.state)
    """

    _kind = PROJECT
    _writable = frozenset({"sys/description", "sys/tags", "sys/group_tags"})  # runs know their project by its name

    def __init__(
        self,
        project: str | None = None,
        *,
        api_token: str | None = None,
        mode: str | None = None,
        flush_period: float = 5,
        proxies: dict[str, str] | None = None,
        async_lag_callback: Any = None,
        async_lag_threshold: float = 1800.0,
        async_no_progress_callback: Any = None,
        async_no_progress_threshold: float = 300.0,
        store: Place = None,
        strict: bool | None = None,
        limits: str | None = None,
        on_error: str = "warn",
        **unknown: Any,
    ) -> None:
        options.check_opening(self._kind, locals())
        self._settings = options.settings(mode, strict, limits, on_error)
        options.refuse_offline(PROJECT, self._mode)
        self._open_store(store)
        self._name = options.project_name(project) or self._store.default_project()
        # Only a name that was given: the default project is made by its first run.
        if project and self._mode != "debug":
            existing_project(self._store, project)
        self._begin()

    def _begin(self) -> None:
        if self._mode != "read-only":
            reservation = self._store.reserve_project(self._name)
            self._enter(reservation, project_ops(reservation.id, self._name), {})
            return
        run = self._store.find_project(self._name)
        if run is not None:
            self._go_on(run, None, {})
        else:  # it has runs, and nothing was ever written to itself
            self._run = RunId("", PROJECT)
            reader = self._store.project_reader(self._name)
            self._id = str(reader.values("sys").get("sys/id", self._name))
            self._open(self._session_of(f"{self._store} {self._name}", lambda: reader))
            self._session.refresh()

    def __repr__(self) -> str:
        return f"<Project {self._name}>"

    @property
    def name(self) -> str:
        """The name of the project."""
        return self._name

    def runs(self) -> Iterator[Summary]:
        """Yield the facts of each run outside the trash, newest first.

        `init_run(with_id=run.id, ...)` opens one.
        """
        self._session.require_active()
        yield from self._store.catalog().summaries(self._name)

    def fetch_runs_table(
        self,
        *,
        query: str | None = None,
        id: str | Sequence[str] | None = None,
        state: str | Sequence[str] | None = None,
        owner: str | Sequence[str] | None = None,
        tag: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        trashed: bool | None = False,
        limit: int | None = None,
        sort_by: str = "sys/creation_time",
        ascending: bool = False,
        progress_bar: ProgressBarType | None = None,
        parent: str | Sequence[str] | None = None,
        rollup: bool = False,
    ) -> Table:
        """Find runs of this project, by default the newest first.

        Args:
            query: a condition in the query language: `"lr > 0.1 AND sys/tags CONTAINS 'good'"`. Without a type, a
                number matches Integer, Float and the last value of a FloatSeries; a text matches String and
                StringSeries; true and false match Boolean; an ISO date matches Datetime. `lr:float` selects a type.
                Besides comparisons there are `IN (1, 2)`, `BETWEEN 1 AND 5`, `CONTAINS`, `MATCHES` and `EXISTS`, each
                also with NOT.
            id: any of these ids. This and the next three arguments cannot be combined with `query`.
            state: any of these states: running, finished, failed, terminated, killed or unknown.
            owner: any of these users.
            tag: all of these tags.
            columns: only these fields; a path of a series may be followed by `:min`, `:max`, `:average` or `:variance`.
                `*` matches any characters, as in `"metrics/*"`.
            trashed: False excludes the trash, True returns only the trash, None returns both.
            limit: the largest number of rows.
            sort_by: a column; runs without a value come last. If no run has one, there is a warning, and the order is
                unchanged.
            ascending: sort the smallest value first.
            progress_bar: a class of your own, called when the table has been read.
            parent: only children of this run, or of any of these runs.
            rollup: leave out children, and aggregate them in the row of their parent: `sys/children/count`,
                `sys/children/state`, and for each numeric field, such as `val/acc`, the mean of the children's values
                as `sys/children/val/acc`, also with `:min`, `:max` and `:variance`. `query` and the other conditions
                select parents, not children.

        Raises:
            InvalidQuery: `query` is malformed.
            InvalidArgument: another argument is invalid, or the table cannot be sorted by that column.
            RunNotFound: there is no run `parent`.
        """
        self._session.require_active()
        return fetch_table(
            self._store, self._name, RUN, query=query, id=id, state=state, owner=owner, tag=tag, columns=columns,
            trashed=trashed, limit=limit, sort_by=sort_by, ascending=ascending, progress_bar=progress_bar,
            parent=parent, rollup=rollup,
        )  # fmt: skip

    def fetch_models_table(
        self,
        *,
        query: str | None = None,
        columns: Sequence[str] | None = None,
        trashed: bool | None = False,
        limit: int | None = None,
        sort_by: str = "sys/creation_time",
        ascending: bool = False,
        progress_bar: ProgressBarType | None = None,
    ) -> Table:
        """Find models of this project; the arguments are those of `fetch_runs_table`."""
        self._session.require_active()
        return fetch_table(
            self._store, self._name, MODEL, query=query, columns=columns, trashed=trashed, limit=limit,
            sort_by=sort_by, ascending=ascending, progress_bar=progress_bar,
        )  # fmt: skip

    def fetch_series(
        self,
        paths: str | Sequence[str],
        *,
        runs: str | Sequence[str] | None = None,
        to: str = "pandas",
        include_timestamp: bool = True,
    ) -> Any:
        """Return series of many runs as one table: run, path, step, value and timestamp (UTC).

        A run without a series has no rows for it.

        Args:
            paths: paths of series of numbers, or of texts; `*` matches any characters.
            runs: a query as in `fetch_runs_table`, or ids; None for all runs outside the trash.
            to: "pandas", "arrow" (a pyarrow Table) or "polars".
            include_timestamp: False leaves out that column.

        Raises:
            InvalidQuery: `runs` is a malformed query.
            RunNotFound: there is no run with one of the ids.
            InvalidArgument: the library is unknown, or numbers and texts are mixed.
            MissingPackage: the library is not installed.

        >>> frame = init_project().fetch_series("train/loss", runs="lr > 0.1")
        """
        from naiad.export.frames import fetch_series  # it imports NumPy

        return fetch_series(self._store, self._chosen(runs), paths, to, include_timestamp)

    def export(
        self, destination: str | os.PathLike[str], *, format: str = "parquet", runs: str | Sequence[str] | None = None
    ) -> list[Path]:
        """Write runs to a folder, and return the files with their rows; see `naiad export`.

        Args:
            destination: a folder, which is created if it does not exist.
            format: "parquet", which `naiad import neptune-export` reads back, "csv" or "json".
            runs: a query as in `fetch_runs_table`, or ids; None for all runs outside the trash.

        Raises:
            InvalidArgument: the format is unknown.
            StorageError: the folder cannot be written.
            MissingPackage: parquet without pyarrow.
        """
        from naiad.export.dump import export_runs  # it imports NumPy

        return export_runs(self._store, [run for _name, run in self._chosen(runs)], destination, format)

    def _chosen(self, runs: str | Sequence[str] | None) -> list[tuple[str, RunId]]:
        """Return ids and names of the runs that a query or a list of ids selects, the oldest first."""
        self._session.require_active()
        if runs is None:
            return [(each.id, each.run) for each in reversed([*self.runs()])]
        if isinstance(runs, str):
            rows = self.fetch_runs_table(query=runs, columns=[], ascending=True, progress_bar=False).to_rows()
            runs = [str(row.get_attribute_value("sys/id")) for row in rows]
        return [(name, self._store.find(name, RUN)) for name in runs]

    def _address(self) -> str:
        """The address of the store."""
        return self._store.url()

    def _page(self) -> list[str]:
        return ["p", self._name]


def existing_project(store: Store, name: str) -> None:
    """Make sure that a store has a project: it was made, or has runs, be they copied in from another store.

    Raises:
        ProjectNotFound: it has none of this name; the message names those it has.
    """
    # The short ways first: a project that was made here is registered, and of one that was copied in a run is enough.
    if name in store.projects().values():
        return
    with contextlib.suppress(ProjectNotFound):  # of a server, for a token of another project; it is named below
        if store.has_begun() and store.catalog().summaries(name, kind=None, is_trashed=None, limit=1):
            return
    names = ", ".join(sorted(map(repr, known_projects(store)))) or "none"
    raise ProjectNotFound(
        f"Store {store} has no project {name!r}. It has: {names}.\n"
        "Create it by its first run or by naiad.management.create_project().",
        project=name,
    )


def known_projects(store: Store) -> set[str]:
    """The names of all projects that were made in a store or have runs or models in it."""
    # Runs copied in from another store have a project without a key here.
    found = store.catalog().projects() if store.has_begun() else []
    return {*store.projects().values(), *(each.name for each in found if each.name)}


def project_ops(key: str, name: str, description: str | None = None, visibility: str = PRIVATE) -> list[Op]:
    """Return the first ops of a project."""
    texts = {"id": key, "project": name, "name": name, "description": description or "", "visibility": visibility}
    chosen = ["description"] * bool(description) + ["visibility"] * (visibility != PRIVATE)
    return first_ops(texts, may_join=True, chosen=chosen)


init_project = Project
"""Open a project; the same as the class."""
