"""The base of all values that name their own kind; it stands alone so that each of them may have a file of its own."""

from __future__ import annotations

from typing import ClassVar


class Value:
    """The base of all values that name their own kind."""

    kind: ClassVar[str]
