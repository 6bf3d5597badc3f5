"""The base of all values that name their own kind; it stands alone so that each of them may have a file of its own."""

from __future__ import annotations

from typing import ClassVar


class Value:
    """The base of all values that name their own kind."""

    kind: ClassVar[str]


class PointValue(Value):
    """The base of values that are points of a series. The first one appended to a path makes a series of its kind."""
