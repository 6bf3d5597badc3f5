"""Values of fields as the commands show them: in full, and nothing rounded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from naiad.kinds import ATOM_OF
from naiad.scalars import from_microseconds, unpack_text


def opened(kind: str, plain: object) -> object:
    """Return a stored atom as Python has it.

    >>> opened(ATOM_OF[datetime], 0).isoformat()
    '1970-01-01T00:00:00+00:00'
    """
    if kind == ATOM_OF[datetime] and isinstance(plain, int):
        return from_microseconds(plain)
    return unpack_text(plain) if isinstance(plain, bytes) else plain


def value_text(value: object, *, is_local: bool = False) -> str:
    """Return a value in full, or for a person: numbers in six digits, moments in local time. It is not clean."""
    if isinstance(value, float):
        return short_number(value) if is_local else number_text(value)
    if isinstance(value, datetime):
        return moment_text(value, is_local=is_local)
    return str(value)


def number_text(value: float) -> str:
    """Return a number in the fewest digits that mean it exactly, named as in JSON where it is not finite."""
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), repr(value))


DIGITS = 6
"""Significant digits of a number on a terminal."""


def short_number(value: float) -> str:
    """Return a number in six significant digits, for a person.

    >>> short_number(0.123456789), short_number(1e-7), short_number(1234567.0), short_number(3.0), short_number(10**9)
    ('0.123457', '1e-07', '1.23457e+06', '3.0', '1000000000')
    """
    if isinstance(value, int) or value != value or value in (float("inf"), float("-inf")):
        return number_text(value)
    # `g` drops the point of a whole number, and 3.0 would look like an int.
    text = f"{value:.{DIGITS}g}"
    return f"{text}.0" if text.lstrip("-").isdigit() else text


def step_text(step: float) -> str:
    """Return a step without the fraction it does not have.

    >>> step_text(3.0), step_text(0.5)
    ('3', '0.5')
    """
    return str(int(step)) if step == step // 1 else repr(float(step))


def moment_text(moment: datetime, *, is_local: bool = False) -> str:
    """Return a moment in ISO 8601: in UTC for programs, or in local time to the second for a person."""
    if not is_local:
        return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def time_text(milliseconds: int, *, is_local: bool = False) -> str:
    """Return the time of a point; one that no calendar has stays a number of milliseconds."""
    try:
        moment = from_microseconds(int(milliseconds) * 1000)
    except OverflowError:
        return str(milliseconds)
    return moment_text(moment, is_local=is_local)


def tags_text(tags: Iterable[str]) -> str:
    """Return tags in order, separated by commas."""
    return ", ".join(sorted(tags))
