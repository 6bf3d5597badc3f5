"""The view of a batch: its columns, cut into ranges of rows and turned into values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class View:
    """The columns of one batch, cut into ranges of rows."""

    def __init__(self, pa: Any, columns: Mapping[str, Any]) -> None:
        self._pa = pa
        self._columns = columns
        self._made: dict[tuple[str, str], Any] = {}

    def _whole(self, form: str, name: str, make: Any) -> Any:
        known = self._made.get((form, name))
        if known is None:
            known = self._made[form, name] = make()
        return known

    def plain(self, name: str, start: int, end: int) -> list[Any]:
        """Return values as Python has them."""
        if name not in self._columns:
            return [None] * (end - start)
        if end == start + 1:  # a single value, as most fields are: a slice of one takes six times as long
            return [self._columns[name][start].as_py()]
        return self._columns[name].slice(start, end - start).to_pylist()  # type: ignore[no-any-return]

    def texts(self, name: str, start: int, end: int) -> list[Any]:
        """Return texts."""
        return self.plain(name, start, end)

    lists = texts

    def fields(self, name: str, member: str, start: int, end: int) -> list[Any]:
        """Return one member of each struct."""
        return [None if each is None else each.get(member) for each in self.plain(name, start, end)]

    def is_valid(self, name: str, start: int, end: int) -> Any:
        """Return which values are no null."""
        if name not in self._columns:
            return np.zeros(end - start, bool)
        return self._whole("valid", name, lambda: validity(self._columns[name]))[start:end]

    def floats(self, name: str, start: int, end: int) -> Any:
        """Return numbers; NaN for null."""
        if name not in self._columns:
            return np.full(end - start, np.nan)
        make = lambda: numbers(self._columns[name].cast(self._pa.float64()), np.nan)  # noqa: E731
        return self._whole("floats", name, make)[start:end]

    def integers(self, name: str, start: int, end: int) -> Any:
        """Return whole numbers, none of them null."""
        return numbers(self._columns[name].slice(start, end - start).cast(self._pa.int64()), 0)

    def microseconds(self, name: str, start: int, end: int) -> list[Any]:
        """Return moments in microseconds since 1970 UTC."""
        pa = self._pa
        if name not in self._columns:
            return [None] * (end - start)
        cut = self._columns[name].slice(start, end - start)
        zone = getattr(cut.type, "tz", None)
        return cut.cast(pa.timestamp("us", zone)).cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]

    def seconds(self, name: str, start: int, end: int) -> Any:
        """Return moments in seconds since 1970 UTC; NaN for null."""
        pa = self._pa

        def make() -> Any:
            if name not in self._columns:
                return np.full(len(next(iter(self._columns.values()))), np.nan)
            column = self._columns[name]
            zone = getattr(column.type, "tz", None)
            whole = column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
            return np.where(validity(column), numbers(whole, 0) / 1000.0, np.nan)

        return self._whole("seconds", name, make)[start:end]

    def decimals(self, name: str, start: int, end: int) -> Any:
        """Return steps; whole numbers where all are, NaN for null."""
        whole = self._whole("decimals", name, lambda: self._decimals(name))[start:end]
        if not np.isnan(whole).any() and (np.floor(whole) == whole).all() and (np.abs(whole) < 2**53).all():
            return whole.astype(np.int64)
        return whole

    def _decimals(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is None:
            return np.full(len(next(iter(self._columns.values()))), np.nan)
        if not self._pa.types.is_decimal128(column.type) or column.type.precision > 18:
            return numbers(column.cast(self._pa.float64(), safe=False), np.nan)
        # to_pylist() would make a Decimal of each step. A step of 18 digits fits the low half of its 16 bytes.
        words = np.frombuffer(column.buffers()[1], np.int64)[2 * column.offset :: 2][: len(column)]  # the low halves
        found = words / 10.0**column.type.scale
        return np.where(validity(column), found, np.nan)


# Not by to_numpy(), fill_null() and array() of Arrow, and to_pandas_dtype() before its version 26: they import
# pandas, which takes a process 0.5 s and 40 MiB.


def chosen(pa: Any, batch: Any, rows: Any) -> Any:
    """Return the rows with these numbers of a batch, in their order."""
    places = np.ascontiguousarray(rows, np.int64)
    return batch.take(pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)]))


def numbers(array: Any, null: float) -> Any:
    """Return the values of an Arrow array of numbers, and another one in the place of null."""
    first, width = str(array.type)[0], array.type.bit_width // 8  # signed, unsigned, or one of Arrow's names of floats
    start, size, dtype = array.offset, len(array), np.dtype(f"{first if first in 'iu' else 'f'}{width}")
    if array.null_count == size:
        return np.full(size, null, dtype)
    found = np.frombuffer(array.buffers()[1], dtype)[start : start + size]
    return np.where(validity(array), found, null).astype(dtype) if array.null_count else found


def booleans(array: Any) -> Any:
    """Return the values of an Arrow array of booleans; False in the place of null."""
    return _bits(array.buffers()[1], array) & validity(array)


def validity(array: Any) -> Any:
    """Return which values of an Arrow array are no null."""
    if array.null_count in (0, len(array)):
        return np.full(len(array), not array.null_count)
    return _bits(array.buffers()[0], array)


def _bits(buffer: Any, array: Any) -> Any:
    start, size = array.offset, len(array)
    if buffer is None:
        return np.zeros(size, bool)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=start + size, bitorder="little")
    return bits[start:].astype(bool)
