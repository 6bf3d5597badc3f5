"""`neptune.table`: naiad's tables as the iterators that Neptune's are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from naiad.as_neptune import views
from naiad.as_neptune.kinds import ContainerType
from naiad.errors import InvalidQuery
from naiad.typing import ProgressBarType

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "TableEntry", "as_neptune", "parse_dates", "prepare_nql_query", "to_pandas"]

BY_DEFAULT = "sys/creation_time"
STATE = "sys/state"
Place = str | os.PathLike[str] | None


class TableEntry:
    """One row of a table."""

    def __init__(self, row: Any) -> None:
        self._row = row

    @property
    def _id(self) -> str:
        """The id of the container, by the name under which packages look for it."""
        return str(self._row.get_attribute_value("sys/id"))

    @property
    def _container_type(self) -> ContainerType:
        """The kind of the container, by the name under which programs compare it."""
        return ContainerType(self._row.table._kind.name)

    def __getitem__(self, path: str) -> LeaderboardHandler:
        return LeaderboardHandler(self, path)

    def get_attribute_type(self, path: str) -> str:
        """Return Neptune's name for the kind of a field."""
        return str(self._row.get_attribute_type(path))

    def get_attribute_value(self, path: str) -> Any:
        """Return the value of a field, the last one of a series."""
        value = views.in_milliseconds(self._row.get_attribute_value(path))
        return views.state(value) if self.get_attribute_type(path) == "experimentState" else value

    def download_file_attribute(
        self, path: str, destination: Place = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Download the content of a File."""
        views.let_replace()
        self._row.download_file_attribute(path, destination, progress_bar)

    def download_file_set_attribute(
        self, path: str, destination: Place = None, progress_bar: ProgressBarType | None = None
    ) -> None:
        """Download the files of a FileSet as an archive, with the entry "/"."""
        archive = views.archive_of(path, destination)
        self._row.download_file_set_attribute(path, archive, progress_bar)
        views.with_root(archive)


class LeaderboardHandler:
    """One cell of a row."""

    def __init__(self, table_entry: TableEntry, path: str) -> None:
        self._table_entry = table_entry
        self._path = path

    def __getitem__(self, path: str) -> LeaderboardHandler:
        return LeaderboardHandler(self._table_entry, f"{self._path}/{path}")

    def get(self) -> Any:
        """Return the value."""
        return self._table_entry.get_attribute_value(self._path)

    def download(self, destination: Place = None) -> None:
        """Download a File or a FileSet."""
        if self._table_entry.get_attribute_type(self._path) == "fileSet":
            self._table_entry.download_file_set_attribute(self._path, destination)
        else:
            self._table_entry.download_file_attribute(self._path, destination)


class Table:
    """A table that is also an iterator.

    Iterating resumes after the last row that was read; at the end it starts again.

    A query that is none raises here, at the first use.
    """

    def __init__(self, found: Any) -> None:
        self._found = found
        self._rows: Iterator[TableEntry] | None = None

    @property
    def _table(self) -> Any:
        # Raised late, as the client does: programs wrap the loop over the rows and not the call in `try`.
        if isinstance(self._found, InvalidQuery):
            raise self._found
        return self._found

    def __iter__(self) -> Table:
        return self

    def __next__(self) -> TableEntry:
        if self._rows is None:
            self._rows = iter(self.to_rows())
        try:
            return next(self._rows)
        except StopIteration:
            # Ready for the next loop: a table may be read from the start again.
            self._rows = None
            raise

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return repr(self._found)

    def _repr_html_(self) -> str:
        return str(self._table._repr_html_())

    def to_rows(self) -> list[TableEntry]:
        """Return all rows."""
        return [TableEntry(row) for row in self._table.to_rows()]

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each container and a column for each field that has values."""
        frame: pd.DataFrame = self._table.to_pandas()
        if STATE in frame:
            frame[STATE] = frame[STATE].map(views.state, na_action="ignore")
        for name in frame.select_dtypes("datetime"):
            # Down, as `in_milliseconds` cuts: rounding up would give a moment that no row has.
            frame[name] = frame[name].dt.floor("ms")
        return frame


def as_neptune(fetch: Callable[..., Any], options: dict[str, Any]) -> Table:
    """Return a table of naiad as one of Neptune's; an invalid query raises when the table is used."""
    try:
        found = fetch(**options)
    except InvalidQuery as problem:
        return Table(problem)
    column = options.get("sort_by", BY_DEFAULT)
    if column != BY_DEFAULT:
        # Without the limit and the query: the client refuses by what is in the project, not by what is found.
        everywhere = fetch(columns=[column])
        views.refuse_mixed(column, _kinds(everywhere, column))
    return Table(found)


def _kinds(table: Any, column: str) -> Iterator[str]:
    for row in table:
        try:
            yield row.get_attribute_type(column)
        except ValueError:  # this one has no such field
            continue


def to_pandas(table: Table) -> pd.DataFrame:
    """Return a table as a DataFrame."""
    return table.to_pandas()


def parse_dates(leaderboard_entries: Iterable[TableEntry]) -> Iterator[TableEntry]:
    """Yield rows as they are: their moments are datetimes already."""
    yield from leaderboard_entries


def prepare_nql_query(
    ids: Iterable[str] | None,
    states: Iterable[str] | None,
    owners: Iterable[str] | None,
    tags: Iterable[str] | None,
    trashed: bool | None,
) -> str:
    """Return criteria as a query in NQL, which `fetch_runs_table` takes.

    >>> prepare_nql_query(["A-1", "A-2"], None, None, None, False)
    '(`sys/trashed`:bool = false) AND (`sys/id`:string = "A-1" OR `sys/id`:string = "A-2")'
    """
    clauses = [] if trashed is None else [f"(`sys/trashed`:bool = {str(trashed).lower()})"]
    for given, clause, between in (
        (ids, "`sys/id`:string = {}", " OR "),
        (states, "`sys/state`:experimentState = {}", " OR "),
        (owners, "`sys/owner`:string = {}", " OR "),
        # Tags alone are joined with AND: a container has many of them, and one id, state and owner.
        (tags, "`sys/tags`:stringSet CONTAINS {}", " AND "),
    ):
        if given:
            clauses.append(f"({between.join(clause.format(_quoted(each)) for each in given)})")
    return " AND ".join(clauses)


def _quoted(text: str) -> str:
    # Backslashes first: otherwise those that escape quotes would be doubled too.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
