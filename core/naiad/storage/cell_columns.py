"""Cell columns: the rows of a search as columns of cells, as a database gives them and as a server sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from naiad.storage.catalog import Cell, ColumnRows, Row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Column(NamedTuple):
    """The cells of one field, one for each row."""

    values: Any
    """An array of floats, or of floats with `ASPECTS` as its second dimension, or a list; without meaning for a row
    that lacks the field, but NaN or None."""
    is_there: npt.NDArray[np.bool_] | None
    """Whether a row has the field; None where all have it."""


class CellColumns(ColumnRows):
    """The rows of a search column by column. A row with its cells is made only when it is read."""

    def __init__(self, uids: list[str], ids: list[str], cells: Mapping[int, Column]) -> None:
        self.uids = uids
        self.ids = ids
        self.cells = cells

    def __len__(self) -> int:
        return len(self.uids)

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
        own: list[dict[int, Cell]] = [{} for _ in self.uids]
        for number, (values, is_there) in self.cells.items():
            plain = values if isinstance(values, list) else values.tolist()
            for row in range(len(own)) if is_there is None else is_there.nonzero()[0].tolist():
                own[row][number] = plain[row]
        return list(map(Row, self.uids, self.ids, own))

    def columns(self) -> Mapping[int, Any]:
        """The cells by the number of their field, of the fields that some row has."""
        return {number: values for number, (values, _is_there) in self.cells.items()}

    def last_values(self) -> tuple[Mapping[int, int], npt.NDArray[np.float64]]:
        """A line for each field of floats with the last value of each row, and the place of each field."""
        import numpy as np

        arrays = {number: values for number, values in self.columns().items() if not isinstance(values, list)}
        lines = [values if values.ndim == 1 else values[:, 0] for values in arrays.values()]
        places = dict(zip(arrays, range(len(lines)), strict=True))
        return places, np.array(lines, np.float64).reshape(len(lines), len(self))
