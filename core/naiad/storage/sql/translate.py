"""From the tree of a query to a condition over the catalog.

Each clause tests for a cell by its key: that is as quick for one container as for all, and NOT and OR need
no care for containers that lack the field.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from naiad.container_kinds import RUN
from naiad.integers import LARGEST, SMALLEST
from naiad.kinds import ASPECTS, KINDS, TAGS
from naiad.query.criteria import TRASHED
from naiad.query.tree import (
    And,
    AnyKind,
    Compare,
    Contains,
    HasOthers,
    IsChild,
    Leaf,
    Matches,
    Node,
    Not,
    OneOf,
    Or,
    leaves,
)
from naiad.storage.sql.cells import INDEXED_TEXT, text_of
from naiad.storage.sql.connection import ALL, All, Clause, Either, Negated, Part, Statement

NEVER = Either(())
"""The condition that holds of nothing."""
Numbers = dict[tuple[str, str], int]
"""The number of each field of the catalog that a query names, by path and kind."""


def narrowed(node: Node, numbers: Numbers) -> Node:
    """Leave out of clauses the kinds that no container has."""
    if isinstance(node, AnyKind):
        # `lr > 0.1` means five kinds, and a catalog mostly has one of them: each of the others would be a test for
        # every row.
        known = tuple(term for term in node.terms if _is_known(term, numbers))
        return node.terms[0] if not known else known[0] if len(known) == 1 else AnyKind(known)
    if isinstance(node, (And, Or)):
        return type(node)(tuple(narrowed(term, numbers) for term in node.terms))
    return Not(narrowed(node.term, numbers)) if isinstance(node, Not) else node


def _is_known(term: Node, numbers: Numbers) -> bool:
    return any((leaf.field.path, leaf.field.kind) in numbers for leaf, _depth in leaves(term))


def condition(node: Node, numbers: Numbers, container: Clause) -> Clause:
    """Whether a tree is true of the container with this number."""
    if isinstance(node, And):
        return All([condition(term, numbers, container) for term in node.terms])
    if isinstance(node, Or):
        return Either([condition(term, numbers, container) for term in node.terms])
    if isinstance(node, Not):
        if node.term == TRASHED:
            # Nearly every table has this clause, of nearly every row: the few in the trash are read once for all rows.
            return Part("{container} NOT IN ({rows})", {"container": container, "rows": holders(TRASHED, numbers)})
        return Negated(condition(node.term, numbers, container))
    number = numbers.get((node.field.path, node.field.kind))
    # No container has the field: the clause is false, and its negation true, without a look at any row.
    if number is None:
        return NEVER
    return Part(_HAS[_is_of_tags(node)], {"field": number, "container": container, "test": _test(node)})


def holders(leaf: Leaf, numbers: Numbers) -> Clause:
    """Select the numbers of the containers of which a clause is true, from the index of its field."""
    number = numbers.get((leaf.field.path, leaf.field.kind), 0)
    return Part(_HOLDERS[_is_of_tags(leaf)], {"field": number, "test": _test(leaf)})


def _is_of_tags(leaf: Leaf) -> bool:
    return isinstance(leaf, Contains | HasOthers) and leaf.field.kind == TAGS


def _test(leaf: Leaf) -> Clause:
    """Return the condition on one row of the values, or of the tags, for a clause."""
    if isinstance(leaf, Compare):
        return _comparison(leaf)
    if isinstance(leaf, OneOf):
        return _is_one_of(leaf)
    if isinstance(leaf, Contains):
        if leaf.field.kind == TAGS:
            return Part(_IS_TAG, {"text": leaf.text})
        return Part(_CONTAINS, {"text": leaf.text}) if leaf.text else Part(_HAS_TEXT)
    if isinstance(leaf, HasOthers):
        return Part(_IS_OTHER_TAG, {"texts": list(leaf.texts)})
    if isinstance(leaf, IsChild):
        if leaf.project is None:
            return Part(_IS_UID_OF_ANY, {"kind": RUN.folder})
        return Part(_IS_UID_OF, {"kind": RUN.folder, "project": leaf.project})
    return Part(_MATCHES, {"pattern": leaf.pattern}) if isinstance(leaf, Matches) else ALL


def _comparison(leaf: Compare) -> Clause:
    sign, value, kind = leaf.sign, leaf.value, leaf.field.kind
    if value == "idle" and KINDS[kind].holds == "state":
        sign, value = "!=" if sign == "=" else "=", "running"
    if isinstance(value, str):
        return _is_text(sign, value)
    if KINDS[kind].holds not in EXACT:
        return Part(_COMPARED[COLUMNS.get(leaf.field.aspect, leaf.field.aspect), sign], {"value": float(value)})
    # Two conditions: the first, by float, uses the index and is true of a little more; the second is exact beyond
    # 2**53.
    return Part(_EXACTLY[sign], {"nearly": float(value), "value": value})


def _is_one_of(leaf: OneOf) -> Clause:
    texts = [value for value in leaf.values if isinstance(value, str)]
    # The index holds the beginning of a text, so a long one needs its whole beside it.
    if any(len(text) > INDEXED_TEXT for text in texts):
        return Either([_is_text("=", text) for text in texts])
    if texts or not leaf.values:
        return Part(_AMONG_TEXTS, {"texts": texts})
    numbers = [value for value in leaf.values if not isinstance(value, str)]
    nearly = [float(value) for value in numbers]
    if KINDS[leaf.field.kind].holds not in EXACT:
        return Part(_AMONG[COLUMNS.get(leaf.field.aspect, leaf.field.aspect)], {"values": nearly})
    # No field equals a number beyond 64 bits, and no database takes one as an integer.
    exact = [int(value) for value in numbers if float(value).is_integer() and SMALLEST <= value <= LARGEST]
    return Part(_AMONG_EXACTLY, {"nearly": nearly, "values": exact})


def _is_text(sign: str, value: str) -> Clause:
    if len(value) > INDEXED_TEXT:
        return Part(_TEXT[sign, True], {"text": value[:INDEXED_TEXT], "whole": value})
    return Part(_TEXT[sign, False], {"text": value})


COLUMNS = {"last": "num"}
EXACT = ("integer", "moment")
"""Values that are 64-bit integers, which a float only approaches."""
SIGNS = ("=", "!=", "<", "<=", ">", ">=")
WIDER = {"=": "=", "<": "<=", "<=": "<=", ">": ">=", ">=": ">="}
"""The comparison that is true of the nearest float whenever one is true of the integer; the index has the float."""

_statement = partial(Statement, "naiad.storage.sql.tables")


def _compared(column: Any, sign: str, value: Any) -> Any:
    return column.bool_op(sign)(value)


def _found(t: Any) -> Any:
    """The cell that is looked for, under one name in all clauses."""
    return t.cell.alias("found")


_HAS, _HOLDERS = (
    [
        _statement(
            f"{name}.{table}",
            lambda sql, t, table, is_test: _rows(sql, t.metadata.tables[table].alias("found"), is_test),
            table,
            is_test,
        )
        for table in ("cell", "tag")
    ]
    for name, is_test in (("has", True), ("holders", False))
)


def _rows(sql: Any, found: Any, is_test: bool) -> Any:
    """The rows of a field; those of one container to test for them."""
    if not is_test:
        return sql.select(found.c.container).where(found.c.field == sql.bindparam("field"), sql.text("({test})"))
    is_its = found.c.container == sql.literal_column("{container}")
    return sql.exists().where(found.c.field == sql.bindparam("field"), is_its, sql.text("({test})"))


_COMPARED = {
    (column, sign): _statement(
        f"test {column} {sign}",
        lambda sql, t, column, sign: _compared(_found(t).c[column], sign, sql.bindparam("value")),
        column,
        sign,
    )
    for column in ("num", *ASPECTS[1:])
    for sign in SIGNS
}
_EXACTLY = {
    sign: _statement(
        f"test integer {sign}",
        lambda sql, t, sign: sql.and_(
            _compared(_found(t).c.num, WIDER[sign], sql.bindparam("nearly"))
            if sign in WIDER
            else _found(t).c.num.is_not(None),
            _compared(_found(t).c.integer, sign, sql.bindparam("value")),
        ),
        sign,
    )
    for sign in SIGNS
}
_AMONG = {
    column: _statement(
        f"test {column} among",
        lambda sql, t, column: _found(t).c[column].in_(sql.bindparam("values", expanding=True)),
        column,
    )
    for column in ("num", *ASPECTS[1:])
}
_AMONG_EXACTLY = _statement(
    "test integer among",
    lambda sql, t: sql.and_(
        _found(t).c.num.in_(sql.bindparam("nearly", expanding=True)),
        _found(t).c.integer.in_(sql.bindparam("values", expanding=True)),
    ),
)
_AMONG_TEXTS = _statement(
    "test text among",
    lambda sql, t: sql.and_(
        _found(t).c.txt.in_(sql.bindparam("texts", expanding=True)), _found(t).c.whole.is_(sql.null())
    ),
)
_TEXT = {
    (sign, is_long): _statement(
        f"test text {sign} {'long' if is_long else 'short'}",
        lambda sql, t, sign, is_long: _text_test(sql, _found(t), sign, is_long),
        sign,
        is_long,
    )
    for sign in ("=", "!=")
    for is_long in (False, True)
}


def _text_test(sql: Any, found: Any, sign: str, is_long: bool) -> Any:
    whole = found.c.whole == sql.bindparam("whole") if is_long else found.c.whole.is_(sql.null())
    is_it = sql.and_(found.c.txt == sql.bindparam("text"), whole)
    return is_it if sign == "=" else sql.and_(found.c.txt.is_not(None), sql.not_(is_it))


def _living(sql: Any, t: Any) -> Any:
    """Select the uids of the containers of a kind outside the trash."""
    owner, flag, trashed = t.container.alias("parent"), t.field.alias("flag"), t.cell.alias("trashed")
    in_trash = sql.select(trashed.c.container).join(flag, flag.c.number == trashed.c.field)
    is_marked = (flag.c.path == sql.literal_column("'sys/trashed'")) & (trashed.c.num == sql.literal_column("1"))
    return sql.select(owner.c.uid).where(
        owner.c.kind == sql.bindparam("kind"), owner.c.number.not_in(in_trash.where(is_marked))
    )


_IS_UID_OF_ANY = _statement("test uid", lambda sql, t: _found(t).c.txt.in_(_living(sql, t)))
_IS_UID_OF = _statement(
    "test uid of project",
    lambda sql, t: _found(t).c.txt.in_(
        _living(sql, t).where(sql.literal_column("parent.project") == sql.bindparam("project"))
    ),
)
_IS_TAG = _statement("test tag", lambda sql, t: t.tag.alias("found").c.tag == sql.bindparam("text"))
_IS_OTHER_TAG = _statement(
    "test other tag",
    lambda sql, t: t.tag.alias("found").c.tag.not_in(sql.bindparam("texts", expanding=True)),
)
_HAS_TEXT = _statement("test text", lambda _sql, t: text_of(_found(t)).is_not(None))
_CONTAINS = _statement(  # LIKE takes seconds to look for some texts
    "test text contains",
    lambda sql, t: (
        sql.func.replace(text_of(_found(t)), sql.bindparam("text"), sql.literal_column("''")) != text_of(_found(t))
    ),
)
_MATCHES = _statement("test text matches", lambda sql, t: text_of(_found(t)).regexp_match(sql.bindparam("pattern")))
