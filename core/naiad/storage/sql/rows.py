"""Rows of the catalog for a table: columns, and the results of a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from sqlite3 import OperationalError

from naiad.container_kinds import ContainerKind
from naiad.cycles import search_paused
from naiad.errors import InvalidArgument
from naiad.kinds import KINDS, SYS
from naiad.paths import alike
from naiad.query.tree import FieldName, Node, leaves
from naiad.storage.catalog import Found, Losses, Row, Unmatched, column_pattern, path_and_aspect
from naiad.storage.cell_columns import CellColumns
from naiad.storage.sql import cell_columns
from naiad.storage.sql.connection import All, Clause, Connection, Either, Part, Statement
from naiad.storage.sql.packed_rows import PackedRows
from naiad.storage.sql.search import Named, Sort, in_scope, named_columns, search
from naiad.storage.sql.translate import Numbers
from naiad.storage.sql.values import (
    AT_PATHS,
    MANY_CELLS,
    SMALL_ROWS,
    fields_at,
    losses_of,
    require_whole,
    shown_at,
    shown_cells,
)
from naiad.storage.sql.values import fields as all_fields

BY_DEFAULT = "sys/creation_time"
MOST_CONTAINERS = 20
"""So many containers are looked up for each field, rather than the cells of each field looked through for them."""
NEWEST = (BY_DEFAULT, False)
MOST_NEARBY = 20_000
"""Paths among which one that looks like a misspelt one is looked for."""


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
    names = [leaf.field for leaf, _depth in leaves(tree)] if tree else []
    present = present_fields(connection, kind, project, names, [sort_by])
    unmatched = unmatched_fields(connection, kind, project, names, present)
    sort = sort_order(present, sort_by, is_ascending)
    # A misspelt column sorts by time, and is named in a warning rather than an error.
    if not sort.fields and sort_by != BY_DEFAULT:
        unmatched.append(Unmatched(sort_by, {}, nearby(connection, sort_by)))
        sort = sort_order(present, *NEWEST)
    asked = names, sort_by
    named = None
    if limit is None and columns is not None and connection.has_columns:
        columns = list(columns)
        named = named_columns(connection, kind, project, tree, present, sort)
        in_columns = None if named is None else _in_columns(connection, named, columns)
        if named is not None and in_columns is not None:
            damaged = connection.run(_WITH_LOSSES).fetchall()
            numbers = {*named.numbers.tolist()} if damaged else set()
            lost = _losses(connection, damaged, kind, project, numbers, asked) if damaged else {}
            return Found(*in_columns, unmatched, lost)
    if named is not None and len(named.uids) <= SMALL_ROWS:
        rows = shown_at(connection, named.numbers.tolist())
    else:
        rows = search(connection, kind, project, tree, present, sort, limit)
    # Their numbers first, and alone: with a project in the statement SQLite takes the index of projects, and looks at
    # all containers. There are nearly always none.
    damaged = connection.run(_WITH_LOSSES).fetchall()
    is_wide = bool(rows) and len(rows[0].cells or b"") > 8 * MANY_CELLS
    # Without a row there is nothing to show; the fields then are those that could have been asked for.
    scope = None if rows else (kind, project)
    found = _many_fields(connection, columns, scope) if is_wide else _fields(connection, columns, scope)
    lost = _losses(connection, damaged, kind, project, {row.number for row in rows}, asked) if damaged else {}
    # More rows than are remembered would push each other out, and none of them would be found again. Wide ones never
    # are, and make very many objects.
    if len(rows) <= SMALL_ROWS and not is_wide:
        return Found(found, [Row(row.uid, row.id, shown_cells(row)) for row in rows], unmatched, lost)
    require_whole(rows)
    return Found(found, PackedRows(rows), unmatched, lost)


def _in_columns(
    connection: Connection, named: Named, columns: Sequence[str]
) -> tuple[dict[int, tuple[str, str]], CellColumns] | None:
    """The fields of some columns and their cells in containers that are many; None where rows have to be read."""
    if not SMALL_ROWS < len(named.uids) <= cell_columns.MOST_ROWS or any(map(column_pattern, columns)):
        return None
    fields = _fields(connection, columns, None)
    cells = cell_columns.read(connection, *named, fields) if cell_columns.can_be_read(fields) else None
    return None if cells is None else (fields, cells)


def _fields(
    connection: Connection, columns: Iterable[str] | None, scope: tuple[ContainerKind, str | None] | None
) -> dict[int, tuple[str, str]]:
    """The fields of some columns or all; `scope` limits them to those that a container of a kind in a project has."""
    named = None if columns is None else list(columns)
    patterns = [pattern for pattern in map(column_pattern, named or ()) if pattern]
    if named is None or patterns:
        everything = all_fields(connection) if scope is None else fields_in(connection, *scope)
        if named is None:
            return everything
        found = {
            number: key for number, key in everything.items() if any(pattern.fullmatch(key[0]) for pattern in patterns)
        }
    else:
        found = {}
    paths = {path for column in named for path in (column, path_and_aspect(column)[0])}
    return found | {number: key for key, number in fields_at(connection, paths).items()}


def _many_fields(
    connection: Connection, columns: Iterable[str] | None, scope: tuple[ContainerKind, str | None] | None
) -> dict[int, tuple[str, str]]:
    """The same as `_fields`, of which there are very many."""
    with search_paused():
        try:
            with connection.valid_text():
                return _fields(connection, columns, scope)
        except OperationalError:  # a text is no UTF-8 any more, which its crc shows, or reading fails again
            return _fields(connection, columns, scope)


def _losses(
    connection: Connection,
    numbers: Iterable[tuple[int]],
    kind: ContainerKind,
    project: str | None,
    found: set[int],
    asked: tuple[Sequence[FieldName], str],
) -> dict[str, Losses]:
    """The damage of those found, and of those that one of the asked fields keeps from being found."""
    names, sort_by = asked
    lost, paths = {}, {*(name.path for name in names), sort_by, sort_by.rpartition(":")[0]}
    for row in shown_at(connection, sorted(number for (number,) in numbers)):
        if row.kind != kind.folder or project not in (None, row.project):
            continue
        losses = losses_of(row)
        if losses.damaged and (row.number in found or not paths.isdisjoint(losses.damaged) or "" in losses.damaged):
            lost[row.id or row.uid] = losses
    return lost


def present_fields(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    names: Sequence[FieldName],
    columns: Iterable[str],
) -> Numbers:
    """The fields of a query, and of columns to sort by, that some container of the kind in the project has.

    Naiad's own in a query, and the default order, are there as well if any container has them: they are part of nearly
    every query, no message says that they are missing, and a look for them could pass over all of another project.
    """
    paths = {path for column in columns if column != BY_DEFAULT for path in (column, path_and_aspect(column)[0])} - {
        BY_DEFAULT
    }
    asked = {name.path for name in names} - paths
    own = {BY_DEFAULT, *(asked & SYS.keys())}
    is_own = Part(AT_PATHS, {"paths": sorted(own)})
    return fields_at(connection, asked | paths | own, Either([is_own, _scope(kind, project)]))


def unmatched_fields(
    connection: Connection, kind: ContainerKind, project: str | None, names: Sequence[FieldName], present: Numbers
) -> list[Unmatched]:
    """The fields of a query that no container has, or that some have of a kind that the query does not look at."""
    asked: dict[str, set[str]] = {}
    for name in names:
        # Fields of naiad's own exist by definition, also in a store that has none of them yet.
        if name.path not in SYS:
            asked.setdefault(name.path, set()).add(name.kind)
    found = []
    for path, kinds in asked.items():
        fields = _at(present, path)
        others = [(number, each) for number, each in fields if each not in kinds]
        if not fields:
            found.append(Unmatched(path, {}, nearby(connection, path)))
        elif others:
            found.append(Unmatched(path, {each: _count(connection, kind, project, at) for at, each in others}))
    return found


def _count(connection: Connection, kind: ContainerKind, project: str | None, number: int) -> int:
    """How many containers have a field."""
    found: int = connection.value(_COUNT, field=number, where=All(in_scope(kind, project)))
    return found


def sort_order(present: Numbers, column: str, is_ascending: bool) -> Sort:
    """The order by a column; without fields if it is not among the present ones.

    Raises:
        InvalidArgument: it has values that have no order.
    """
    path, aspect = column, "last"
    fields = _at(present, path)
    if not fields:
        path, aspect = path_and_aspect(column)
        fields = _at(present, path) if path != column else []
    if not fields:
        return Sort((), "last", is_ascending)
    if aspect != "last":
        fields = [(number, each) for number, each in fields if aspect in KINDS[each].aspects]
        if not fields:
            raise InvalidArgument(
                f'Column "{column}" cannot be used for sorting: "{path}" is not a series of numbers.',
                argument="sort_by",
            )
    found = {each for _number, each in fields}
    unsortable = sorted(each for each in found if not KINDS[each].sorted_as)
    if unsortable:
        raise InvalidArgument(
            f'Column "{column}" cannot be used for sorting: it has fields of kind {", ".join(unsortable)}.\n'
            "Sort by a single value, or by the last, min, max, average or variance of a series of numbers.",
            argument="sort_by",
        )
    return Sort(tuple(fields), aspect, is_ascending, is_by_creation=column == BY_DEFAULT)


def _at(present: Numbers, path: str) -> list[tuple[int, str]]:
    """Number and kind of the fields at a path, in the order of their kinds."""
    own = SYS.get(path)  # a field of another kind at a path of naiad's own is of a hostile run
    found = [(number, each) for (at, each), number in present.items() if at == path and own in (None, each)]
    return sorted(found, key=itemgetter(1))


@lru_cache(maxsize=64)
def _scope(kind: ContainerKind, project: str | None) -> Clause:
    """Condition on a field: some container of the kind in the project has it."""
    return Part(HELD, {"where": All(in_scope(kind, project))})


def fields_in(connection: Connection, kind: ContainerKind, project: str | None) -> dict[int, tuple[str, str]]:
    """Path and kind of every field that some container of the kind in the project has, by number."""
    # To look up each container for each field takes minutes for 10,000 of both. To look through the cells of each field
    # for one in the project takes no longer than to read all cells, which a few containers are not worth.
    few = connection.value(COUNT, where=All(in_scope(kind, project))) <= MOST_CONTAINERS
    scope = _scope(kind, project) if few else Part(_HAS_CELL, {"where": All(in_scope(kind, project, is_rare=True))})
    return all_fields(connection, scope)


def nearby(connection: Connection, column: str) -> tuple[str, ...]:
    """Paths of fields that look like a column."""
    known = [path for (path,) in connection.run(_PATHS, most=MOST_NEARBY, offset=0)]
    return tuple(alike(path_and_aspect(column)[0][:200], known))


_statement = partial(Statement, "naiad.storage.sql.tables")
_COUNT = _statement(
    "cell.count",
    lambda sql, t: (
        sql.select(sql.func.count())
        .select_from(t.cell.join(t.container, t.cell.c.container == t.container.c.number))
        .where(t.cell.c.field == sql.bindparam("field"), sql.text("({where})"))
    ),
)
COUNT = _statement(
    "container.count",
    lambda sql, t: sql.select(sql.func.count()).select_from(t.container).where(sql.text("({where})")),
)
_WITH_LOSSES = _statement(
    "container.with_losses",
    lambda sql, t: sql.select(t.container.c.number).where(t.container.c.losses != sql.literal_column("''")),
)
_PATHS = _statement(
    "field.paths",
    lambda sql, t: sql.select(t.field.c.path).distinct().limit(sql.bindparam("most")).offset(sql.bindparam("offset")),
)
_HAS_CELL = _statement(
    "field.has_cell",
    lambda sql, t: (
        sql.exists()
        .where(t.cell.c.field == sql.literal_column("field.number"))
        .where(
            sql.exists()
            .where(t.container.c.number == t.cell.c.container)
            .where(sql.text("({where})"))
            .correlate(t.cell)
        )
    ),
)
"""The same as `HELD`, and written so that SQLite begins with the cells of the field."""
HELD = _statement(
    "field.held",
    lambda sql, t: (
        sql.exists()
        .where(t.cell.c.field == sql.literal_column("field.number"), t.cell.c.container == t.container.c.number)
        .where(sql.text("({where})"))
    ),
)
"""Condition on a field: a container with some conditions has it."""
