"""Scalars: plain Python values of any framework's numbers, texts and times.

Scalars, arrays and tensors are recognised by how they look, so that no framework is ever imported here.
Nothing is guessed: a value that is not clearly a scalar is not converted.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias

from naiad.errors import NaiadValueError, shown

Scalar: TypeAlias = bool | int | float | str | datetime
"""What an atom holds, as plain Python."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
DATETIME, TIMEDELTA, COMPLEX, NUMBERS = "M", "m", "c", "fiub"
NONE = b"None"
"""The text of an assigned None as an op holds it: bytes, by which it differs from a text "None" that a user gave."""


def plain(value: Any) -> Scalar | None:
    """Return a value in plain Python, or None if it is nothing that an atom holds.

    The one element of an array counts as a scalar. Kinds stay: np.int64 is an int, np.bool_ a bool, bfloat16
    a float. Decimal and Fraction become float, a file path becomes a str, a date its first midnight, a member of an
    Enum its value (its name if that is nothing plain), a timedelta its seconds.

    Raises:
        OverflowError: a number too large for a float, or a moment outside the years 1 to 9999.

    >>> from fractions import Fraction
    >>> plain(Fraction(1, 4)), plain([1])
    (0.25, None)
    """
    # A dict look-up settles nearly every value; the walk over classes below is for subclasses and frameworks.
    convert = _EXACT.get(type(value))
    if convert is not None:
        return convert(value)
    try:
        for known, convert in _PLAIN:
            if isinstance(value, known):
                return convert(value)
        # A class such as np.float64 has a `dtype` too, and is no value.
        if hasattr(value, "dtype") and not isinstance(value, type):
            return _element(value)
        return _as_number(value)
    except (OverflowError, NaiadValueError):
        raise
    except Exception:  # noqa: BLE001 (code of any library: a tensor without data, a quantity with a unit, a dead proxy)
        return None


def dimensions(value: object) -> tuple[Any, ...] | None:
    """Return the shape of an array, tensor or table, and None for anything else."""
    try:
        shape = None if isinstance(value, type) else getattr(value, "shape", None)
        return None if shape is None else tuple(shape)
    except Exception:  # noqa: BLE001 (code of any library: a method of that name, a tensor of unknown rank)
        return None


def microseconds(moment: datetime) -> int:
    """Return a moment in microseconds since 1970 UTC. Without a time zone it is local time.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc))
    1000000
    """
    try:
        return (moment.astimezone(timezone.utc) - EPOCH) // MICROSECOND
    except (OverflowError, ValueError, OSError):  # the C library may know no local time that far away
        raise NaiadValueError(f"{shown(moment)} is outside the years 1 to 9999 in UTC.", value=moment) from None


def from_microseconds(passed: int) -> datetime:
    """Return the moment, in UTC, that many microseconds after 1970.

    >>> from_microseconds(1_000_000)
    datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    """
    return EPOCH + passed * MICROSECOND


def pack_text(value: str) -> str | bytes:
    r"""Return a text as an op holds it: itself, or bytes if a lone surrogate keeps it from being UTF-8.

    >>> pack_text("a"), pack_text(chr(0xD800))
    ('a', b'\xed\xa0\x80')
    """
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def unpack_text(packed: str | bytes) -> str:
    """Return the text that `pack_text` was given."""
    return packed if isinstance(packed, str) else packed.decode("utf-8", "surrogatepass")


def _moment(value: datetime) -> datetime | None:
    """Return the plain datetime of a subclass; pandas' Timestamp loses nanoseconds, and its NaT is none."""
    if value != value:
        return None
    try:
        return datetime.combine(value.date(), value.timetz())
    except ValueError:  # pandas knows years beyond 9999
        raise OverflowError from None


def _of_member(member: Enum) -> Scalar | None:
    """Return the value of an Enum's member, or its name if no field holds that value."""
    found = plain(member._value_)
    return member._name_ if found is None else found


_PLAIN: tuple[tuple[type, Callable[[Any], Scalar | None]], ...] = (  # bool is an int, and a datetime a date
    (bool, bool),
    (int, int.__int__),  # not int(): an IntEnum may have an __int__ of its own
    (float, float.__float__),
    (str, str.__str__),  # not str(): the text of a str enum is its value
    (datetime, _moment),
    (date, lambda value: datetime(value.year, value.month, value.day)),
    (PurePath, str),
    (timedelta, lambda value: None if value != value else value.total_seconds()),  # pandas' NaT is none
    (Enum, _of_member),
)

_EXACT: dict[type, Callable[[Any], Scalar | None]] = {bool: bool, int: int.__int__, float: float.__float__, str: str}
"""What needs no search. NumPy's scalar types join it when the first of each comes by."""


def _element(array: Any) -> Scalar | None:
    """Return the only element of an array or tensor by its kind."""
    kind = getattr(array.dtype, "kind", "")  # numpy's letter; other frameworks have none
    # A complex number has two parts and a masked element no value: neither is guessed.
    if kind == COMPLEX or _size(array) != 1 or _is_masked(array):
        return None
    if not hasattr(array, "item"):  # tensorflow
        return plain(array.numpy())
    item = array.item() if kind != TIMEDELTA else array.astype("timedelta64[us]").item()
    # Only scalars, not 0-d arrays, whose class says nothing about their element; and not np.longdouble, whose item is
    # not plain.
    if kind and kind in NUMBERS and array.dtype.type is type(array) and type(item) in _EXACT:
        _EXACT[type(array)] = operator.methodcaller("item")
    if kind == DATETIME and isinstance(item, int):  # numpy falls back to int for nanoseconds
        item = array.astype("datetime64[us]").item()
        if isinstance(item, int):
            raise OverflowError
    return _as_number(item) if hasattr(item, "dtype") else plain(item)  # np.longdouble is its own item


def _as_number(value: Any) -> int | float | None:
    """Return the number of an object with `__index__` or `__float__`, such as Decimal and Fraction."""
    if hasattr(type(value), "__index__"):
        return operator.index(value)
    if not hasattr(type(value), "__float__"):
        return None
    found = float(value)
    # A Decimal of 10**400 becomes infinite without an error; a Decimal("Infinity") is infinite by itself.
    if math.isinf(found) and value != found:
        raise OverflowError
    return found


def _size(array: Any) -> int:
    """Return the number of elements, or 0 if that is unknown."""
    sizes = dimensions(array)
    is_known = sizes is not None and all(isinstance(size, int) for size in sizes)
    return math.prod(sizes or ()) if is_known else 0


def _is_masked(array: Any) -> bool:
    return type(array).__module__.startswith("numpy.ma") and bool(array.mask.all())
