"""Cells: how the columns by which a cell is found hold a text. `columns_of` in `values.py` fills them."""

from __future__ import annotations

from typing import Any

INDEXED_TEXT = 200
"""Characters of a text that the index holds; of a longer one the whole stands beside it."""


def text_of(table: Any) -> Any:
    """The whole text of a cell, as an expression of SQLAlchemy."""
    import sqlalchemy

    return sqlalchemy.func.coalesce(table.c.whole, table.c.txt)
