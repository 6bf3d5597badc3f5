"""Pieces: a file in memory whose content is taken out while it is written."""

from __future__ import annotations

from typing import Any


class Pieces:
    """A write-only file that cannot seek."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        """Take bytes."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is nothing behind it."""

    def close(self) -> None:
        """Do nothing: the written bytes can still be taken."""

    def taken(self) -> bytes:
        """Return the bytes that were written since the last call."""
        found, self._parts = b"".join(self._parts), []
        return found
