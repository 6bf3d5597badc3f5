"""Roll-up: the children of a run summed up as fields of the run, for tables that show a row for each parent.

`sys/children/count` and `sys/children/state` are how many there are and in which states. Each field of numbers of the
children is a series over them, `sys/children/val/acc`: its aspects are the smallest, largest and average of their
values and the variance, and where a series shows its last value, this one shows the average.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from naiad.children import states_text
from naiad.container_kinds import RUN
from naiad.kinds import ASPECTS, ATOM_OF, KINDS, PARENT, PARENT_UID, POINTS, SYS
from naiad.query.criteria import both, not_trashed
from naiad.query.tree import (
    And,
    AnyKind,
    Compare,
    Contains,
    Exists,
    FieldName,
    Leaf,
    Matches,
    Node,
    Not,
    OneOf,
    Or,
    leaves,
)
from naiad.storage.base import Store
from naiad.storage.catalog import Catalog, Cell, Found, Row, Unmatched, path_and_aspect

HOME = "sys/children"
COUNT, STATE = f"{HOME}/count", f"{HOME}/state"
NEW = -1
"""The number of the first field that sums up children; the others follow downwards: those of a catalog are above 0."""
MOST_PARENTS = 500
"""Up to so many parents are searched by name; for more of them all children are read."""


def is_rolled_up(column: str) -> bool:
    """Whether a column sums up children."""
    return column.startswith(f"{HOME}/")


def with_rollup(columns: Sequence[str]) -> list[str]:
    """Return columns with those that sum up the children: count, states, and each field that is no `sys` field."""
    own = [f"{HOME}/{path_and_aspect(each)[0]}" for each in columns if not each.startswith("sys/")]
    return list(dict.fromkeys([*columns, COUNT, STATE, *own]))


def roll_up(store: Store, found: Found, columns: Sequence[str] | None) -> Found:
    """Add to containers that were found the fields that sum up their children.

    Args:
        store: the store that has them.
        found: the result of a search, parents and others.
        columns: the columns that are to be shown; None for every field of the children but `sys` and `monitoring`.
    """
    children = _children(store.catalog(), [row.uid for row in found.rows], columns)
    paths = sorted({path for group in children.values() for path in group.values})
    kinds = [(COUNT, ATOM_OF[int]), (STATE, ATOM_OF[str]), *((f"{HOME}/{path}", POINTS) for path in paths)]
    rows = []
    for row in found.rows:
        group = children.get(row.uid)
        if group is None:
            rows.append(row)
            continue
        cells: list[Cell] = [sum(group.states.values()), states_text(group.states)]
        cells += [_summary(group.values[path]) if path in group.values else None for path in paths]
        its_own = {NEW - place: each for place, each in enumerate(cells) if each is not None}
        rows.append(Row(row.uid, row.id, {**row.cells, **its_own}))
    fields = {**found.fields, **{NEW - place: each for place, each in enumerate(kinds)}}
    return found._replace(fields=fields, rows=rows)


def resolved(catalog: Catalog, tree: Node | None) -> tuple[Node | None, list[Unmatched]]:
    """Return a query whose clauses on `sys/children/...` are lists of parents, and the columns that no parent has.

    The catalog has no such fields, so they are summed up first; a clause on them then selects parents by their ids.
    """
    columns = [] if tree is None else [leaf.field.path for leaf, _ in leaves(tree) if is_rolled_up(leaf.field.path)]
    if tree is None or not columns:
        return tree, []
    groups = list(_children(catalog, None, columns).values())
    known = {COUNT, STATE, *(f"{HOME}/{path}" for group in groups for path in group.values)}
    return _by_parents(tree, groups), [Unmatched(each, {}) for each in dict.fromkeys(columns) if each not in known]


def _by_parents(node: Node, groups: Sequence[_Group]) -> Node:
    if isinstance(node, Not):
        return Not(_by_parents(node.term, groups))
    if isinstance(node, AnyKind) and not any(is_rolled_up(leaf.field.path) for leaf, _depth in leaves(node)):
        return node
    if isinstance(node, (And, Or)):
        # A clause without a type stands for one of each kind, of which most give the same parents.
        terms = tuple(dict.fromkeys(_by_parents(term, groups) for term in node.terms))
        return terms[0] if len(terms) == 1 else And(terms) if isinstance(node, And) else Or(terms)
    if not is_rolled_up(node.field.path):
        return node
    return OneOf(FieldName("sys/id", SYS["sys/id"]), tuple(sorted(each.id for each in groups if _holds(node, each))))


def _holds(leaf: Leaf, group: _Group) -> bool:
    """Whether a clause is true of the children of a parent."""
    value = group.value(leaf.field)
    if value is None or isinstance(leaf, Exists):
        return value is not None
    # By the form of the value, not by its kind: "loss > 1" is as true of an average as of a series.
    if KINDS[leaf.field.kind].compared_as != ("text" if isinstance(value, str) else "number"):
        return False
    if isinstance(leaf, Compare):
        return bool(_SIGNS[leaf.sign](value, leaf.value))
    if isinstance(leaf, OneOf):
        return value in leaf.values
    if isinstance(leaf, Matches):
        import re2

        return re2.search(leaf.pattern, str(value)) is not None
    return isinstance(leaf, Contains) and leaf.text in str(value)


_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def children_summary(store: Store, uid: str) -> dict[tuple[str, str], float | int | str]:
    """Return the fields that sum up the children of one run, by path and kind: count, states and averages."""
    found = roll_up(store, Found({}, [Row(uid, "", {})]), None)
    [row] = found.rows
    cells = {found.fields[number]: cell for number, cell in row.cells.items()}
    plain = {
        (path, ATOM_OF[float] if kind == POINTS else kind): cell[0] if isinstance(cell, list) else cell
        for (path, kind), cell in cells.items()
    }
    return {field: value for field, value in plain.items() if value is not None}


def sorted_by(found: Found, column: str, is_ascending: bool, limit: int | None) -> Found:
    """Sort containers by a column of their children, and keep the first; those without children come last."""
    path, aspect = path_and_aspect(column)
    numbers = [number for number, (each, _kind) in found.fields.items() if each == path]
    place = ASPECTS.index(aspect)

    def value(row: Row) -> Any:
        cell = next((row.cells[number] for number in numbers if number in row.cells), None)
        return cell[place] if isinstance(cell, list) else cell

    have = [row for row in found.rows if value(row) is not None]
    have.sort(key=value, reverse=not is_ascending)
    return found._replace(rows=[*have, *(row for row in found.rows if value(row) is None)][:limit])


class _Group:
    """The children of one parent."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.states: dict[str, int] = {}
        self.values: dict[str, list[float]] = {}

    def value(self, field: FieldName) -> float | str | None:
        """Return the value of a column of a table for all children together."""
        if field.path == COUNT:
            return sum(self.states.values())
        if field.path == STATE:
            return states_text(self.states)
        return _summary(self.values.get(field.path.removeprefix(f"{HOME}/"), ()))[ASPECTS.index(field.aspect)]


def _children(catalog: Catalog, uids: Sequence[str] | None, columns: Sequence[str] | None) -> Mapping[str, _Group]:
    """Return the children of some parents, or of all, by the uids of these."""
    name = FieldName(PARENT_UID, SYS[PARENT_UID])
    # One search for the children of all rows: one for each parent would make the table's time grow with its rows.
    is_its = OneOf(name, tuple(uids)) if uids is not None and len(uids) <= MOST_PARENTS else Exists(name)
    wanted = None
    if columns is not None:
        wanted = [PARENT, PARENT_UID, "sys/state"]
        wanted += [path_and_aspect(each.removeprefix(f"{HOME}/"))[0] for each in columns if is_rolled_up(each)]
    found = catalog.search(RUN, None, both([is_its, *not_trashed(False)]), columns=wanted)
    name_of, parent = _number(found, PARENT), _number(found, PARENT_UID)
    state = _number(found, "sys/state")
    paths = {number: path for number, (path, kind) in found.fields.items() if _is_summed(path, kind)}
    groups: dict[str, _Group] = {}
    for row in found.rows:
        group = groups.setdefault(row.cells[parent], _Group(row.cells.get(name_of, "")))
        group.states[row.cells[state]] = group.states.get(row.cells[state], 0) + 1
        for number, cell in row.cells.items():
            value = cell[0] if isinstance(cell, list) and cell else cell
            if number in paths and isinstance(value, int | float):
                group.values.setdefault(paths[number], []).append(float(value))
    return groups


def _number(found: Found, path: str) -> int:
    return next((number for number, (each, _kind) in found.fields.items() if each == path), -1)


def _is_summed(path: str, kind: str) -> bool:
    row = KINDS[kind]
    is_number = row.holds in ("number", "integer") and row.shape in ("atom", "points")
    return is_number and path.partition("/")[0] not in ("sys", "monitoring")


def _summary(values: Iterable[float]) -> list[float | None]:
    """Return `ASPECTS` of the values of some children."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return [None] * len(ASPECTS)
    # fsum, so that the average does not depend on the order in which children are found.
    mean = math.fsum(finite) / len(finite)
    variance = math.fsum((value - mean) ** 2 for value in finite) / len(finite)
    return [mean, min(finite), max(finite), mean, variance]
