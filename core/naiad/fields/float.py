"""Floating-point numbers."""

from __future__ import annotations

from naiad.fields.atom import Atom


class Float(Atom[float]):
    """A floating-point number, kept bit for bit, NaN and the infinities included."""

    kind = "float"
