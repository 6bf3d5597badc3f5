"""Packed rows: the rows of a search that found many, as the catalog has them packed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, overload

from naiad.kinds import ASPECTS
from naiad.storage.catalog import Cell, ColumnRows, Row
from naiad.storage.sql.values import Layout, Shown, cells_in, decode_map, layout_of, parts_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FEWEST_ALIKE = 8
"""Rows with the same fields, on average, from which on columns are made quicker than rows."""
MOST_EMPTY = 8
"""Places in columns for each cell up to which columns are made. Rows with fields of their own would have the square."""
_WIDTH = len(ASPECTS)


class PackedRows(ColumnRows):
    """The rows of a search that found many, whose floats become objects only where a row is read.

    Raises:
        ValueError, MsgspecError: one of them holds what no release writes.
    """

    def __init__(self, rows: Sequence[Shown]) -> None:
        self._shown = rows
        self._floats: list[tuple[Layout, bytes]] = []
        self._others: list[dict[int, Cell]] = []
        layouts: dict[bytes, Layout] = {}
        for _facts, numbers, floats, others in map(parts_of, map(attrgetter("cells"), rows)):
            layout = layouts.get(numbers)
            if layout is None:
                layout = layouts[numbers] = layout_of(numbers)
            # Decoded now: a row that no release writes is met here, where the catalog is made anew for it.
            if len(floats) != 8 * (len(layout.atoms) + _WIDTH * len(layout.series)):
                raise ValueError("a block of floats is not that of its fields")
            self._floats.append((layout, floats))
            self._others.append(decode_map(others))
        self._layouts = layouts.values()

    def __len__(self) -> int:
        return len(self._shown)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        return self._rows[at]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @cached_property
    def _rows(self) -> list[Row]:
        return [Row(row.uid, row.id, cells_in(row.cells)) for row in self._shown]

    def columns(self) -> Mapping[int, Any] | None:
        """The cells by the number of their field; None where too many rows have fields of their own."""
        if len(self._layouts) * FEWEST_ALIKE > len(self):
            return None
        others = {number for shape in set(map(tuple, self._others)) for number in shape}
        numbers = others.union(*(layout.atoms + layout.series for layout in self._layouts))
        cells = sum(map(len, self._others))
        cells += sum(len(layout.atoms) + len(layout.series) for layout, _floats in self._floats)
        if len(numbers) * len(self) > MOST_EMPTY * cells:
            return None
        alike: dict[int, list[int]] = {}
        for row, (layout, _floats) in enumerate(self._floats):
            alike.setdefault(id(layout), []).append(row)
        found: dict[int, Any] = {number: [row.get(number) for row in self._others] for number in others}
        for rows in alike.values():
            self._add_floats(rows, found)
        return found

    def _add_floats(self, rows: list[int], found: dict[int, Any]) -> None:
        """Put the floats of rows with the same fields into their columns."""
        import numpy as np

        layout = self._floats[rows[0]][0]
        block = np.frombuffer(b"".join([self._floats[row][1] for row in rows]), "<f8").reshape(len(rows), -1)
        at = np.array(rows)
        for place, number in enumerate(layout.atoms):
            self._column(found, number)[at] = block[:, place]
        for start, number in enumerate(layout.series):
            first = len(layout.atoms) + _WIDTH * start
            self._column(found, number, _WIDTH)[at] = block[:, first : first + _WIDTH]

    def _column(self, found: dict[int, Any], number: int, *width: int) -> Floats:
        """The array of a field, which begins with what rows have in the map: no value, or a series without one."""
        import numpy as np

        column = found.get(number)
        if column is None:
            column = np.full((len(self), *width), np.nan)
        elif isinstance(column, list):
            column = np.array([each or [None] * width[0] for each in column] if width else column, np.float64)
        found[number] = column
        return column
