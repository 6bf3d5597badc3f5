"""The sparklines of a list: read one by one while no key waits, and kept until their run changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from naiad import clock
from naiad.cli.top.sparkline import sparkline
from naiad.container_kinds import RUN, RunId
from naiad.errors import NaiadError
from naiad.storage.base import RunReader, Store

COLUMNS = 8
MOST = 5_000

Key = tuple[str, str]
"""The uid of a run, and the path of a series."""


class Sparks:
    """Sparklines by run and path."""

    def __init__(self, store: Store, *, is_ascii: bool) -> None:
        self._store = store
        self._is_ascii = is_ascii
        self._found: dict[Key, str] = {}
        self._stale: set[Key] = set()

    def get(self, key: Key) -> str:
        """Return a sparkline as it was read last; nothing if it never was."""
        return self._found.get(key, "")

    def forget(self, uids: Collection[str] | None) -> None:
        """Have those of some runs read again, or all. They are shown as they were until then."""
        # Removed ones would flicker: an old line stays until the new one is there.
        self._stale |= {key for key in self._found if uids is None or key[0] in uids}
        if len(self._found) > MOST:
            self._found.clear()

    def fill(self, keys: Iterable[Key], seconds: float) -> bool:
        """Read those that are missing or stale, for so long; True if any was, so that they are drawn."""
        until = clock.monotonic() + seconds
        has_read = False
        readers: dict[str, RunReader] = {}
        for key in keys:
            if key in self._found and key not in self._stale:
                continue
            # At least one a call, so that a slow store makes progress too.
            if has_read and clock.monotonic() > until:
                break
            self._found[key] = self._read(key, readers)
            self._stale.discard(key)
            has_read = True
        return has_read

    def _read(self, key: Key, readers: dict[str, RunReader]) -> str:
        uid, path = key
        try:
            reader = readers.setdefault(uid, self._store.reader(RunId(uid, RUN)))
            return sparkline(reader.chart(path, COLUMNS).mean.tolist(), COLUMNS, is_ascii=self._is_ascii)
        except (NaiadError, OSError):  # removed since, damaged, or of another kind: its value stands alone
            return ""
