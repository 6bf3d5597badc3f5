"""The catalog of a server: each call of the interface is one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from naiad.container_kinds import RUN, ContainerKind, RunId
from naiad.query.tree import Node
from naiad.ship import shipper
from naiad.ship.client import Client
from naiad.storage.catalog import Catalog, Cell, Changes, Found, Grid, Groups, ProjectCounts, Summary
from naiad.storage.remote.asking import ask

FLUSH_SECONDS = 5.0
"""How long a call waits for what this process itself has written to reach the server."""


class RemoteCatalog(Catalog):
    """The values of all containers that the token may see. See `naiad.storage.catalog.Catalog`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def summaries(
        self,
        project: str | None = None,
        tags: Sequence[str] = (),
        state: str | None = None,
        *,
        kind: ContainerKind | None = RUN,
        is_trashed: bool | None = False,
        condition: Node | None = None,
    ) -> list[Summary]:
        """Return the containers of a kind, or of all, newest first."""
        found: list[Summary] = self._ask(
            "summaries",
            project=project,
            tags=list(tags),
            state=state,
            kind=kind,
            is_trashed=is_trashed,
            condition=condition,
        )
        return found

    def search(
        self,
        kind: ContainerKind,
        project: str | None,
        condition: Node | None,
        *,
        sort_by: str = "sys/creation_time",
        is_ascending: bool = False,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
        progress_bar: bool | None = False,  # noqa: ARG002 (one answer has no steps to show)
    ) -> Found:
        """Find the containers of a kind for which a condition holds."""
        wanted = None if columns is None else list(columns)
        found: Found = self._ask(
            "search", kind=kind, project=project, condition=condition, sort_by=sort_by, is_ascending=is_ascending,
            limit=limit, columns=wanted,
        )  # fmt: skip
        return found

    def grid(
        self,
        kind: ContainerKind,
        project: str | None,
        condition: Node | None,
        *,
        sort: Sequence[tuple[str, bool]] = (),
        limit: int | None = None,
        offset: int = 0,
        columns: Sequence[str] = (),
    ) -> Grid:
        """Find containers, and return the cells of some columns, column by column."""
        found: Grid = self._ask(
            "grid", kind=kind, project=project, condition=condition, sort=list(sort), limit=limit, offset=offset,
            columns=list(columns),
        )  # fmt: skip
        return found

    def count(self, kind: ContainerKind, project: str | None, condition: Node | None) -> int:
        """Return how many containers a condition holds for."""
        return int(self._ask("count", kind=kind, project=project, condition=condition))

    def fields(self, kind: ContainerKind, project: str | None) -> list[tuple[str, str]]:
        """Return path and kind of every field that some container has, sorted."""
        found: list[tuple[str, str]] = self._ask("fields", kind=kind, project=project)
        return found

    def common_values(
        self, kind: ContainerKind, project: str | None, path: str, search: str = "", limit: int = 100
    ) -> tuple[int, list[tuple[str, Cell, int]]]:
        """Return how many values a field has, and the most frequent ones."""
        found: tuple[int, list[tuple[str, Cell, int]]] = self._ask(
            "common_values", kind=kind, project=project, path=path, search=search, limit=limit
        )
        return found

    def groups(
        self,
        kind: ContainerKind,
        project: str | None,
        condition: Node | None,
        by: Sequence[str],
        columns: Sequence[str] = (),
        limit: int = 1000,
    ) -> Groups:
        """Group containers by the values of some columns."""
        found: Groups = self._ask(
            "groups", kind=kind, project=project, condition=condition, by=list(by), columns=list(columns), limit=limit
        )
        return found

    def projects(self) -> list[ProjectCounts]:
        """Return the projects that have containers, the one with the latest first."""
        found: list[ProjectCounts] = self._ask("projects")
        return found

    def changes(self, since: str | None = None) -> Changes:
        """Return the changes since a mark of an earlier call."""
        found: Changes = self._ask("changes", since=since)
        return found

    def cells(self, run: RunId) -> Mapping[tuple[str, str], Cell]:
        """Return the cells of one container by path and kind."""
        found: Mapping[tuple[str, str], Cell] = self._ask("cells", run=run)
        return found

    def _ask(self, call: str, **arguments: Any) -> Any:
        shipper.of_process.flush_all(self._client.url, FLUSH_SECONDS)
        return ask(self._client, "catalog", call, arguments)
