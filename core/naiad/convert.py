"""Conversion of users' values to values of fields, or to an error that names path, kind and value.

The one rule: nothing is lost on the way. Functions here are pure; `scalars.py` handles the frameworks' values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from naiad.errors import (
    InvalidArgument,
    LimitWarning,
    NaiadTypeError,
    NaiadValueError,
    UnsupportedValue,
    shown,
    warn_once,
)
from naiad.integers import EXACT, LARGEST, SMALLEST
from naiad.kinds import ATOM_OF, LINES, POINTS
from naiad.scalars import Scalar, dimensions, microseconds, plain
from naiad.structures import Unreadable, read
from naiad.types import ATOMS, Atom, Float, String, StringifyValue

LONGEST_TEXT = 16 * 2**20  # bytes of UTF-8
EARLIEST, LATEST = (
    -62_135_510_400.0,
    253_402_214_400.0,
)  # years 1 to 9999, less a day for the sake of time zones


def kind_of(value: Scalar) -> str:
    """Return the kind of atom that a plain Python value makes.

    >>> kind_of(True), kind_of(1), kind_of(1.0)
    ('bool', 'int', 'float')
    """
    return ATOM_OF[type(value)]


def scalar(path: str, value: object) -> Scalar:
    """Return a value for a new field in plain Python; `kind_of` returns the field's kind.

    A value object such as `Float(1)` becomes its content. A value marked by `stringify_unsupported` becomes
    text where any other value raises.

    Raises:
        UnsupportedValue: no field accepts such a value.
        NaiadValueError: an int beyond 64 bits, a text beyond 16 MiB, a number too large for a float.

    >>> import numpy as np
    >>> scalar("epochs", np.int64(7)), scalar("lr", np.array([0.5]))
    (7, 0.5)
    """
    found = _read(path, value)
    if not isinstance(found, int) or SMALLEST <= found <= LARGEST:
        return found
    if isinstance(value, StringifyValue):
        return _written(path, value)
    raise NaiadValueError(
        f'"{path}" cannot hold {shown(value)}, because an Integer has 64 bits.\n'
        "Store it as text with str(...), or without its last digits with float(...).",
        path=path,
        value=value,
    )


def into(kind: str, path: str, value: object) -> Scalar:
    """Return a value for an atom that exists with this kind, if nothing is lost on the way.

    So 3.0 and "7" fit an Integer, 4, "7" and True fit a Float, 1 fits a Boolean; 1.5 does not fit an Integer
    and "b" fits no number. An int beyond 2**53 goes into a Float, with one warning if digits are lost.

    Raises:
        UnsupportedValue: no field accepts such a value.
        NaiadTypeError, NaiadValueError: other fields do, but not this one.

    >>> into("int", "epochs", 3.0)
    3
    """
    atom = ATOMS[kind]
    # Only a String takes the mark as a wish for text. A number that was marked still fits an Integer as a number.
    is_written = atom is String and isinstance(value, StringifyValue)
    found = _written(path, value) if is_written else _read(path, value)
    try:
        fitting = atom.fit(found)
    except (TypeError, ValueError) as problem:
        refusal = NaiadTypeError if isinstance(problem, TypeError) else NaiadValueError
        raise refusal(
            f'"{path}" is {with_article(atom)} and cannot hold {shown(value)}: {problem}.\n'
            f'Use another path, or remove the field first with run.pop("{path}").',
            path=path,
            kind=kind,
            value=value,
        ) from None
    _warn_if_inexact(path, found, fitting)
    return fitting


def series_kind_of(path: str, value: object) -> str:
    """Return the kind of series that a first value makes. A text makes a string series, even one like "1.5".

    Raises:
        UnsupportedValue: no series holds such a value.

    >>> series_kind_of("loss", 0.5), series_kind_of("notes", "0.5")
    ('float_series', 'string_series')
    """
    if type(value) is float:
        return POINTS
    found = _read(path, value)
    # A moment is no number, whatever its seconds are; a marked one is wanted as text.
    if isinstance(found, datetime) and not isinstance(value, StringifyValue):
        raise unsupported(path, value)
    return LINES if isinstance(found, str | datetime) else POINTS


def number(path: str, value: object) -> float:
    """Return a value as a point of a float series; a text is one if it writes out a number.

    >>> number("loss", True), number("loss", "3")
    (1.0, 3.0)
    """
    if type(value) is float:
        return value
    found = _read(path, value)
    if isinstance(found, datetime):
        raise unsupported(path, value)
    if isinstance(found, str):
        return _written_number(path, value, found)
    try:
        nearest = float(found)
    except OverflowError:
        raise _beyond(path, value) from None
    _warn_if_inexact(path, found, nearest)
    return nearest


def _written_number(path: str, value: object, found: str) -> float:
    try:
        return Float.fit(found)
    except ValueError:
        raise NaiadTypeError(
            f'"{path}" is a series of numbers, so {shown(value)} cannot be added.\n'
            "Convert it with float(...), or append texts to another path.",
            path=path,
            value=value,
        ) from None


def text(path: str, value: object) -> str:
    """Return a value as an entry of a string series.

    A value marked by `stringify_unsupported` is written out in any case.

    >>> text("notes", "begun")
    'begun'
    """
    found = _written(path, value) if isinstance(value, StringifyValue) else _read(path, value)
    if isinstance(found, str):
        return found
    raise NaiadTypeError(
        f'"{path}" is a series of texts, so {shown(value)} cannot be added.\n'
        "Convert it with str(...), or append numbers to another path.",
        path=path,
        value=value,
    )


def step(path: str, value: object) -> int | float:
    """Return the step of a point: an int where it is a whole number, so that it is exact up to 64 bits.

    >>> step("loss", 2.0), step("loss", 2.5)
    (2, 2.5)
    """
    found = value if type(value) is int else plain_or_none(value)
    if not isinstance(found, int | float) or not SMALLEST <= found <= LARGEST:
        raise NaiadValueError(
            f'{shown(value)} cannot be a step of "{path}".\nGive a finite number of at most 64 bits.',
            path=path,
            value=value,
        )
    # Beyond 2**53 a float with a whole value may stand for any of several whole numbers, so it stays a float.
    is_whole = isinstance(found, int) or (-EXACT < found < EXACT and found.is_integer())
    return int(found) if is_whole else found


def timestamp(path: str, value: object) -> float:
    """Return the time of a point in seconds since 1970 UTC, from such seconds or from a datetime.

    >>> timestamp("loss", 1767312000)
    1767312000.0
    """
    found = value if type(value) is float else plain_or_none(value)
    seconds = microseconds(found) / 1e6 if isinstance(found, datetime) else found
    if not isinstance(seconds, int | float) or not EARLIEST <= seconds <= LATEST:
        raise NaiadValueError(
            f'{shown(value)} cannot be a timestamp of "{path}".\n'
            "Give seconds (not milliseconds) since 1970, or a datetime.",
            path=path,
            value=value,
        )
    return float(seconds)


def collection(path: str, values: object) -> list[Any]:
    """Return the items given to `extend`, `steps=` or `timestamps=`: those of any iterable, or a single one.

    Items are not judged here. A text, a mapping and a scalar of any framework are single items. Of a collection that
    `stringify_unsupported` has marked, each item is marked.

    Raises:
        InvalidArgument: an array or a table of more than one dimension.

    >>> collection("loss", (v / 2 for v in range(3))), collection("notes", "begun")
    ([0.0, 0.5, 1.0], ['begun'])
    """
    if isinstance(values, StringifyValue):
        return [StringifyValue(item) for item in collection(path, values.value)]
    shape = dimensions(values)
    if shape is not None and len(shape) > 1:
        raise InvalidArgument(
            f'"{path}" was given an array of shape {shape}, but a series has one dimension.\n'
            "Flatten it, or extend one series for each column.",
            path=path,
        )
    # Before anything is iterated: iterating a 0-d array raises, and a text would become its characters.
    if shape == () or isinstance(values, str | bytes | bytearray | Mapping | type):
        return [values]
    if shape and hasattr(values, "numpy") and not hasattr(values, "tolist"):  # tensorflow
        values = values.numpy()
    if shape and hasattr(values, "tolist") and "datetime" not in str(getattr(values, "dtype", "")):
        return list(values.tolist())  # items keep their kind, and this is much faster than one by one
    return list(values) if isinstance(values, Iterable) else [values]


def written(path: str, value: object) -> str:
    """Return the text of a list or tuple, as `stringify_unsupported` writes it.

    Raises:
        UnsupportedValue: it has no text, or one beyond 16 MiB.
    """
    try:
        return _written(path, value)
    except NaiadValueError as problem:
        raise UnsupportedValue(str(problem), path=path, value=value) from None


def unsupported(path: str, value: object) -> UnsupportedValue:
    """Return the error for a value that no field accepts, with a remedy."""
    if type(value) is Unreadable:
        return UnsupportedValue(f'"{path}" cannot be stored: {value.reason}.', path=path, value=value)
    found = type(value)
    name = found.__qualname__ if found.__module__ == "builtins" else f"{found.__module__}.{found.__qualname__}"
    shape = dimensions(value)
    look = f"shape {shape}" if shape else shown(value)
    is_column = shape is not None and len(shape) == 1
    return UnsupportedValue(
        f'"{path}" cannot hold a value of type {name}: {look}.\n{_remedy([] if is_column else value)}',
        path=path,
        value=value,
    )


_REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((list, tuple, set, frozenset, range), "Add its items to a series with extend()"),
    ((bytes, bytearray), "Turn it into text with .decode()"),
    (complex, "Store its .real and its .imag"),
    (datetime, "Convert it to seconds with .timestamp()"),
)


def _remedy(value: object) -> str:
    own = next((remedy for kinds, remedy in _REMEDIES if issubclass(type(value), kinds)), "Leave it out")
    return f"{own}, or keep it as text with stringify_unsupported(...)."


def _beyond(path: str, value: object) -> NaiadValueError:
    look = f'"{path}" cannot hold {shown(value)}, because it is out of range.'
    return NaiadValueError(f"{look}\nStore it as text with str(...).", path=path, value=value)


def _warn_if_inexact(path: str, given: Scalar, kept: Scalar) -> None:
    # Python compares an int with a float exactly, without rounding the int first.
    if type(given) is int and type(kept) is float and given != kept:
        message = f'"{path}" keeps {shown(given)} as {kept!r}: whole numbers are exact up to 2**53.'
        warn_once(("inexact", path), message, LimitWarning)


def _read(path: str, value: object) -> Scalar:
    """Return a value in plain Python, or raise an error with its path."""
    if isinstance(value, StringifyValue):
        found = plain_or_none(value.value)
        return _written(path, value) if found is None else found
    try:
        found = plain(value.value if isinstance(value, Atom) else value)
        if isinstance(found, datetime):
            microseconds(found)
    except (OverflowError, NaiadValueError):
        raise _beyond(path, value) from None
    if found is None:
        raise unsupported(path, value)
    return _checked(path, found) if isinstance(found, str) else found


def plain_or_none(value: object) -> Scalar | None:
    """Return a value, marked or not, in plain Python, or None if no field can hold it."""
    if type(value) is StringifyValue:
        value = value.value
    try:
        found = plain(value)
        if isinstance(found, datetime):
            microseconds(found)
    except (OverflowError, NaiadValueError):
        return None
    return found


def _written(path: str, value: object) -> str:
    """Return the text of anything that `stringify_unsupported` has marked."""
    marked = value.value if isinstance(value, StringifyValue) else value
    # Python 3.11 raises for more than 4,300 digits, because the conversion takes quadratic time.
    if isinstance(marked, int) and marked.bit_length() > 10_000:
        return hex(marked)  # Python refuses to write that many decimal digits
    written = read(lambda: str(marked))
    if isinstance(written, Unreadable):
        raise UnsupportedValue(
            f'"{path}" cannot hold the text of a {type(marked).__name__}: {written.reason}.\n'
            "Store its members one by one, or do not log it.",
            path=path,
            value=value,
        )
    return _checked(path, written)


def _checked(path: str, value: str) -> str:
    """Return a text that is not too long."""
    # No character has more than four bytes of UTF-8, so most texts need not be encoded to be measured.
    if len(value) * 4 <= LONGEST_TEXT:
        return value
    if len(value) <= LONGEST_TEXT and len(value.encode("utf-8", "surrogatepass")) <= LONGEST_TEXT:
        return value
    raise NaiadValueError(
        f'"{path}" cannot hold a text of {len(value):,} characters: {shown(value)}.\nCut it to 16 MiB of UTF-8.',
        path=path,
    )


def with_article(thing: object) -> str:
    """Return the name of a class, or of the class of a thing, for a sentence: "a Float", "an Integer"."""
    name = thing.__name__ if isinstance(thing, type) else type(thing).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
