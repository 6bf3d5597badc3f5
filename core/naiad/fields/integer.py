"""Whole numbers."""

from __future__ import annotations

from naiad.fields.atom import Atom


class Integer(Atom[int]):
    """A whole number of at most 64 bits. 3.0 and "7" are taken for one, 1.5 is not."""

    kind = "int"
