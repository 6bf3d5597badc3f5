"""Cells: how the columns by which a cell is found hold texts and numbers. `columns_of` in `values.py` fills them."""

from __future__ import annotations

from typing import Any

from naiad.integers import LARGEST

INDEXED_TEXT = 200
"""Characters of a text that the index holds; of a longer one the whole stands beside it."""
SORTED_TEXT = 1_000
"""Characters by which a text is sorted: the place between two pages of a table has those of its row, and stands in an
address that a server takes only up to 64 KiB."""


def text_of(table: Any) -> Any:
    """The whole text of a cell, as an expression of SQLAlchemy."""
    import sqlalchemy

    return sqlalchemy.func.coalesce(table.c.whole, table.c.txt)


COLUMNS = {
    "number": ("num", "integer"),
    "numbers": ("num", "exact"),
    "text": ("txt", "whole"),
    "mixed": ("num", "exact", "txt", "whole"),
}
"""The columns of a cell by which it is sorted; the integer that equals its number, and its whole text, are made."""


def whole_of(table: Any) -> Any:
    """The whole of a text that is longer than the index holds, as far as it is sorted by; empty of any other."""
    import sqlalchemy

    most: Any = sqlalchemy.literal_column(str(SORTED_TEXT))
    whole = sqlalchemy.func.substr(table.c.whole, sqlalchemy.literal_column("1"), most)
    return sqlalchemy.func.coalesce(whole, sqlalchemy.literal_column("''"))


def exact_of(table: Any) -> Any:
    """The integer that equals the number of a cell, as an expression; null of any other number.

    For a path that has integers in some containers and floats in others, where equal ones are one value.
    """
    import sqlalchemy

    number = table.c.num
    whole = sqlalchemy.cast(number, sqlalchemy.BigInteger)
    lowest: Any = sqlalchemy.literal_column("-9223372036854775808.0")
    beyond: Any = sqlalchemy.literal_column("9223372036854775808.0")
    return sqlalchemy.case(
        (table.c.integer.is_not(None), table.c.integer),
        # Before the cast, which is an error of PostgreSQL beyond 64 bits.
        (sqlalchemy.or_(number < lowest, number >= beyond), sqlalchemy.null()),
        (sqlalchemy.cast(whole, sqlalchemy.Float) == number, whole),
    )


def ordered_exact(table: Any) -> Any:
    """The same to sort by: that of a float of 2**63 is after all integers of 64 bits, which may equal it as floats."""
    import sqlalchemy

    # Never null, as databases differ in where nulls come; of other numbers that are equal all have the same.
    return sqlalchemy.func.coalesce(exact_of(table), sqlalchemy.literal_column(str(LARGEST)))
