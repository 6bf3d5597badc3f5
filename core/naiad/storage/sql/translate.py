"""From the tree of a query to a SQL expression over the catalog.

Each clause tests for a cell by its key: that is as quick for one container as for all, and NOT and OR need
no care for containers that lack the field.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    and_,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    true,
)

from naiad.container_kinds import RUN
from naiad.kinds import KINDS, TAGS
from naiad.query.tree import And, AnyKind, Compare, Contains, IsChild, Leaf, Matches, Node, Not, OneOf, Or, leaves
from naiad.storage.sql import values
from naiad.storage.sql.values import INDEXED_TEXT

Numbers = dict[tuple[str, str], int]
"""The number of each field of the catalog that a query names, by path and kind."""


def field_numbers(connection: Connection, tree: Node) -> Numbers:
    """Look up the fields that a tree names; those that no container has are left out."""
    return values.fields_at(connection, (leaf.field.path for leaf, _depth in leaves(tree)))


def narrowed(node: Node, numbers: Numbers) -> Node:
    """Leave out of clauses the kinds that no container has."""
    if isinstance(node, AnyKind):
        known = tuple(term for term in node.terms if _is_known(term, numbers))
        return node.terms[0] if not known else known[0] if len(known) == 1 else AnyKind(known)
    if isinstance(node, (And, Or)):
        return type(node)(tuple(narrowed(term, numbers) for term in node.terms))
    return Not(narrowed(node.term, numbers)) if isinstance(node, Not) else node


def _is_known(term: Node, numbers: Numbers) -> bool:
    return any((leaf.field.path, leaf.field.kind) in numbers for leaf, _depth in leaves(term))


def condition(node: Node, numbers: Numbers, container: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a tree is true of the container with this number."""
    if isinstance(node, And):
        return and_(*(condition(term, numbers, container) for term in node.terms))
    if isinstance(node, Or):
        return or_(*(condition(term, numbers, container) for term in node.terms))
    if isinstance(node, Not):
        return not_(condition(node.term, numbers, container))
    number = numbers.get((node.field.path, node.field.kind))
    if number is None:
        return false()
    table = _table(node).alias()
    return exists().where(table.c.field == number, table.c.container == container, _test(node, table))


def holders(leaf: Leaf, numbers: Numbers) -> Select[tuple[int]]:
    """Select the numbers of the containers of which a clause is true, from the index of its field."""
    table = _table(leaf).alias()
    number = numbers.get((leaf.field.path, leaf.field.kind), 0)
    return select(table.c.container).where(table.c.field == number, _test(leaf, table))


def text_of(table: FromClause) -> ColumnElement[str]:
    """The whole text of a cell."""
    return func.coalesce(table.c.whole, table.c.txt)


def _table(leaf: Leaf) -> Table:
    return values.tag if isinstance(leaf, Contains) and leaf.field.kind == TAGS else values.cell


def _test(leaf: Leaf, table: FromClause) -> ColumnElement[bool]:
    """Return the condition on one row of the values, or of the tags, for a clause."""
    if isinstance(leaf, Compare):
        return _comparison(leaf, table)
    if isinstance(leaf, OneOf):
        return _is_one_of(leaf, table)
    if isinstance(leaf, Contains):
        if leaf.field.kind == TAGS:
            return table.c.tag == leaf.text
        text = text_of(table)  # LIKE takes seconds to look for some texts
        return func.replace(text, leaf.text, "") != text if leaf.text else text.is_not(None)
    if isinstance(leaf, IsChild):
        return table.c.txt.in_(_living_runs(leaf.project))
    if isinstance(leaf, Matches):
        return text_of(table).regexp_match(leaf.pattern)
    return true()


def _living_runs(project: str | None) -> Select[tuple[str]]:
    """Select the uids of the runs outside the trash, of a project or of all."""
    run, flag, trashed = values.container.alias("parent"), values.field.alias("flag"), values.cell.alias("trashed")
    in_trash = select(trashed.c.container).join(flag, flag.c.number == trashed.c.field)
    found = select(run.c.uid).where(
        run.c.kind == RUN.folder,
        run.c.number.not_in(in_trash.where(flag.c.path == "sys/trashed", trashed.c.num == 1)),
    )
    return found if project is None else found.where(run.c.project == project)


def _comparison(leaf: Compare, table: FromClause) -> ColumnElement[bool]:
    sign, value, kind = leaf.sign, leaf.value, leaf.field.kind
    if value == "idle" and KINDS[kind].holds == "state":
        sign, value = "!=" if sign == "=" else "=", "running"
    if isinstance(value, str):
        return _is_text(table, sign, value)
    compare = SIGNS[sign]
    if KINDS[kind].holds not in EXACT:
        found: ColumnElement[bool] = compare(table.c[COLUMNS.get(leaf.field.aspect, leaf.field.aspect)], float(value))
        return found
    nearly = compare(table.c.num, float(value)) if sign == "=" else WIDER[sign](table.c.num, float(value))
    return and_(nearly, compare(table.c.integer, value))


def _is_one_of(leaf: OneOf, table: FromClause) -> ColumnElement[bool]:
    texts = [value for value in leaf.values if isinstance(value, str)]
    if any(len(text) > INDEXED_TEXT for text in texts):
        return or_(*(_is_text(table, "=", text) for text in texts))
    if texts or not leaf.values:
        return and_(table.c.txt.in_(texts), table.c.whole.is_(None))
    column = table.c[COLUMNS.get(leaf.field.aspect, leaf.field.aspect)]
    nearly = column.in_([float(value) for value in leaf.values])
    if KINDS[leaf.field.kind].holds not in EXACT:
        return nearly
    return and_(nearly, table.c.integer.in_([int(value) for value in leaf.values if float(value).is_integer()]))


def _is_text(table: FromClause, sign: str, value: str) -> ColumnElement[bool]:
    if len(value) <= INDEXED_TEXT:
        is_it = and_(table.c.txt == value, table.c.whole.is_(None))
    else:
        is_it = and_(table.c.txt == value[:INDEXED_TEXT], table.c.whole == value)
    return is_it if sign == "=" else and_(table.c.txt.is_not(None), not_(is_it))


COLUMNS = {"last": "num"}
EXACT = ("integer", "moment")
"""Values that are 64-bit integers, which a float only approaches."""
SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
WIDER: dict[str, Callable[[Any, Any], Any]] = {
    "!=": lambda column, _value: column.is_not(None),
    "<": operator.le,
    "<=": operator.le,
    ">": operator.ge,
    ">=": operator.ge,
}
"""What is true of the nearest float whenever the comparison is true of the integer; the index has the float."""
