"""Telling where an object comes from without importing that library."""

from __future__ import annotations


def is_from(value: object, library: str, *names: str) -> bool:
    """Whether the class of a value, or a base of it, has one of these names in a library.

    >>> from fractions import Fraction
    >>> is_from(Fraction(1, 2), "numbers", "Number"), is_from(Fraction, "fractions", "Fraction")
    (True, False)
    """
    return any(
        each.__name__ in names and (each.__module__ or "").partition(".")[0] == library for each in type(value).__mro__
    )
