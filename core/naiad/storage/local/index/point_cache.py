"""Decoded series that are read again and again, so that a chart that is drawn anew decodes no points."""

from __future__ import annotations

from collections.abc import Callable

from naiad.storage.local.index.points import Columns

Key = tuple[object, str]
"""A reader, by an object of its own, and the path of a series."""
FEW = 4_096
"""Points from which on decoding takes longer than looking whether they have changed."""
MOST = 1 << 20
"""Points of all series together, 24 bytes each."""
MOST_KNOWN = 64
"""Series of which something is remembered."""


class PointCache:
    """The columns of the long series that a process reads repeatedly, as long as their version stays the same.

    A series is kept from its second read on: an export, which reads each one once, keeps nothing and copies nothing.
    Each step is one operation of a dict, so that threads need no lock and a fork leaves none behind. A list of its
    items is not one: each item is made, which may end other objects, and their code lets another thread run.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.known: dict[Key, tuple[object, Columns | None]] = {}
        """The version of a series when it was read last, and its columns if they are kept; the oldest first."""

    def note(self, key: Key, version: object, columns: Columns | None = None) -> None:
        """Remember that a series was read, and keep its columns if they are given."""
        self.known.pop(key, None)
        self.known[key] = version, columns
        total = 0
        for place, (each, (_version, kept)) in enumerate(reversed(self.known.copy().items())):
            total += 0 if kept is None else len(kept.values)
            if total > self._most or place >= MOST_KNOWN:
                self.known.pop(each, None)

    def columns(self, key: Key, version: object, read: Callable[[bool], Columns]) -> tuple[Columns, bool]:
        """Return the columns of a series, and whether they are shared: then they are not to be changed.

        Args:
            key: the reader and the path.
            version: a value that differs when the series may have other points.
            read: decodes the series; with True all columns, since they are kept.
        """
        before, kept = self.known.get(key, (None, None))
        is_again = before == version
        if is_again and kept is not None:
            self.note(key, version, kept)
            return kept, True
        columns = read(is_again)
        is_kept = is_again and FEW <= len(columns.values) <= self._most
        if is_kept:
            for column in columns:
                column.flags.writeable = False  # a change would show in every later read
        self.note(key, version, columns if is_kept else None)
        return columns, is_kept


CACHE = PointCache()
"""That of this process."""
