"""Search in the catalog: containers that match a query, in order, using the indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Text, cast, func, select

from naiad.container_kinds import ContainerKind
from naiad.kinds import KINDS, TAGS
from naiad.query.tree import And, Compare, Contains, Node, OneOf
from naiad.storage.sql.translate import Numbers, condition, field_numbers, holders, text_of
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
        """Whether they are sorted as texts: what is no number everywhere has no other order in common."""
        return not all(KINDS[kind].sorted_as == "number" for _number, kind in self.fields)


def search(
    connection: Connection,
    kind: ContainerKind,
    project: str | None,
    tree: Node | None,
    sort: Sort,
    limit: int | None,
) -> list[Any]:
    """What is shown of the containers that a query means, sorted; those without a value to sort by come last."""
    numbers = {} if tree is None else field_numbers(connection, tree)
    conditions = [container.c.kind == kind.folder]
    if project is not None:
        conditions.append(container.c.project == project)
    rare = _rarest(connection, tree, numbers)
    if limit is None or rare is not None or len(sort.fields) != 1 or sort.aspect != "last":
        if tree is not None:
            conditions.append(condition(tree, numbers, container.c.number))
        if rare is not None:
            conditions.append(container.c.number.in_(rare))
        return list(connection.execute(_all(conditions, sort).limit(limit)))
    found = list(connection.execute(_walk(conditions, tree, numbers, sort).limit(limit)))
    if len(found) < limit:
        if tree is not None:
            conditions.append(condition(tree, numbers, container.c.number))
        conditions.append(container.c.number.not_in(_sorted_cells(sort)))
        found += connection.execute(_all(conditions, sort).limit(limit - len(found)))
    return found


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


def _all(conditions: Sequence[ColumnElement[bool]], sort: Sort) -> Select[Any]:
    """All containers, each with its value to sort by."""
    of = cell.alias("sorted")
    is_its = (of.c.container == container.c.number) & of.c.field.in_([number for number, _kind in sort.fields])
    values = _order(of, sort)
    rows = select(*SHOWN).select_from(container.outerjoin(of, is_its)).where(*conditions)
    return rows.order_by(values[0].is_(None), *_directed([*values, container.c.number], sort))


def _walk(conditions: Sequence[ColumnElement[bool]], tree: Node | None, numbers: Numbers, sort: Sort) -> Select[Any]:
    """The containers with a value to sort by, along the index: it stops as soon as there are enough."""
    of = cell.alias("sorted")
    values = _order(of, sort)
    rows = select(*SHOWN).select_from(of.join(container, container.c.number == of.c.container))
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
