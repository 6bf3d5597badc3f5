"""The catalog of the storage interface: one line of values for each container, to be listed and searched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from naiad.container_kinds import RUN, ContainerKind, RunId
from naiad.errors import InvalidArgument
from naiad.kinds import ASPECTS

if TYPE_CHECKING:
    from naiad.query.tree import Node  # only the catalog is typed by it

Cell: TypeAlias = Any
"""A bool, int, float or str; microseconds of a datetime; the tags of a string set; `ASPECTS` of a float series, each
None without finite values; the last text of a string series; None where there is nothing to show."""


class Losses(NamedTuple):
    """The part of a container that its cells lack, because it is damaged or was never stored."""

    damaged: tuple[str, ...] = ()
    """Paths of damaged fields, at most `MOST_DAMAGED`; an empty path stands for fields that cannot be named."""
    dropped: int = 0
    """Points and ops that could not be stored."""


NO_LOSSES = Losses()
MOST_DAMAGED = 100
MOST_SORTED = 8
"""Columns to sort by. SQLite 3.40 ends the process by a segmentation fault at 64 terms, and a column has up to six."""


class Row(NamedTuple):
    """One container that was found, with its cells by the number of the field."""

    uid: str
    id: str
    cells: Mapping[int, Cell]


class ColumnRows(Sequence[Row]):
    """Rows that can also be taken column by column, without an object for each number."""

    def columns(self) -> Mapping[int, Any] | None:
        """The cells by the number of their field, one for each row, None where a row has none; None for no columns.

        The column of floats is an array, with NaN where there is none; that of a series of numbers is an array with
        `ASPECTS` as its second dimension. All others are lists.
        """
        raise NotImplementedError

    def last_values(self) -> tuple[Mapping[int, int], Any]:
        """Lines of numbers, in each the last values of one field, and the place of each field that has no others.

        They are those of `columns`, for a table of very many: without an array for each.
        """
        raise NotImplementedError


class Unmatched(NamedTuple):
    """A field that a search names, and that could not match as it was meant."""

    path: str
    kinds: Mapping[str, int]
    """How many containers have a field of another kind at this path, by kind; none if no container has the field."""
    nearby: tuple[str, ...] = ()
    """Paths that look alike, of a field that no container has."""


class Found(NamedTuple):
    """The containers that a search found, in order; `fields` is path and kind of each number in their cells."""

    fields: Mapping[int, tuple[str, str]]
    rows: Sequence[Row]
    unmatched: Sequence[Unmatched] = ()
    losses: Mapping[str, Losses] = {}
    """By id or uid, those with damage among them, and others that may be missing because a field they are searched or
    sorted by is damaged."""


class Summary(Struct, frozen=True):
    """One run, or other container, as a listing shows it; `state` is also `damaged` or `newer` if it cannot be read.

    `seen` is the last sign of life of its writers.
    """

    uid: str
    kind: ContainerKind
    id: str
    project: str
    name: str
    state: str
    created: datetime | None
    modified: datetime | None
    seen: datetime | None
    owner: str
    tags: tuple[str, ...]
    group_tags: tuple[str, ...]
    description: str
    size: float
    failed: bool
    custom_run_id: str | None
    trashed: bool
    model_id: str | None
    stage: str | None
    losses: Losses = NO_LOSSES
    parent: str | None = None
    """Of a child: the id that its parent had when it began."""
    parent_uid: str | None = None

    @property
    def run(self) -> RunId:
        """The name of the container in its store."""
        return RunId(self.uid, self.kind)


class Grid(NamedTuple):
    """Containers that were found, in order, column by column: every list has one item for each of them.

    A field that a container lacks has `ABSENT` for a cell; one without a value to show has None.
    """

    uids: list[str]
    ids: list[str]
    projects: list[str]
    states: list[str]
    columns: dict[tuple[str, str], list[Cell]]
    """The cells by path and kind of the field; only fields that some container of the store has."""
    unmatched: Sequence[Unmatched] = ()
    """As of `Found`."""


class Page(NamedTuple):
    """A part of the containers that were found, and the place at which it ends."""

    grid: Grid
    end: str
    """Given as `after`, the next page goes on there, whatever has changed in between; empty if nothing comes after."""


ABSENT: Final = "\0absent"
"""The cell of a field that a container does not have; compare it by `is`."""


class Groups(NamedTuple):
    """Containers grouped by the values of some columns, the largest group first; lists have an item for each group."""

    total: int
    """How many groups there are; the lists may hold fewer."""
    keys: list[tuple[Cell, ...]]
    """The value of each column; None where a container has none."""
    counts: list[int]
    numbers: dict[str, list[tuple[int, float | None, float | None, float | None]]]
    """Of each column of numbers: how many containers have one, the least, the largest and the mean of them."""


class Changes(NamedTuple):
    """The changes of a store since a mark. A mark is a text that other processes understand too."""

    mark: str
    """For the next call."""
    is_all: bool
    """Whether the mark that was given means nothing any more, so that everything may have changed."""
    rows: Sequence[Summary]
    """The containers that are new or changed, those in the trash included."""
    new: frozenset[str]
    """The uids of those that are new."""
    removed: Sequence[tuple[str, str]]
    """Uid and id of those that were deleted."""


class ProjectCounts(NamedTuple):
    """How many containers a project has."""

    name: str
    counts: Mapping[str, int]
    """By the name of their kind; those in the trash are left out."""
    trashed: int
    latest: int | None
    """When the last one was created, in microseconds since 1970 UTC."""


def column_pattern(column: str) -> re.Pattern[str] | None:
    """Return the pattern of the paths that a column with `*` means; None of a column without.

    >>> bool(column_pattern("metrics/*:min").fullmatch("metrics/train/loss"))
    True
    """
    # Only `*` has a meaning: paths may hold the other characters of patterns.
    if "*" not in column:
        return None
    path, _aspect = path_and_aspect(column)
    return re.compile(".*".join(map(re.escape, path.split("*"))), re.DOTALL)


def path_and_aspect(column: str) -> tuple[str, str]:
    """Split a column such as `train/loss:min` into its path and the aspect of a series.

    >>> path_and_aspect("train/loss:min"), path_and_aspect("train/loss")
    (('train/loss', 'min'), ('train/loss', 'last'))
    """
    path, _, aspect = column.rpartition(":")
    # Only a known aspect is split off: a path may have colons of its own.
    return (path, aspect) if path and aspect in ASPECTS else (column, "last")


class Catalog(Protocol):
    """The values of all containers of a store, to be listed and searched. Each call sees them as they are then.

    A back end implements `answer`: each other method is a call by its name, with all of its arguments.
    """

    def answer(self, call: str, **arguments: Any) -> Any:
        """Return the result of the method `call` for its arguments by name."""

    def summaries(
        self,
        project: str | None = None,
        tags: Sequence[str] = (),
        state: str | None = None,
        *,
        kind: ContainerKind | None = RUN,
        is_trashed: bool | None = False,
        condition: Node | None = None,
        limit: int | None = None,
        progress_bar: bool | None = False,
    ) -> list[Summary]:
        """Return the containers of a kind, or of all, newest first; those of a project, with all the tags, in a state.

        `is_trashed` chooses those in the trash instead; None both. `condition` is a further one.
        """
        found: list[Summary] = self.answer(
            "summaries",
            project=project,
            tags=tags,
            state=state,
            kind=kind,
            is_trashed=is_trashed,
            condition=condition,
            limit=limit,
            progress_bar=progress_bar,
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
        progress_bar: bool | None = False,
    ) -> Found:
        """Find the containers of a kind in a project, or in all, for which a condition holds.

        Those without a value to sort by come last; if no container has one, the newest come first. `columns` limits
        the fields of the result, not the search; `*` in a column stands for any characters. Fields that the condition
        or the order names, and that no container has or some have of another kind, are in `Found.unmatched`.

        Raises:
            InvalidArgument: nothing can be sorted by that column.
        """
        found: Found = self.answer(
            "search",
            kind=kind,
            project=project,
            condition=condition,
            sort_by=sort_by,
            is_ascending=is_ascending,
            limit=limit,
            columns=columns,
            progress_bar=progress_bar,
        )
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
        """Find containers as `search` does, and return the cells of some columns, column by column.

        Args:
            kind: the kind of containers to find.
            project: only in this project.
            condition: the condition that they meet.
            sort: columns to sort by, the first counts most, and whether each is ascending; by default the newest first.
            limit: at most so many.
            offset: leave out so many before them.
            columns: paths, or paths with an aspect; patterns are not known here.

        Raises:
            InvalidArgument: nothing can be sorted by one of the columns, or they are more than `MOST_SORTED`.
        """
        if len(sort) > MOST_SORTED:
            raise InvalidArgument(
                f"Containers are sorted by at most {MOST_SORTED} columns, and {len(sort)} were given.", argument="sort"
            )
        found: Grid = self.answer(
            "grid",
            kind=kind,
            project=project,
            condition=condition,
            sort=sort,
            limit=limit,
            offset=offset,
            columns=columns,
        )
        return found

    def page(
        self,
        kind: ContainerKind,
        project: str | None,
        condition: Node | None,
        *,
        sort: Sequence[tuple[str, bool]] = (),
        limit: int,
        offset: int = 0,
        after: str = "",
        columns: Sequence[str] = (),
    ) -> Page:
        """Find containers as `grid` does, and return the place at which the page ends.

        Successive pages hold each container that stays where it is once: none is left out because others appear,
        change or go.

        Args:
            kind: the kind of containers to find.
            project: only in this project.
            condition: the condition that they meet.
            sort: as of `grid`; the same for all pages.
            limit: at most so many.
            offset: leave out so many before them.
            after: the end of another page, after which this one begins.
            columns: as of `grid`.

        Raises:
            InvalidArgument: as by `grid`, or `after` is not the end of a page.
        """
        if len(sort) > MOST_SORTED:
            raise InvalidArgument(
                f"Containers are sorted by at most {MOST_SORTED} columns, and {len(sort)} were given.", argument="sort"
            )
        found: Page = self.answer(
            "page",
            kind=kind,
            project=project,
            condition=condition,
            sort=sort,
            limit=limit,
            offset=offset,
            after=after,
            columns=columns,
        )
        return found

    def count(self, kind: ContainerKind, project: str | None, condition: Node | None) -> int:
        """Return how many containers of a kind in a project, or in all, a condition holds for."""
        found: int = self.answer("count", kind=kind, project=project, condition=condition)
        return found

    def fields(self, kind: ContainerKind, project: str | None) -> list[tuple[str, str]]:
        """Return path and kind of every field that some container of a kind in a project has, sorted."""
        found: list[tuple[str, str]] = self.answer("fields", kind=kind, project=project)
        return found

    def common_values(
        self, kind: ContainerKind, project: str | None, path: str, search: str = "", limit: int = 100
    ) -> tuple[int, list[tuple[str, Cell, int]]]:
        """Return how many values a field has, and of the most frequent ones: kind, value and number of containers.

        Of a string set each string counts by itself. `search` is a part of the value's text, in any case.
        """
        found: tuple[int, list[tuple[str, Cell, int]]] = self.answer(
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
        """Group the containers for which a condition holds by the values of some columns.

        Raises:
            InvalidArgument: one of the columns has no values to group by.
        """
        found: Groups = self.answer(
            "groups", kind=kind, project=project, condition=condition, by=by, columns=columns, limit=limit
        )
        return found

    def projects(self) -> list[ProjectCounts]:
        """Return the projects that have containers, the one with the latest first."""
        found: list[ProjectCounts] = self.answer("projects")
        return found

    def changes(self, since: str | None = None) -> Changes:
        """Return the changes since a mark of an earlier call; without one only the mark of this moment.

        That a run lives on is no change. A change may come twice, and none is left out.
        """
        found: Changes = self.answer("changes", since=since)
        return found

    def cells(self, run: RunId) -> Mapping[tuple[str, str], Cell]:
        """Return the cells of one container by path and kind, without looking at the others."""
        found: Mapping[tuple[str, str], Cell] = self.answer("cells", run=run)
        return found
