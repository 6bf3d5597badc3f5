"""Appends that pack their records without a transaction, beside the one in `Handler.append`.

They serve the calls that differ a little from `append(0.5)`: NumPy scalars, fractional steps, times, dicts of floats.
Each returns False, with nothing done, for a call that has to be looked at; the caller then runs a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from math import floor
from operator import methodcaller
from struct import Struct
from struct import error as struct_error
from typing import Any

from naiad.clock import now
from naiad.convert import EARLIEST, LATEST
from naiad.fields.float_series import FloatSeries
from naiad.integers import EXACT, LARGEST, SMALLEST
from naiad.session import Session
from naiad.slots import FLOAT_STEP, RECORD, RECORD_FORM, Page, pack_float, pack_int

NUMPY_NUMBERS = frozenset(["float16", "float32", "int8", "int16", "int32", "uint8", "uint16", "uint32"])
"""Scalars of NumPy that a float64 holds exactly."""
BEYOND = float(LARGEST)
"""The first step that is too large, as a float: comparing one with an int takes as long as packing the point."""
LEAST_GROUP = 16
"""Keys of a dict from which on one call that packs all records is cheaper than a call for each."""
LARGEST_GROUP = 16_384
"""Keys up to which it mostly finds room for all in one page; the records of more are packed in pieces."""

_cheap: dict[type, Callable[[Any], Any]] = {}
"""By class, how the number of a scalar of NumPy or a tensor is had at once; known once one was appended."""


def remember_class(of_class: type) -> None:
    """Remember a class of numbers that need no judgement."""
    module, name = of_class.__module__, of_class.__name__
    if module == "numpy" and name in NUMPY_NUMBERS:
        _cheap[of_class] = float
    elif module == "torch" and name == "Tensor":
        _cheap[of_class] = methodcaller("item")


def append_quickly(series: FloatSeries, value: Any, step: Any, timestamp: Any) -> bool:
    """Pack a point that differs a little from the usual one; False, and nothing done, if it has to be looked at."""
    if type(value) is not float:
        number = _cheap.get(type(value))
        if number is not None:
            try:
                value = number(value)
            except (RuntimeError, TypeError, ValueError):  # a tensor of several elements, or without data
                return False
        if type(value) is int:
            if not -EXACT <= value <= EXACT:
                return False
        elif type(value) is not float and not is_exact(value):
            return False
    if timestamp is None:
        time = now()
    elif type(timestamp) is float and EARLIEST <= timestamp <= LATEST:
        time = timestamp
    else:
        return False
    pack, fid, last, place = pack_int, series.fid, step, step
    if step is None:
        last = place = series.last + 1  # type: ignore[operator]  # a bound series knows its last step
    elif type(step) is float and -BEYOND < step < BEYOND:
        last = floor(step)
        if last != step:
            pack, fid = pack_float, fid | FLOAT_STEP
        elif -EXACT < last < EXACT:
            place = last
        else:
            return False
    elif step.__class__ is not int:
        return False
    offsets, page = series.point_log.slot  # type: ignore[union-attr]  # a bound series has one
    at = next(offsets)
    try:
        pack(page, at, place, value, time, fid, at)
    except (struct_error, ValueError, TypeError):  # page full or closed, step too large
        give_back(page, at)
        return False
    series.last = last
    return True


def give_back(page: Page, at: int) -> None:
    """Fill a reserved record without a point by an empty one, so that the fold does not wait for it."""
    with suppress(struct_error, ValueError, TypeError):  # on a full page there is nothing to fill
        pack_int(page, at, 0, 0.0, 0.0, 0, at)


def is_exact(value: object) -> bool:
    """Whether packing a value as a float loses nothing and needs no word."""
    made_of = type(value)  # and no isinstance(), which asks the object, and that may raise
    return issubclass(made_of, float) or (made_of is int and -EXACT <= value <= EXACT)  # type: ignore[operator]  # an int


class SeriesBelow:
    """The series below a namespace that dicts given to `append` go to directly.

    A key is remembered after a transaction has appended to its series. The number of a series that was removed is 0,
    which sends the next dict with its key to a transaction.
    """

    __slots__ = ("_base", "_group", "_session", "known")

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self._base = f"{path}/" if path else ""
        self.known: dict[str, FloatSeries] = {}
        """By key; `Handler.append` itself packs a few. Replaced, not changed, as threads share it."""
        self._group: _Group | None = None

    def remember(self, keys: dict[Any, Any]) -> None:
        """Look up the series of a dict that was just appended, for the next one."""
        self._group = None
        known = {**self.known}
        for key in keys:
            field = self._session.tree.get(self._base + key) if type(key) is str else None
            if isinstance(field, FloatSeries) and field.is_hot:
                known[key] = field
            else:
                known.pop(key, None)
        self.known = known

    def append_many(self, values: dict[Any, Any], step: Any) -> bool:
        """Append a dict of many floats to series that are all known; False, and nothing done, if it is not that."""
        if not (step is None or (type(step) is int and SMALLEST <= step <= LARGEST)):
            return False
        known = self.known
        return values.keys() <= known.keys() and self._append_group(known, values, step)

    def _append_group(self, known: dict[str, FloatSeries], values: dict[str, Any], step: int | None) -> bool:
        """Append many floats by one call of `pack_into`, which takes half the time of one for each."""
        keys, count = [*values], len(values)
        group = self._group  # looked at once: another thread may put one of other keys in its place
        if group is None or group.keys != keys:
            group = self._group = _Group(keys, [known[key] for key in keys])
        series, time, point_log = group.series, now(), self._session.writer.point_log
        numbers = [each.fid for each in series]
        if not all(numbers):
            return False
        if [*map(type, values.values())].count(float) < count and not all(map(is_exact, values.values())):
            return False
        places = [step] * count if step is not None else [each.last + 1 for each in series]  # type: ignore[operator]
        for each, place in zip(series, places, strict=True):
            each.last = place
        if count > LARGEST_GROUP and max(places) <= LARGEST:
            self._session.writer.point_row(numbers, [*values.values()], places, [time] * count)
            return True
        slot, page = point_log.slot
        offsets = [*islice(slot, count)]  # in C, so that no thread comes between
        records: list[float] = [*places, *places, *places, *places, *places]
        records[1::5], records[2::5] = values.values(), [time] * count
        records[0::5], records[3::5], records[4::5] = places, numbers, offsets
        try:
            if offsets[-1] - offsets[0] != RECORD * (count - 1):
                raise ValueError  # the last ones are beyond the page, or it is no page at all
            group.pack(page, offsets[0], *records)
        except (struct_error, ValueError, TypeError):
            left = iter(offsets)
            for each, place, value in zip(series, places, values.values(), strict=True):
                at = next(left)
                try:
                    pack_int(page, at, place, value, time, each.fid, at)
                except (struct_error, ValueError, TypeError):  # page full or closed: the slow path knows
                    each.put(value, place, time, is_taken=step is None)
                    left, page = point_log.slot
        return True


class _Group:
    """The series of a dict with many keys, and a call that packs a record for each."""

    __slots__ = ("keys", "pack", "series")

    def __init__(self, keys: list[str], series: list[FloatSeries]) -> None:
        self.keys = keys
        self.series = series
        self.pack = Struct(f"@{RECORD_FORM * len(keys)}").pack_into
