"""Upkeep of a folder that a server serves: reading all blocks and files, and freeing unused content."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime

from naiad.storage.local.gc import GRACE_SECONDS, collect
from naiad.storage.local.integrity.verify import examine_store
from naiad.storage.local.layout import SERVER, Layout
from naiad.storage.local.registrar import renew_epoch


class FolderUpkeep:
    """The upkeep of a folder; see `naiad.storage.receiving.Upkeep`. The server may run meanwhile."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def verify(self) -> Iterator[tuple[str, str]]:
        """Read every block and file, and yield the damages: a run or a database, and the damage.

        Points whose definition has not come are among them: they are in no series until it comes.
        """
        for folder, findings in examine_store(self._layout).items():
            for damage in (*findings.damages, *findings.awaited):
                yield folder.uid, str(damage)
        for path in sorted((self._layout.root / SERVER).glob("*.db")):
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                try:
                    rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
                except sqlite3.DatabaseError as error:
                    rows = [str(error)]
            yield from ((path.name, row) for row in rows if row != "ok")

    def arrivals(self) -> Mapping[str, datetime]:
        """Return nothing: a folder does not note when bytes arrive."""
        return {}

    def backup(self) -> float | None:
        """Return None: a backup of a folder has its content too."""
        return None

    def note_backup(self, began: float) -> None:
        """Do nothing: a backup of a folder has its content too."""

    def collect(
        self,
        days: float | None = None,  # noqa: ARG002 (of the interface)
        *,
        is_dry: bool = False,
    ) -> list[tuple[str, int]]:
        """Free content that no run refers to, but that of the last ten minutes; the days do not count."""
        found = collect(self._layout, grace=GRACE_SECONDS, is_dry=is_dry)
        return [(file.name, file.size) for file in found]

    def renew_epoch(self) -> None:
        """Give the folder a new epoch, after which every client sends again the bytes that are missing."""
        renew_epoch(self._layout.root)

    def close(self) -> None:
        """Do nothing: each call opens the files it needs."""
