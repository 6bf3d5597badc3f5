"""Peer watcher: detects writes of other processes to a run, before each new field.

Where no other writer is, a call costs one look at the time of the journal folder, and that at most once a millisecond.
"""

from __future__ import annotations

import contextlib
import os

from naiad import clock
from naiad.storage.local.layout import RunDirectory

SETTLED_SECONDS = 0.02
"""A folder may change again at the same time by its clock; after this long it cannot."""

JOIN_SECONDS = 0.001
"""No process joins a run and writes to it faster, so one that was alone just now still is."""

Stamp = tuple[int, dict[str, int]]


class PeerWatcher:
    """The ops files of other writers, as they were when this process last looked.

    A new field always makes one of them longer. They vanish when they are folded: by others, which add files of their
    own, or by this process, which counts its folds.
    """

    def __init__(self, folder: RunDirectory, *, are_expected: bool) -> None:
        self._journal = str(folder.journal)
        self._stamp: Stamp | None = None if are_expected else (0, {})
        self._alone_at: int | None = None  # time of the folder when no other writer was in it
        self._alone_until = 0.0

    def have_written(self, me: str, folds: int) -> bool:
        """Whether they have since the last call; `me` is this process's own writer, `folds` how often it has folded."""
        now = clock.monotonic()
        if now < self._alone_until:
            return False
        try:
            # One `stat` for each new field, instead of a listing: a file that is made or removed changes the time of
            # the folder.
            time = os.stat(self._journal).st_mtime_ns
            if time == self._alone_at:
                self._alone_until = now + JOIN_SECONDS
                return False
            before, self._stamp = self._stamp, (folds, self._sizes(me))
        except OSError:  # the folder is gone, which the next sync finds out
            return False
        is_alone = not self._stamp[1]
        # Else a file that is made within the same tick of the clock would leave the time as it is.
        is_settled = clock.now() - time / 1e9 > SETTLED_SECONDS
        self._alone_at = time if is_alone and is_settled else None
        self._alone_until = now + JOIN_SECONDS if is_alone else 0.0
        return before != self._stamp

    def _sizes(self, me: str) -> dict[str, int]:
        own = me + "."
        sizes = {}
        for name in os.listdir(self._journal):
            if name.endswith(".ops") and not (me and name.startswith(own)):
                with contextlib.suppress(FileNotFoundError):
                    sizes[name] = os.stat(f"{self._journal}/{name}").st_size
        return sizes
