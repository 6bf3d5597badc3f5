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
from naiad.slots import FLOAT_STEP, RECORD, RECORD_FORM, Page, PointLog, pack_float, pack_int

NUMPY_NUMBERS = frozenset(["float16", "float32", "int8", "int16", "int32", "uint8", "uint16", "uint32"])
"""Scalars of NumPy that a float64 holds exactly."""
LEAST_GROUP = 16
"""Keys of a dict from which on one call that packs all records is cheaper than a call for each."""

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
    if value.__class__ in _cheap:
        try:
            value = _cheap[value.__class__](value)
        except (RuntimeError, TypeError, ValueError):  # a tensor of several elements, or without data
            return False
    if not (value.__class__ is float or is_exact(value)):
        return False
    if timestamp is None:
        time = now()
    elif timestamp.__class__ is float and EARLIEST <= timestamp <= LATEST:
        time = timestamp
    else:
        return False
    pack, number, last, place = pack_int, series.fid, step, step
    if step is None:
        last = place = series.last + 1  # type: ignore[operator]  # a bound series knows its last step
    elif step.__class__ is float and SMALLEST <= step <= LARGEST:
        last = floor(step)
        if last != step:
            pack, number = pack_float, number | FLOAT_STEP
        elif -EXACT < last < EXACT:
            place = last
        else:
            return False
    elif step.__class__ is not int:
        return False
    reserve, page = series.point_log.slot  # type: ignore[union-attr]  # a bound series has one
    at = reserve()
    try:
        pack(page, at, place, value, time, number, at)
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

    A key is remembered after a transaction has appended to its series, and forgotten when a field of the run is
    removed.
    """

    __slots__ = ("_base", "_group", "_known", "_removals", "_session")

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self._base = f"{path}/" if path else ""
        self._known: dict[str, FloatSeries] = {}
        self._group: _Group | None = None
        self._removals = session.removals
        """Fields that had been removed when the series were looked up."""

    def remember(self, keys: dict[Any, Any]) -> None:
        """Look up the series of a dict that was just appended, for the next one."""
        self._group = None
        if self._removals != self._session.removals:
            self._known.clear()
            self._removals = self._session.removals
        for key in keys:
            field = self._session.tree.get(self._base + key) if type(key) is str else None
            if isinstance(field, FloatSeries) and field.is_hot:
                self._known[key] = field

    def append(self, values: dict[Any, Any], step: Any) -> bool:
        """Append a dict of floats to series that are all known; False, and nothing done, if it is not that."""
        if not (step is None or (step.__class__ is int and SMALLEST <= step <= LARGEST)):
            return False
        if self._removals != self._session.removals:  # one of the series may be gone
            return False
        known = self._known
        if len(values) >= LEAST_GROUP:
            if [*map(type, values.values())].count(float) < len(values) and not all(map(is_exact, values.values())):
                return False
            if not values.keys() <= known.keys():
                return False
            self._append_group(values, step, now(), self._session.writer.point_log)
            return True
        # All are looked at before the first is packed: a call that is refused leaves no trace. In a step of training
        # each line meets cold caches, so a few keys take the loops that touch least.
        found = []
        for key, value in values.items():
            if (value.__class__ is not float and not is_exact(value)) or key not in known:
                return False
            found.append((known[key], value))
        time = now()
        point_log = found[0][0].point_log if found else None
        if point_log is None:
            return not found
        reserve, page = point_log.slot
        place = step
        for series, value in found:
            if step is None:
                place = series.last + 1  # type: ignore[operator]  # a bound series knows its last step
            series.last = place
            at = reserve()
            try:
                pack_int(page, at, place, value, time, series.fid, at)
            except (struct_error, ValueError, TypeError):  # page full or closed: the slow path knows
                series.put(value, place, time, is_taken=step is None)
                reserve, page = point_log.slot
        return True

    def _append_group(self, values: dict[str, float], step: int | None, time: float, point_log: PointLog) -> None:
        """Append many floats by one call of `pack_into`, which takes half the time of one for each."""
        keys, count = [*values], len(values)
        if self._group is None or self._group.keys != keys:
            self._group = _Group(keys, [self._known[key] for key in keys])
        series = self._group.series
        places = [step] * count if step is not None else [each.last + 1 for each in series]  # type: ignore[operator]
        for each, place in zip(series, places, strict=True):
            each.last = place
        reserve, page = point_log.slot
        offsets = [*islice(reserve.__self__, count)]  # type: ignore[attr-defined]  # in C, so that no thread comes between
        records: list[float] = [*places, *places, *places, *places, *places]
        records[1::5], records[2::5] = values.values(), [time] * count
        records[0::5], records[3::5], records[4::5] = places, [each.fid for each in series], offsets
        try:
            if offsets[-1] - offsets[0] != RECORD * (count - 1):
                raise ValueError  # the last ones are beyond the page, or it is no page at all
            self._group.pack(page, offsets[0], *records)
        except (struct_error, ValueError, TypeError):
            left = iter(offsets)
            for each, place, value in zip(series, places, values.values(), strict=True):
                at = next(left)
                try:
                    pack_int(page, at, place, value, time, each.fid, at)
                except (struct_error, ValueError, TypeError):  # page full or closed: the slow path knows
                    each.put(value, place, time, is_taken=step is None)
                    reserve, page = point_log.slot
                    left = iter(reserve, None)


class _Group:
    """The series of a dict with many keys, and a call that packs a record for each."""

    __slots__ = ("keys", "pack", "series")

    def __init__(self, keys: list[str], series: list[FloatSeries]) -> None:
        self.keys = keys
        self.series = series
        self.pack = Struct(f"@{RECORD_FORM * len(keys)}").pack_into
