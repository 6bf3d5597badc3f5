"""The project: what a store's runs have in common. For now it is there to read; its own metadata comes later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from naiad import ids, options
from naiad.containers import Container
from naiad.errors import InactiveProject, MissingField, NaiadError, ProjectNotFound
from naiad.scope import ContainerScope
from naiad.store.folder import RunFolder
from naiad.store.reader import Reader
from naiad.store.store import Store

if TYPE_CHECKING:
    from naiad.store.catalog import Summary

__all__ = ["Project", "init_project"]


class Project(Container):
    """The runs of one project in a store.

    Args:
        project: its name; else NAIAD_PROJECT, else the name of the folder that holds the store.
        api_token: not needed.
        mode: any of Run's but "offline". Writing to a project comes later, so that all of them read.
        flush_period: no effect.
        proxies: no effect.
        async_lag_callback: no effect.
        async_lag_threshold: no effect.
        async_no_progress_callback: no effect.
        async_no_progress_threshold: no effect.
        store: the folder to look in; else NAIAD_STORE, else the nearest `.naiad` here or above.

    Raises:
        ProjectNotFound: the store has no project of the name given.

    >>> for run in init_project().runs():
    ...     print(run.id, run.state)
    """

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
        store: str | os.PathLike[str] | None = None,
        **unknown: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "unknown")}
        options.refuse_unknown("Project", unknown)
        options.check(**given)
        if options.mode_of(mode) == "offline":
            raise NaiadError("A project cannot be opened in offline mode; leave mode= out.")
        project = options.project_name(project)
        self._store = Store.locate(store)
        self._name = project or self._store.default_project()
        if project is not None and project not in self._store.projects().values():
            known = ", ".join(sorted(map(repr, self._store.projects().values()))) or "none"
            raise ProjectNotFound(f"Store {self._store.root} has no project {project!r}. It has: {known}.")
        options.say_what_is_missing(**given)
        title = f"Project {self._name}"
        scope = ContainerScope(
            title, f"{self._store.root} {title}", _Facts(self._store, self._name), None, inactive=InactiveProject
        )
        scope.refresh()
        self._open(scope)

    def __repr__(self) -> str:
        return f"<Project {self._name}>"

    @property
    def name(self) -> str:
        """The name of the project."""
        return self._name

    def runs(self) -> Iterator[Summary]:
        """Yield what the catalog knows of each run, the newest first. `init_run(with_id=run.id, ...)` opens one."""
        self._scope.require_active()
        yield from self._store.catalog().rows(self._name)

    def get_url(self) -> str:
        """Return the address of the store's folder."""
        return self._store.root.absolute().as_uri()


class _Facts(Reader):
    """What a project's fields say, in the way a reader says it: facts that follow from the store and its runs."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(RunFolder(store.root))
        self._store = store
        self._name = name

    def kinds(self) -> dict[str, str]:
        """Path and kind of each."""
        return {path: kind for path, (kind, _value) in self.atoms().items()}

    def atoms(self, prefix: str = "") -> dict[str, tuple[str, Any]]:
        """Kind and value of all below a namespace."""
        keys = [key for key, project in self._store.projects().items() if project == self._name]
        facts: dict[str, Any] = {
            "sys/id": keys[0] if keys else ids.project_key(self._name),
            "sys/name": self._name,
            "sys/visibility": "priv",
        }
        return {path: ("string", value) for path, value in facts.items() if not prefix or path.startswith(f"{prefix}/")}

    def atom(self, path: str) -> tuple[str, Any]:
        """Kind and value of one."""
        try:
            return self.atoms()[path]
        except KeyError:
            raise MissingField(f'Project {self._name} has no field "{path}".', path=path) from None


init_project = Project
"""Open a project; the same as the class."""
