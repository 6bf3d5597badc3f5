"""Rows of the catalog for a table: columns, and the results of a query."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, exists, select

from naiad.container_kinds import ContainerKind
from naiad.errors import InvalidArgument, NaiadWarning, warn_once
from naiad.kinds import KINDS
from naiad.query.tree import Node
from naiad.storage.base import Found, Row, path_and_aspect
from naiad.storage.sql.search import Sort, search
from naiad.storage.sql.values import cell, container, field, fields_at, shown_cells
from naiad.storage.sql.values import fields as all_fields

BY_DEFAULT = "sys/creation_time"


def find(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    *,
    sort_by: str = BY_DEFAULT,
    is_ascending: bool = False,
    limit: int | None = None,
    columns: Iterable[str] | None = None,
) -> Found:
    """The containers of a kind in a project, or in all, that a tree means, with the fields of these columns or all.

    Raises:
        InvalidArgument: nothing can be sorted by that column.
    """
    sort = sort_order(connection, kind, project, sort_by, is_ascending)
    rows = search(connection, kind, project, tree, sort, limit)
    return Found(_fields(connection, columns), [Row(row.uid, row.id, shown_cells(row)) for row in rows])


def _fields(connection: Connection, columns: Iterable[str] | None) -> dict[int, tuple[str, str]]:
    if columns is None:
        return {number: (path, kind) for number, path, kind in all_fields(connection)}
    paths = {path for column in columns for path in (column, path_and_aspect(column)[0])}
    return {number: key for key, number in fields_at(connection, paths).items()}


def sort_order(
    connection: Connection, kind: ContainerKind, project: str | None, column: str, is_ascending: bool
) -> Sort:
    """The order by a column.

    Raises:
        InvalidArgument: nothing can be sorted by it.
    """
    path, aspect = column, "last"
    fields = _present(connection, kind, project, path)
    if not fields:
        path, aspect = path_and_aspect(column)
        fields = _present(connection, kind, project, path) if path != column else []
    if not fields and column != BY_DEFAULT:
        raise _unknown(connection, column)
    if aspect != "last":
        fields = [(number, each) for number, each in fields if aspect in KINDS[each].aspects]
        if not fields:
            raise InvalidArgument(
                f'Column "{column}" cannot be sorted by: "{path}" is no series of numbers.', argument="sort_by"
            )
    found = {each for _number, each in fields}
    unsortable = sorted(each for each in found if not KINDS[each].sorted_as)
    if unsortable:
        raise InvalidArgument(
            f'Column "{column}" cannot be sorted by: it has fields of kind {", ".join(unsortable)}.\n'
            "Sort by a single value, or by the last, min, max, average or variance of a series of numbers.",
            argument="sort_by",
        )
    sort = Sort(tuple(fields), aspect, is_ascending)
    if sort.is_text and len(found) > 1:
        warn_once(
            ("sort_by", column),
            f'Column "{column}" has fields of several kinds ({", ".join(sorted(found))}), and is sorted as text.',
            NaiadWarning,
        )
    return sort


def _present(connection: Connection, kind: ContainerKind, project: str | None, path: str) -> list[tuple[int, str]]:
    """The fields at a path that some container of the kind in the project has."""
    wanted = [container.c.kind == kind.folder, *([container.c.project == project] if project is not None else [])]
    is_there = exists().where(cell.c.field == field.c.number, cell.c.container == container.c.number, *wanted)
    found = [(number, each) for number, _path, each in all_fields(connection, field.c.path == path, is_there)]
    return sorted(found, key=lambda each: each[1])


def _unknown(connection: Connection, column: str) -> InvalidArgument:
    known: Sequence[Any] = connection.execute(select(field.c.path).distinct()).scalars().all()
    near = difflib.get_close_matches(path_and_aspect(column)[0][:200], known[:10_000], 3, 0.6)
    hint = f" Nearby: {', '.join(repr(each) for each in near)}." if near else ""
    return InvalidArgument(
        f'Column "{column[:200]}" chosen for sorting is not present in the table.{hint}', argument="sort_by"
    )
