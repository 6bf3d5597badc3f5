"""Search in the catalog: containers that match a query, in order, using the indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, FromClause, Select, Text, cast, func, select

from naiad.container_kinds import ContainerKind
from naiad.kinds import KINDS, TAGS
from naiad.query.tree import And, Compare, Contains, Node, OneOf
from naiad.storage.sql.translate import Numbers, condition, field_numbers, holders, narrowed, text_of
from naiad.storage.sql.values import SHOWN, cell, container

FEW = 10_000
"""Containers that are looked at one by one without a second thought."""


@dataclass(frozen=True)
class Sort:
    """A sort order: the fields at one path, which may differ in kind, and the aspect of a series."""

    fields: tuple[tuple[int, str], ...]  # number and kind of each
    aspect: str = "last"
    is_ascending: bool = False

    @property
    def is_text(self) -> bool:
        """Whether they are sorted as texts: values that are not all numbers have no other order in common."""
        return not all(KINDS[kind].sorted_as == "number" for _number, kind in self.fields)


def search(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    sort: Sort,
    limit: int | None,
    *,
    then: Sequence[Sort] = (),
    offset: int = 0,
    shown: Sequence[Column[Any]] = SHOWN,
) -> list[Any]:
    """The shown values of the containers that a query finds, sorted; those without a value to sort by come last.

    Those that `sort` leaves equal are sorted by `then`. The first `offset` of them are left out. `shown` are the
    columns of the result: a page of many is sorted without its cells.
    """
    numbers = {} if tree is None else field_numbers(connection, tree)
    tree = tree and narrowed(tree, numbers)
    wanted = [container.c.kind == kind.folder]
    if project is not None:
        wanted.append(container.c.project == project)
    rare = _rarest(connection, tree, numbers)
    if limit is None or rare is not None or len(sort.fields) != 1 or sort.aspect != "last" or then:
        if tree is not None:
            wanted.append(condition(tree, numbers, container.c.number))
        if rare is not None:
            wanted.append(container.c.number.in_(rare))
        return list(connection.execute(_all(wanted, [sort, *then], shown).limit(limit).offset(offset)))
    walk = _walk(wanted, tree, numbers, sort, shown)
    found = list(connection.execute(walk.limit(limit).offset(offset)))
    if len(found) < limit:
        passed = 0 if not offset or found else _count_up_to(connection, walk, offset)
        if tree is not None:
            wanted.append(condition(tree, numbers, container.c.number))
        wanted.append(container.c.number.not_in(_sorted_cells(sort)))
        rest = _all(wanted, [sort], shown).limit(limit - len(found))
        found += connection.execute(rest.offset(0 if found else offset - passed))
    return found


def conditions(
    connection: Connection, kind: ContainerKind, project: str | None, tree: Node | None
) -> list[ColumnElement[bool]]:
    """Conditions on a container: it is of a kind, in a project, and a tree is true of it."""
    wanted = [container.c.kind == kind.folder]
    if project is not None:
        wanted.append(container.c.project == project)
    if tree is not None:
        numbers = field_numbers(connection, tree)
        wanted.append(condition(narrowed(tree, numbers), numbers, container.c.number))
        rare = _rarest(connection, tree, numbers)
        if rare is not None:
            wanted.append(container.c.number.in_(rare))
    return wanted


def _count_up_to(connection: Connection, rows: Select[Any], most: int) -> int:
    """How many rows there are, counted up to a number."""
    some = rows.order_by(None).with_only_columns(container.c.number).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _rarest(connection: Connection, tree: Node | None, numbers: Numbers) -> Select[tuple[int]] | None:
    """The clause to begin with: of those that all must be true, the one true of the fewest, if that is few."""
    if tree is None:
        return None
    terms = tree.terms if isinstance(tree, And) else (tree,)
    total = connection.execute(select(func.max(container.c.number))).scalar() or 0
    few = min(FEW, max(total // 10, 100))
    best, fewest = None, few
    for term in terms:
        if isinstance(term, (Compare, OneOf)) or (isinstance(term, Contains) and term.field.kind == TAGS):
            chosen = holders(term, numbers)
            some = chosen.limit(fewest).subquery()
            count = connection.execute(select(func.count()).select_from(some)).scalar_one()
            if count < fewest:
                best, fewest = chosen, count
    return best


def _all(conditions: Sequence[ColumnElement[bool]], sorts: Sequence[Sort], shown: Sequence[Column[Any]]) -> Select[Any]:
    """All containers, each with its values to sort by."""
    joined: FromClause = container
    ordered: list[ColumnElement[Any]] = []
    for place, sort in enumerate(sorts):
        of = cell.alias(f"sorted{place}")
        is_its = (of.c.container == container.c.number) & of.c.field.in_([number for number, _kind in sort.fields])
        joined = joined.outerjoin(of, is_its)
        values = _order(of, sort)
        ordered += [values[0].is_(None), *_directed(values, sort)]
    return (
        select(*shown)
        .select_from(joined)
        .where(*conditions)
        .order_by(*ordered, *_directed([container.c.number], sorts[0]))
    )


def _walk(
    conditions: Sequence[ColumnElement[bool]],
    tree: Node | None,
    numbers: Numbers,
    sort: Sort,
    shown: Sequence[Column[Any]],
) -> Select[Any]:
    """The containers with a value to sort by, along the index: it stops as soon as there are enough."""
    of = cell.alias("sorted")
    values = _order(of, sort)
    rows = select(*shown).select_from(of.join(container, container.c.number == of.c.container))
    rows = rows.where(of.c.field == sort.fields[0][0], values[0].is_not(None), *conditions)
    if tree is not None:
        rows = rows.where(condition(tree, numbers, of.c.container))
    return rows.order_by(*_directed([*values, of.c.container], sort))


def _sorted_cells(sort: Sort) -> Select[tuple[int]]:
    return select(cell.c.container).where(cell.c.field == sort.fields[0][0], _order(cell, sort)[0].is_not(None))


def _order(of: FromClause, sort: Sort) -> list[ColumnElement[Any]]:
    if sort.aspect != "last":
        return [of.c[sort.aspect]]
    if not sort.is_text:
        return [of.c.num, of.c.integer]
    if len(sort.fields) == 1:
        return [of.c.txt, of.c.whole]
    return [func.coalesce(text_of(of), cast(of.c.num, Text))]


def _directed(values: Sequence[ColumnElement[Any]], sort: Sort) -> list[ColumnElement[Any]]:
    return [value.asc() if sort.is_ascending else value.desc() for value in values]
