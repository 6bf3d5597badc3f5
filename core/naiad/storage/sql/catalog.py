"""The catalog in SQL: one table of calls, for SQLite and PostgreSQL, over a transaction that a back end opens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from naiad.storage import catalog
from naiad.storage.sql import grid, rows, summaries
from naiad.storage.sql.connection import Connection

T = TypeVar("T")


class SqlCatalog(catalog.Catalog):
    """A catalog whose containers lie in the tables of `naiad.storage.sql.tables`; a back end opens them in `read`."""

    progress_bar: bool | None = False
    """Whether to show a bar while many runs are read; as users say it."""

    def read(self, read: Callable[[Connection], T]) -> T:
        """Return the result of a function that reads in one transaction, in which the tables are up to date."""
        raise NotImplementedError

    def answer(self, call: str, **arguments: Any) -> Any:
        """Return the result of a call; `cells`, which need not look at the tables, is the back end's own."""
        self.progress_bar = arguments.pop("progress_bar", False)
        if "condition" in arguments:
            arguments["tree"] = arguments.pop("condition")
        return self.read(partial(_CALLS[call], **arguments))


_CALLS: dict[str, Callable[..., Any]] = {
    "summaries": summaries.summaries,
    "search": rows.find,
    "grid": grid.grid,
    "page": grid.page,
    "count": grid.count,
    "fields": grid.known_fields,
    "common_values": grid.common_values,
    "groups": grid.groups,
    "projects": grid.projects,
    "changes": summaries.changes,
}
