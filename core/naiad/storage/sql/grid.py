"""Grids for tables of many containers: columns of cells, groups, counts, and which fields and values there are.

Nothing here decodes more than it returns: of 100,000 containers a page is read, and groups are made by the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, and_, cast, func, select

from naiad.container_kinds import BY_FOLDER, ContainerKind
from naiad.errors import InvalidArgument
from naiad.kinds import ASPECTS, KINDS, TAGS
from naiad.query.tree import Node
from naiad.storage.base import ABSENT, Cell, Grid, Groups, ProjectCounts, Unmatched, path_and_aspect
from naiad.storage.sql.connection import Connection
from naiad.storage.sql.rows import BY_DEFAULT, HELD, nearby, sort_order, unmatched_fields
from naiad.storage.sql.search import conditions, search
from naiad.storage.sql.summaries import IN_TRASH
from naiad.storage.sql.tables import cell, container, tag
from naiad.storage.sql.translate import text_of
from naiad.storage.sql.values import fields, fields_at, shown, shown_cells

Numbered = list[tuple[int, str]]
"""Number and kind of the fields at one path."""
NEWEST = (BY_DEFAULT, False)


def grid(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    limit: int | None = None,
    offset: int = 0,
    columns: Sequence[str] = (),
) -> Grid:
    """The cells of some columns of the containers of which a tree is true; see `Catalog.grid`.

    Raises:
        InvalidArgument: nothing can be sorted by one of the columns.
    """
    orders = [sort_order(connection, kind, project, column, is_ascending) for column, is_ascending in sort]
    known = [each for each in orders if each.fields] or [sort_order(connection, kind, project, *NEWEST)]
    rows = search(connection, kind, project, tree, known[0], limit, then=known[1:], offset=offset)
    paths = {path for column in columns for path in (column, path_and_aspect(column)[0])}
    wanted = {number: key for key, number in fields_at(connection, paths).items()}
    unmatched = unmatched_fields(connection, kind, project, tree)
    for (column, _is_ascending), order in zip(sort, orders, strict=True):
        if not order.fields and column != BY_DEFAULT:
            unmatched.append(Unmatched(column, {}, nearby(connection, column)))
    found = Grid([], [], [], [], {key: [] for key in wanted.values()}, unmatched)
    for row in rows:
        found.uids.append(row.uid)
        found.ids.append(row.id or row.uid)
        found.projects.append(row.project or "")
        found.states.append(row.state)
        cells = shown_cells(row)
        for number, key in wanted.items():
            found.columns[key].append(cells.get(number, ABSENT))
    return found


def count(connection: Connection, kind: ContainerKind, project: str | None, tree: Node | None) -> int:
    """How many containers there are of which a tree is true."""
    wanted = conditions(connection, kind, project, tree).expression()
    found: int = connection.execute(select(func.count()).select_from(container).where(wanted)).scalar_one()
    return found


def known_fields(connection: Connection, kind: ContainerKind, project: str | None) -> list[tuple[str, str]]:
    """Path and kind of every field that some container of the kind in the project has, sorted."""
    is_there = HELD(where=conditions(connection, kind, project, None))
    return sorted((path, each) for _number, path, each in fields(connection, is_there))


def common_values(
    connection: Connection, kind: ContainerKind, project: str | None, path: str, search: str = "", limit: int = 100
) -> tuple[int, list[tuple[str, Cell, int]]]:
    """How many values a field has, and the most frequent ones with their number; see `Catalog.common_values`."""
    total: int = 0
    found: list[tuple[str, Cell, int]] = []
    for (_path, each), number in sorted(fields_at(connection, [path]).items()):
        table: FromClause = tag if each == TAGS else cell
        values = [tag.c.tag] if each == TAGS else [cell.c.num, cell.c.integer, cell.c.txt, cell.c.whole]
        rows = select(*values, func.count().label("times"))
        rows = rows.select_from(table.join(container, container.c.number == table.c.container))
        wanted = conditions(connection, kind, project, None).expression()
        rows = rows.where(table.c.field == number, wanted).group_by(*values)
        if search:
            text = tag.c.tag if each == TAGS else func.coalesce(text_of(cell), cast(cell.c.num, Text))
            rows = rows.where(func.replace(func.lower(text), search.lower(), "") != func.lower(text))
        for place, row in enumerate(connection.execute(rows.order_by(func.count().desc(), *values))):
            total += 1
            if place < limit:
                found.append((each, row[0] if each == TAGS else _value(each, *row[:-1]), row.times))
    return total, sorted(found, key=lambda item: -item[2])[:limit]


def groups(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    by: Sequence[str],
    columns: Sequence[str] = (),
    limit: int = 1000,
) -> Groups:
    """Group containers by the values of some columns; see `Catalog.groups`.

    Raises:
        InvalidArgument: one of the columns has no values to group by.
    """
    keys = [_resolved(connection, column) for column in by]
    if any(each == TAGS for key, _aspect in keys for _number, each in key):
        return _decoded_groups(connection, kind, project, tree, by, columns, limit)
    joined: FromClause = container
    values: list[ColumnElement[Any]] = []
    widths = []
    for place, (key, aspect) in enumerate(keys):
        of = cell.alias(f"key{place}")
        joined = joined.outerjoin(of, _is_its(of, key))
        own = [of.c.num, of.c.integer, of.c.txt, of.c.whole] if aspect == "last" else [of.c[aspect]]
        widths.append(len(own))
        values += own
    sums: list[ColumnElement[Any]] = []
    for place, column in enumerate(columns):
        key, aspect = _resolved(connection, column)
        of = cell.alias(f"sum{place}")
        joined = joined.outerjoin(of, _is_its(of, key))
        number = of.c.num if aspect == "last" else of.c[aspect]
        sums += [func.count(number), func.min(number), func.max(number), func.avg(number)]
    wanted = conditions(connection, kind, project, tree).expression()
    rows = select(*values, func.count(container.c.number.distinct()).label("times"), *sums).select_from(joined)
    rows = rows.where(wanted).group_by(*values)
    total = 0
    found = []
    for row in connection.execute(rows.order_by(func.count().desc(), *values)):
        total += 1
        if total <= limit:
            found.append(row)
    return Groups(
        total,
        [tuple(_key(row, keys, widths)) for row in found],
        [row.times for row in found],
        {
            column: [tuple(row[len(values) + 1 + 4 * place : len(values) + 5 + 4 * place]) for row in found]
            for place, column in enumerate(columns)
        },
    )


def projects(connection: Connection) -> list[ProjectCounts]:
    """The projects that have containers, the one with the latest first."""
    is_trashed = IN_TRASH().expression()
    kinds: dict[str, Counter[str]] = {}
    trashed: Counter[str] = Counter()
    latest: dict[str, int | None] = {}
    facts = select(container.c.project, container.c.kind, func.count(), func.max(container.c.created))
    for project, folder, number, created in connection.execute(facts.group_by(container.c.project, container.c.kind)):
        kinds.setdefault(project or "", Counter())[BY_FOLDER[folder].name] += number
        latest[project or ""] = max(latest.get(project or "") or 0, created or 0) or None
    for project, folder, number, _created in connection.execute(
        facts.where(is_trashed).group_by(container.c.project, container.c.kind)
    ):
        kinds[project or ""][BY_FOLDER[folder].name] -= number
        trashed[project or ""] += number
    found = [ProjectCounts(name, dict(counts), trashed[name], latest[name]) for name, counts in kinds.items()]
    return sorted(found, key=lambda each: (-(each.latest or 0), each.name))


def _resolved(connection: Connection, column: str) -> tuple[Numbered, str]:
    """The fields of a column, and the aspect that is meant of a series.

    Raises:
        InvalidArgument: they have no values.
    """
    path, aspect = column, "last"
    found = fields_at(connection, [path])
    if not found:
        path, aspect = path_and_aspect(column)
        found = fields_at(connection, [path])
    numbered = sorted((number, each) for (_path, each), number in found.items())
    if aspect != "last":
        numbered = [(number, each) for number, each in numbered if aspect in KINDS[each].aspects]
    if not any(KINDS[each].has_value for _number, each in numbered) and found:
        raise InvalidArgument(f'"{column}" has no values to group by.', argument="by")
    return numbered, aspect


def _is_its(of: FromClause, key: Numbered) -> ColumnElement[bool]:
    return and_(of.c.container == container.c.number, of.c.field.in_([number for number, _kind in key] or [0]))


def _key(row: Any, keys: Sequence[tuple[Numbered, str]], widths: Sequence[int]) -> Iterator[Cell]:
    at = 0
    for (numbered, aspect), width in zip(keys, widths, strict=True):
        part = row[at : at + width]
        at += width
        yield _value(numbered[0][1] if numbered else "", *part) if aspect == "last" else part[0]


def _value(kind: str, num: float | None, integer: int | None, txt: str | None, whole: str | None) -> Cell:
    """The value in the columns by which a cell is found."""
    if txt is not None:
        return txt if whole is None else whole
    if integer is not None:
        return integer
    return None if num is None else bool(num) if KINDS[kind].holds == "boolean" else num


def _decoded_groups(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    by: Sequence[str],
    columns: Sequence[str],
    limit: int,
) -> Groups:
    """Group by string sets too, which are no cells to compare: every container is looked at."""
    keys, sums = ([_resolved(connection, column) for column in some] for some in (by, columns))
    numbers: dict[tuple[Cell, ...], list[list[float]]] = {}
    counts: Counter[tuple[Cell, ...]] = Counter()
    for row in shown(connection, conditions(connection, kind, project, tree)):
        cells = shown_cells(row)
        key = tuple(_shown(cells, *each) for each in keys)
        counts[key] += 1
        found = numbers.setdefault(key, [[] for _ in sums])
        for into, each in zip(found, sums, strict=True):
            value = _shown(cells, *each)
            if isinstance(value, int | float) and value == value:
                into.append(float(value))
    best = counts.most_common(limit)
    return Groups(
        len(counts),
        [key for key, _times in best],
        [times for _key, times in best],
        {column: [_summary(numbers[key][place]) for key, _times in best] for place, column in enumerate(columns)},
    )


def _shown(cells: Mapping[int, Cell], numbered: Numbered, aspect: str) -> Cell:
    for number, each in numbered:
        value = cells.get(number)
        if value is not None:
            if KINDS[each].aspects:
                return value[ASPECTS.index(aspect)]
            return tuple(value) if each == TAGS else value
    return None


def _summary(values: Iterable[float]) -> tuple[int, float | None, float | None, float | None]:
    found = list(values)
    return (len(found), min(found), max(found), sum(found) / len(found)) if found else (0, None, None, None)
