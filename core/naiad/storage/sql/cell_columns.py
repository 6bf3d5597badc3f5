"""Columns of cells of very many containers, taken from the rows of the cells: the others of a container stay unread.

The rows of cells have every value but a few exactly: a text that is longer than the index holds stands beside it, one
with a zero byte has another character there, and a null is NaN or no value. Such containers are read again as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from naiad.kinds import ASPECTS, KINDS
from naiad.storage.cell_columns import CellColumns, Column
from naiad.storage.sql.connection import ALL, Clause, Connection, Part, Statement
from naiad.storage.sql.values import cells_in, shown_at, whole_cells

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Places = npt.NDArray[np.int64]

MOST_COLUMNS = 50
"""Columns that are read one by one; of more of them the containers are read as a whole."""
MOST_READ_AGAIN = 2_000
"""Containers that are read again as a whole; of more of them all are."""
MOST_ROWS = 1_000_000
"""Containers whose columns fit into one value of the database with certainty."""
REPLACED = "\N{SYMBOL FOR NULL}"
"""The character that a database may have in place of a zero byte."""


def can_be_read(fields: Mapping[int, tuple[str, str]]) -> bool:
    """Whether the cells of some fields have their values in columns."""
    return len(fields) <= MOST_COLUMNS and all(_form(kind) for _path, kind in fields.values())


def read(
    connection: Connection,
    numbers: Places,
    uids: list[str],
    ids: list[str],
    wanted: Clause,
    fields: Mapping[int, tuple[str, str]],
) -> CellColumns | None:
    """The cells of some fields in some containers, of which `wanted` is true; None where their rows are needed."""
    import numpy as np

    # All cells of a field lie together, so that passing over less than half of them is quicker than asking for each.
    is_most = 2 * len(numbers) >= int(numbers.max())
    where = ALL if is_most else Part(_OF, {"rows": Part(_NUMBERS, {"where": wanted})})
    found: dict[int, Column] = {}
    doubtful: set[int] = set()
    places = np.full(int(numbers.max()) + 1, -1, np.int64)
    places[numbers] = np.arange(len(numbers))
    for field, (_path, kind) in fields.items():
        form = _form(kind)
        values = connection.columns(_CELLS[form], _FORMS[form], field=field, where=where)
        if values is None:
            return None
        container, *own = values
        # Containers that are not asked for, or have come since with a greater number, are left out.
        at = np.where(container < len(places), places[np.minimum(container, len(places) - 1)], -1)
        is_asked = at >= 0
        if not is_asked.any():
            continue
        column, is_odd = _column(kind, form, own)
        doubtful.update(at[is_odd & is_asked].tolist())
        if len(doubtful) > MOST_READ_AGAIN:
            return None
        found[field] = _placed(column, at, is_asked, len(numbers))
    _read_again(connection, numbers, sorted(doubtful), found)
    return CellColumns(uids, ids, found)


def _form(kind: str) -> str:
    """The columns in which the cells of a kind have their values; empty of a kind whose values are elsewhere."""
    row = KINDS[kind]
    if row.holds in ("number", "boolean"):
        return "series" if row.aspects else "number"
    if row.holds in ("integer", "moment"):
        return "integer"
    return "text" if row.holds in ("text", "state") and row.shape != "tags" else ""


def _column(kind: str, form: str, own: Sequence[Any]) -> tuple[Any, npt.NDArray[np.bool_]]:
    """The values of cells, and which of them may be others."""
    import numpy as np

    if form == "series":
        return np.stack(own, axis=1), np.isnan(own[0]) | np.isnan(own[1])
    if form == "text":
        [texts] = own
        is_odd = np.zeros(len(texts), np.bool_)
        is_odd[[place for place, text in enumerate(texts) if text is None or REPLACED in text]] = True
        return texts, is_odd
    values, exact = own
    if form == "integer":
        return values.tolist(), np.full(len(values), exact < len(values))
    is_odd = np.full(len(values), exact > 0)
    if KINDS[kind].holds == "boolean":
        return (values != 0).tolist(), np.isnan(values) | is_odd
    return values, is_odd


def _placed(values: Any, at: Places, is_asked: npt.NDArray[np.bool_], count: int) -> Column:
    """The values of cells in the order of the rows."""
    import numpy as np

    is_list = isinstance(values, list)
    column = np.full(count, None, object) if is_list else np.full((count, *values.shape[1:]), np.nan)
    column[at[is_asked]] = (np.array(values, object) if is_list else values)[is_asked]
    found = column.tolist() if is_list else column
    if np.count_nonzero(is_asked) == count:
        return Column(found, None)
    is_there = np.zeros(count, np.bool_)
    is_there[at[is_asked]] = True
    return Column(found, is_there)


def _read_again(connection: Connection, numbers: Places, rows: list[int], found: dict[int, Column]) -> None:
    """Put the cells of some containers into columns as the containers themselves have them."""
    for place, row in zip(rows, shown_at(connection, numbers[rows].tolist()), strict=True):
        cells = cells_in(whole_cells(row))
        for field, (values, is_there) in [*found.items()]:
            if field not in cells:
                continue
            cell = cells[field]
            has_none = cell is None or (isinstance(cell, list) and None in cell) or type(cell) is int
            if has_none and not isinstance(values, list):
                values = values.tolist()
                if is_there is not None:
                    values = [each if there else None for each, there in zip(values, is_there.tolist(), strict=True)]
                found[field] = Column(values, is_there)
            values[place] = cell


_statement = partial(Statement, "naiad.storage.sql.tables")


def _cells(sql: Any, t: Any, form: str) -> Any:
    """The cells of a field, with the values that they have in some form."""
    of = t.cell
    values = {
        "number": [of.c.num, of.c.integer],
        "integer": [of.c.integer, of.c.integer.label("exact")],
        "text": [sql.case((of.c.whole.is_(None), of.c.txt)).label("txt")],  # null of one that is longer
        "series": [of.c.num, *(of.c[name] for name in ASPECTS[1:])],
    }[form]
    rows = sql.select(of.c.container, *values).where(of.c.field == sql.bindparam("field"))
    return rows.where(sql.text("({where})"))


_FORMS: dict[str, Mapping[str, str]] = {
    "number": {"container": "integer", "num": "number", "integer": "count"},
    "integer": {"container": "integer", "integer": "integer", "exact": "count"},
    "text": {"container": "integer", "txt": "text"},
    "series": {"container": "integer", "num": "number", **dict.fromkeys(ASPECTS[1:], "number")},
}
_NUMBERS = _statement("container.numbers", lambda sql, t: sql.select(t.container.c.number).where(sql.text("({where})")))
_CELLS = {form: _statement(f"cells of {form}", _cells, form) for form in _FORMS}
_OF = _statement("cell.of", lambda sql, t: t.cell.c.container.in_(sql.text("{rows}")))
