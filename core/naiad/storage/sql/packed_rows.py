"""Packed rows: the rows of a search that found many, as the catalog has them packed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, KeysView, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, overload

from naiad.kinds import ASPECTS
from naiad.storage.catalog import Cell, ColumnRows, Row
from naiad.storage.sql.values import MANY_CELLS, Layout, Shown, cells_in, decode_map, layout_of, parts_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FEWEST_ALIKE = 8
"""Rows with the same fields, on average, from which on columns are made quicker than rows, unless those are wide."""
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
        cells = sum(map(len, self._others))
        cells += sum(len(layout.atoms) + len(layout.series) for layout, _floats in self._floats)
        if len(self._layouts) * FEWEST_ALIKE > len(self) and cells < MANY_CELLS * len(self):
            return None
        others = {number for shape in set(map(tuple, self._others)) for number in shape}
        numbers = others.union(*(layout.atoms + layout.series for layout in self._layouts))
        if len(numbers) * len(self) > MOST_EMPTY * cells:
            return None
        found = {number: [row.get(number) for row in self._others] for number in others}
        return _Columns(self._places, len(self._lines[0]), self._lines[2], found)

    def last_values(self) -> tuple[Mapping[int, int], Floats]:
        """A line for each field of floats with the last value of each row, and the place of each field without others.

        They are the columns of very many fields, as pandas takes them in one piece.
        """
        import numpy as np

        atoms, _series, floats = self._lines
        places = self._places
        mixed = places.keys() & set[int]().union(*self._others)
        if mixed:
            places = {number: place for number, place in places.items() if number not in mixed}
        return places, np.concatenate([floats[: len(atoms)], floats[len(atoms) :: _WIDTH]])

    @cached_property
    def _places(self) -> Mapping[int, int]:
        """The place of each field with floats among all of them: atoms, then series."""
        atoms, series, _floats = self._lines
        return dict(zip(chain(atoms, series), itertools.count()))

    @cached_property
    def _lines(self) -> tuple[Sequence[int], Sequence[int], Floats]:
        """The fields with floats: atoms, series, and a line for each atom and aspect, NaN in rows that lack it."""
        import numpy as np

        alike: dict[int, list[int]] = {}
        for row, (layout, _floats) in enumerate(self._floats):
            alike.setdefault(id(layout), []).append(row)
        blocks: list[tuple[Layout, list[int], Floats]] = []
        for rows in alike.values():
            floats = np.frombuffer(b"".join([self._floats[row][1] for row in rows]), "<f8")
            blocks.append((self._floats[rows[0]][0], rows, floats.reshape(len(rows), -1).T))
        if len(blocks) == 1:
            layout, _rows, block = blocks[0]
            return layout.atoms, layout.series, block
        atoms = [*dict.fromkeys(chain.from_iterable(layout.atoms for layout in self._layouts))]
        series = [*dict.fromkeys(chain.from_iterable(layout.series for layout in self._layouts))]
        places = dict(zip(atoms, itertools.count()))
        starts = dict(zip(series, itertools.count(len(atoms), _WIDTH)))
        lines = np.full((len(atoms) + _WIDTH * len(series), len(self)), np.nan)
        for layout, rows, block in blocks:
            own = np.array([*map(places.__getitem__, layout.atoms)], np.intp)
            summed = np.array([*map(starts.__getitem__, layout.series)], np.intp)[:, np.newaxis] + np.arange(_WIDTH)
            lines[np.ix_(np.concatenate([own, summed.ravel()]), np.array(rows))] = block
        return atoms, series, lines


class _Columns(Mapping[int, Any]):
    """Columns by the number of their field; those of floats are made when asked for, as a table may have very many.

    Args:
        places: of the fields with floats, atoms before series.
        first: the place of the first series.
        lines: the floats, a line for each atom and for each aspect of a series.
        others: all other cells, row by row.
    """

    def __init__(self, places: Mapping[int, int], first: int, lines: Floats, others: Mapping[int, list[Cell]]) -> None:
        self._places = places
        self._first = first
        self._lines = lines
        self._others = others
        self._numbers: dict[int, Any] = {**places, **others}

    def __getitem__(self, number: int) -> Any:
        place = self._places.get(number)
        if place is None:
            return self._others[number]
        column = self._lines[place] if place < self._first else self._summed(place)
        return _mixed(column, self._others[number]) if number in self._others else column

    def _summed(self, place: int) -> Floats:
        start = self._first + (place - self._first) * _WIDTH
        return self._lines[start : start + _WIDTH].T

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def keys(self) -> KeysView[int]:
        """The numbers of all fields."""
        return self._numbers.keys()


def _mixed(column: Floats, cells: list[Any]) -> Floats:
    """The floats of a field with the cells that rows have in their maps: no value, or a series without some."""
    import numpy as np

    found = column.copy()
    for row, cell in enumerate(cells):
        if cell is not None:
            found[row] = np.array(cell, np.float64)
    return found
