"""Grids for tables of many containers: columns of cells, groups, counts, and which fields and values there are.

Nothing here decodes more than it returns: of 100,000 containers a page is read, and groups are made by the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import product
from typing import Any

from naiad.container_kinds import BY_FOLDER, ContainerKind
from naiad.errors import InvalidArgument
from naiad.kinds import ASPECTS, KINDS, TAGS
from naiad.query.tree import Node, Not, leaves
from naiad.storage.catalog import ABSENT, Cell, Grid, Groups, Page, ProjectCounts, Unmatched, path_and_aspect
from naiad.storage.sql.cells import exact_of, text_of
from naiad.storage.sql.connection import ALL, Clause, Connection, Part, Statement
from naiad.storage.sql.places import Place, name_of, place_in, place_of
from naiad.storage.sql.rows import (
    BY_DEFAULT,
    COUNT,
    NEWEST,
    fields_in,
    nearby,
    present_fields,
    sort_order,
    unmatched_fields,
)
from naiad.storage.sql.search import Sort, conditions, order_of, search
from naiad.storage.sql.summaries import IN_TRASH
from naiad.storage.sql.translate import EXACT, Numbers
from naiad.storage.sql.values import Shown, fields_at, shown, shown_cells

Numbered = list[tuple[int, str]]
"""Number and kind of the fields at one path."""
Facts = tuple[int, float | None, float | None, float | None]
"""Number of values, the least, the largest, the mean."""
Form = tuple[str, ...]
"""Names of the values of a cell by which its container is grouped; see `_valued`."""
MOST_SUMS = 50
"""Columns of numbers in one statement: each is a join, of which SQLite takes 63, and keys are joins too."""
_NO_FACTS: Facts = (0, None, None, None)
_FORMS: dict[str, Form] = {"numbers": ("num", "exact"), "text": ("text",), "mixed": ("num", "exact", "text")}


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
    return _found(connection, kind, project, tree, sort, limit, offset, "", columns)[0]


def page(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    limit: int,
    offset: int = 0,
    after: str = "",
    columns: Sequence[str] = (),
) -> Page:
    """A part of the same, and the place at which it ends; see `Catalog.page`.

    Raises:
        InvalidArgument: nothing can be sorted by one of the columns, or `after` is not the end of a page.
    """
    found, rows, sorts = _found(connection, kind, project, tree, sort, limit, offset, after, columns)
    return Page(found, place_of(connection, rows[-1].number, sorts) if rows and len(rows) >= limit else "")


def _found(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    sort: Sequence[tuple[str, bool]],
    limit: int | None,
    offset: int,
    after: str,
    columns: Sequence[str],
) -> tuple[Grid, Sequence[Shown], dict[str, list[int]]]:
    """A grid with its rows, and the numbers of the fields of each column that they are sorted by."""
    names = [leaf.field for leaf, _depth in leaves(tree)] if tree else []
    present = present_fields(connection, kind, project, names, [column for column, _is_ascending in sort])
    orders = [sort_order(present, column, is_ascending) for column, is_ascending in sort]
    place = place_in(after)
    sorts = _sorts(present, [column for column, _is_ascending in sort], orders, place)
    if place is not None and place.values.keys() != sorts.keys():
        raise InvalidArgument("This is the end of a page in another order.", argument="after", value=after)
    known = [*sorts.values()]
    goes_on = None if place is None else (place, [*sorts])
    rows = search(
        connection, kind, project, tree, present, known[0], limit, then=known[1:], offset=offset, after=goes_on
    )
    # Both readings of a column: as a path that ends in `:min`, and as an aspect of a series.
    paths = {path for column in columns for path in (column, path_and_aspect(column)[0])}
    wanted = {number: key for key, number in fields_at(connection, paths).items()}
    unmatched = unmatched_fields(connection, kind, project, names, present)
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
        # A cell for every row, so that all columns have one length.
        for number, key in wanted.items():
            found.columns[key].append(cells.get(number, ABSENT))
    return found, rows, {name: each.numbers for name, each in sorts.items()}


def _sorts(present: Numbers, columns: Sequence[str], orders: Sequence[Sort], place: Place | None) -> dict[str, Sort]:
    """The orders that decide, by the names of their columns: those with fields, or without any the newest first."""
    names = (name_of(column, is_ascending=each.is_ascending) for column, each in zip(columns, orders, strict=True))
    named = dict(zip(names, orders, strict=True))
    if place is None:
        found = {name: each for name, each in named.items() if each.fields}
    else:  # those of the page before: one of them may have come or gone with its last value since
        found = {name: each for name, each in named.items() if name in place.values}
    newest = sort_order(present, *NEWEST)
    return found or {name_of(NEWEST[0], is_ascending=newest.is_ascending): newest}


def count(connection: Connection, kind: ContainerKind, project: str | None, tree: Node | None) -> int:
    """How many containers there are of which a tree is true."""
    if isinstance(tree, Not):  # all of a project are counted along its index; with a condition, one by one
        return count(connection, kind, project, None) - count(connection, kind, project, tree.term)
    found: int = connection.value(COUNT, where=conditions(connection, kind, project, tree))
    return found


def known_fields(connection: Connection, kind: ContainerKind, project: str | None) -> list[tuple[str, str]]:
    """Path and kind of every field that some container of the kind in the project has, sorted."""
    return sorted(fields_in(connection, kind, project).values())


def common_values(
    connection: Connection, kind: ContainerKind, project: str | None, path: str, search: str = "", limit: int = 100
) -> tuple[int, list[tuple[str, Cell, int]]]:
    """How many values a field has, and the most frequent ones with their number; see `Catalog.common_values`."""
    total: int = 0
    found: list[tuple[str, Cell, int]] = []
    for (_path, each), number in sorted(fields_at(connection, [path]).items()):
        statement = _VALUES["tag" if each == TAGS else "cell", bool(search)]
        given = {"search": search.lower()} if search else {}
        wanted = conditions(connection, kind, project, None)
        # Counted here, since the rows are read anyway and come sorted.
        for place, row in enumerate(connection.run(statement, field=number, where=wanted, **given)):
            total += 1
            if place < limit:
                found.append((each, _value(each, [value for value in row[:-1] if value is not None]), row[-1]))
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
    # A set is no single cell: joined with its tags, a container would count once for each of them.
    if any(each == TAGS for key, _aspect in keys for _number, each in key):
        return _decoded_groups(connection, kind, project, tree, by, columns, limit)
    pieces = [columns[at : at + MOST_SUMS] for at in range(0, len(columns), MOST_SUMS)] or [()]
    wanted = conditions(connection, kind, project, tree)
    first, *others = [_summed(connection, wanted, keys, piece, limit) for piece in pieces]
    for other in others:
        places = {key: place for place, key in enumerate(other.keys)}
        for column, facts in other.numbers.items():
            # A group may have gone since the first statement, of a database that others write meanwhile.
            first.numbers[column] = [facts[places[key]] if key in places else _NO_FACTS for key in first.keys]
    return first


def _summed(
    connection: Connection, wanted: Clause, keys: Sequence[tuple[Numbered, str]], columns: Sequence[str], limit: int
) -> Groups:
    """Groups of the containers that are wanted, with the facts of a few columns."""
    sums = [_resolved(connection, column) for column in columns]
    shape = tuple(_form(*key) for key in keys), tuple(aspect for _key, aspect in sums)
    first = sum(map(len, shape[0])) + 1
    fields = {f"key{place}": _numbers(key) for place, (key, _aspect) in enumerate(keys)}
    fields |= {f"sum{place}": _numbers(key) for place, (key, _aspect) in enumerate(sums)}
    # A path with two kinds in one container would join it twice, and telling them apart takes a third of the time.
    is_joined_once = all(len(numbers) == 1 for numbers in fields.values())
    total = 0
    found = []
    # All groups are counted, and only the first ones kept: the total is shown beside them.
    for row in connection.run(_grouped_by(*shape, is_joined_once), where=wanted, **fields):
        total += 1
        if total <= limit:
            found.append(row)
    return Groups(
        total,
        [tuple(_key(row, keys, shape[0])) for row in found],
        [row[first - 1] for row in found],
        {
            column: [tuple(row[first + 4 * place : first + 4 + 4 * place]) for row in found]
            for place, column in enumerate(columns)
        },
    )


def projects(connection: Connection) -> list[ProjectCounts]:
    """The projects that have containers, the one with the latest first."""
    kinds: dict[str, Counter[str]] = {}
    trashed: Counter[str] = Counter()
    latest: dict[str, int | None] = {}
    for project, folder, number, created in connection.run(_PROJECTS, where=ALL):
        kinds.setdefault(project or "", Counter())[BY_FOLDER[folder].name] += number
        latest[project or ""] = max(latest.get(project or "") or 0, created or 0) or None
    # What is in the trash is counted apart: a project that has nothing else is still listed.
    for project, folder, number, _created in connection.run(_PROJECTS, where=Part(IN_TRASH)):
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


def _numbers(key: Numbered) -> list[int]:
    # No field has the number 0, so that the join finds nothing, and SQL needs no other shape.
    return [number for number, _kind in key] or [0]


def _form(numbered: Numbered, aspect: str) -> Form:
    """The values of a cell by which its container is grouped: as few as these fields need."""
    order = order_of(numbered, aspect)
    if order == "number":
        is_exact = any(KINDS[kind].holds in EXACT for _number, kind in numbered)
        return ("integer",) if is_exact else ("num",)
    return _FORMS.get(order, (order,))


def _key(row: Any, keys: Sequence[tuple[Numbered, str]], forms: Sequence[Form]) -> Iterator[Cell]:
    at = 0
    for (numbered, _aspect), form in zip(keys, forms, strict=True):
        found = [value for value in row[at : at + len(form)] if value is not None]
        at += len(form)
        # Of a path with several kinds the row does not say which: True is 1 there, and 0.5 must not become True.
        kinds = {kind for _number, kind in numbered}
        yield _value(kinds.pop() if len(kinds) == 1 else "", found)


def _value(kind: str, found: Sequence[Cell]) -> Cell:
    """The value that one or several columns of a cell have, the most exact last."""
    if not found:
        return None
    return bool(found[-1]) if kind and KINDS[kind].holds == "boolean" else found[-1]


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
                value = value[ASPECTS.index(aspect)]
            # NaN, which equals nothing, would be a group for each container; in the tables it is null.
            return None if value != value else tuple(value) if each == TAGS else value
    return None


def _summary(values: Iterable[float]) -> Facts:
    found = list(values)
    return (len(found), min(found), max(found), sum(found) / len(found)) if found else _NO_FACTS


_statement = partial(Statement, "naiad.storage.sql.tables")
_PROJECTS = _statement(
    "container.projects",
    lambda sql, t: (
        sql.select(t.container.c.project, t.container.c.kind, sql.func.count(), sql.func.max(t.container.c.created))
        .where(sql.text("({where})"))
        .group_by(t.container.c.project, t.container.c.kind)
    ),
)


def _common(sql: Any, t: Any, name: str, is_searched: bool) -> Any:
    """The values of a field with their number, the most frequent first; those that contain a text."""
    table = t.metadata.tables[name]
    columns = [table.c.tag] if name == "tag" else [table.c.num, table.c.integer, text_of(table)]
    rows = sql.select(*columns, sql.func.count().label("times"))
    rows = rows.select_from(table.join(t.container, t.container.c.number == table.c.container))
    rows = rows.where(table.c.field == sql.bindparam("field"), sql.text("({where})")).group_by(*columns)
    if is_searched:
        own = table.c.tag if name == "tag" else sql.func.coalesce(text_of(table), sql.cast(table.c.num, sql.Text))
        text = sql.func.lower(own)
        rows = rows.where(sql.func.replace(text, sql.bindparam("search"), sql.literal_column("''")) != text)
    return rows.order_by(sql.func.count().desc(), *columns)


def _grouped(sql: Any, t: Any, keys: tuple[Form, ...], sums: tuple[str, ...], is_joined_once: bool) -> Any:
    """Groups of containers by values of fields, with count, least, largest and mean of aspects of others."""
    joined: Any = t.container
    values: list[Any] = []
    for place, form in enumerate(keys):
        of = t.cell.alias(f"by{place}")
        joined = joined.outerjoin(of, _is_its(sql, t, of, f"key{place}"))
        # No others: the database sorts by these columns, and four instead of two take a third longer.
        values += [_valued(of, name) for name in form]
    facts: list[Any] = []
    for place, aspect in enumerate(sums):
        of = t.cell.alias(f"of{place}")
        joined = joined.outerjoin(of, _is_its(sql, t, of, f"sum{place}"))
        number = of.c.num if aspect == "last" else of.c[aspect]
        facts += [sql.func.count(number), sql.func.min(number), sql.func.max(number), sql.func.avg(number)]
    times = sql.func.count() if is_joined_once else sql.func.count(t.container.c.number.distinct())
    rows = sql.select(*values, times.label("times"), *facts)
    # SQLite sorts by them: it compares integers and texts that come first in half the time of floats.
    names = [name for form in keys for name in form]
    order = sorted(range(len(values)), key=lambda place: names[place] not in ("integer", "text"))
    rows = rows.select_from(joined).where(sql.text("({where})")).group_by(*(values[place] for place in order))
    return rows.order_by(sql.func.count().desc(), *values)


def _valued(of: Any, name: str) -> Any:
    return exact_of(of) if name == "exact" else text_of(of) if name == "text" else of.c[name]


def _is_its(sql: Any, t: Any, of: Any, name: str) -> Any:
    return sql.and_(of.c.container == t.container.c.number, of.c.field.in_(sql.bindparam(name, expanding=True)))


_VALUES = {
    (name, is_searched): _statement(f"{name}.common{', searched' if is_searched else ''}", _common, name, is_searched)
    for name in ("cell", "tag")
    for is_searched in (False, True)
}


@cache
def _grouped_by(keys: tuple[Form, ...], sums: tuple[str, ...], is_joined_once: bool) -> Statement:
    """The statement for a shape of groups. Usual ones are compiled ahead, others at their first use."""
    name = f"groups by {', '.join(map('+'.join, keys))}{' of ' if sums else ''}{', '.join(sums)}"
    name += ", joined once" if is_joined_once else ""
    return _statement(name, _grouped, keys, sums, is_joined_once, is_ahead=(keys, sums) in AHEAD)


AHEAD = [
    (keys, sums)
    for width in (1, 2)
    for keys in product((("num",), ("integer",), ("text",)), repeat=width)
    for sums in ((), ("last",))
]
for _shape in AHEAD:
    for _is_joined_once in (False, True):
        _grouped_by(*_shape, _is_joined_once)
