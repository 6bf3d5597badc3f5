"""Places between the pages of a search: the page after one goes on from the values of its last container.

A number of rows to be left out would count others each time: containers appear, change and go between two pages. The
place is a text that any process understands. It has the values to sort by as they were then, and the number of the
container, by which those with equal values are in order.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import msgspec

from naiad.errors import InvalidArgument
from naiad.integers import LARGEST, SMALLEST
from naiad.storage.sql.cells import COLUMNS, ordered_exact, whole_of
from naiad.storage.sql.connection import All, Clause, Connection, Either, Negated, Part, Statement

VALUES = ("num", "integer", "exact", "txt", "whole", "min", "max", "average", "variance")
"""The columns of a cell by which any order sorts."""
_SIGNS = {"after": (">", "<"), "up to": (">=", "<="), "equal": ("=", "=")}


_Integer = Annotated[int, msgspec.Meta(ge=SMALLEST, le=LARGEST)]


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The last container of a page: its number, and its values by the name of each column that was sorted by."""

    number: _Integer
    values: dict[
        str,
        tuple[
            float | None, _Integer | None, _Integer | None, str | None, str | None,
            float | None, float | None, float | None, float | None,
        ],
    ]  # fmt: skip


class Order(msgspec.Struct, frozen=True):
    """One of the columns that a page is sorted by, and the cells that it joins for that."""

    name: str
    """See `name_of`."""
    order: str
    is_ascending: bool
    alias: str


def name_of(column: str, *, is_ascending: bool) -> str:
    """Return the name of a column in a place: with its direction, which is the same for all pages of a walk."""
    return f"{'+' if is_ascending else '-'}{column}"


def place_of(connection: Connection, number: int, fields: Mapping[str, Sequence[int]]) -> str:
    """Return the place of a container, by the fields of each column that it was sorted by, under its name."""
    found = {}
    for name, own in fields.items():
        row = connection.run(_AT, container=number, fields=[*own] or [0]).fetchone()
        found[name] = tuple(row) if row is not None else (None,) * len(VALUES)
    encoded = msgspec.msgpack.encode((number, found))
    return base64.urlsafe_b64encode(encoded).decode().rstrip("=")


def place_in(text: str) -> Place | None:
    """Return the place in a text; None of an empty one.

    Raises:
        InvalidArgument: it is none.
    """
    if not text:
        return None
    try:
        return msgspec.msgpack.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Place)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidArgument("This is not the end of a page of a table.", argument="after", value=text) from error


def after(place: Place, orders: Sequence[Order], number: Clause) -> Clause:
    """Return the condition that a container comes after a place.

    Args:
        place: the place.
        orders: the columns to sort by, the first counts most.
        number: the number of the container.
    """
    rising = orders[0].is_ascending
    found: Clause = Part(f"{{number}} {'>' if rising else '<'} :place", {"number": number, "place": place.number})
    # From the column that counts least: it decides only where all before it are equal.
    for each in reversed(orders):
        own = dict(zip(VALUES, place.values.get(each.name, ()), strict=False))
        for name in reversed(COLUMNS.get(each.order, (each.order,))):
            # Where there is none here, those that are equal so far have none either.
            if own.get(name) is not None:
                found = Either([_compared(each, "after", name, own), All([_compared(each, "equal", name, own), found])])
        for name in reversed(("num", "txt") if each.order == "mixed" else COLUMNS.get(each.order, (each.order,))[:1]):
            is_missing = Part(_is_missing(each.alias, name))
            # Those without a value come last, in both directions.
            if own.get(name) is None:
                found = All([is_missing, found])
            else:
                found = Either([is_missing, All([Negated(is_missing), found])])
    return found


def walked_after(place: Place, order: Order, number: Clause) -> Clause | None:
    """Return the same for those with a value along the index of one column; None if none of them comes after it."""
    name = COLUMNS[order.order][0]
    own = dict(zip(VALUES, place.values.get(order.name, ()), strict=False))
    if own.get(name) is None:
        return None
    # The first condition, which follows from the second, is the one that an index begins with.
    return All([_compared(order, "up to", name, own), after(place, [order], number)])


def _compared(order: Order, how: str, name: str, own: Mapping[str, Any]) -> Clause:
    sign = _SIGNS[how][0 if order.is_ascending else 1]
    return Part(_comparison(order.alias, name, sign), {"value": own[name]})


@cache
def _comparison(alias: str, name: str, sign: str) -> Statement:
    return Statement(
        "naiad.storage.sql.tables",
        f"{name} of {alias} {sign}",
        lambda sql, t: _valued(t.cell.alias(alias), name).op(sign, is_comparison=True)(sql.bindparam("value")),
        is_ahead=False,
    )


@cache
def _is_missing(alias: str, name: str) -> Statement:
    return Statement(
        "naiad.storage.sql.tables",
        f"no {name} of {alias}",
        lambda _sql, t: _valued(t.cell.alias(alias), name).is_(None),
        is_ahead=False,
    )


def _valued(of: Any, name: str) -> Any:
    return ordered_exact(of) if name == "exact" else whole_of(of) if name == "whole" else of.c[name]


_AT = Statement(
    "naiad.storage.sql.tables",
    "values of a place",
    lambda sql, t: (
        sql.select(*(_valued(t.cell, name) for name in VALUES))
        .where(t.cell.c.container == sql.bindparam("container"))
        .where(t.cell.c.field.in_(sql.bindparam("fields", expanding=True)))
    ),
)
