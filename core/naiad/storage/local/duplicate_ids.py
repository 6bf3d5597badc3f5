"""Duplicate ids: containers that were copied in from other stores and have an id that means another one here."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from urllib.parse import quote


def duplicate_uids(catalog: Path, name: str) -> list[str]:
    """Return the uids with this `sys/id` in the catalog as it was last read.

    Opening a run asks this each time, so the catalog is neither brought up to date nor opened through SQLAlchemy.
    """
    if not catalog.is_file():
        return []
    import sqlite3  # a run that was never listed needs none

    with contextlib.suppress(sqlite3.Error):
        target = f"file:{quote(os.fsencode(catalog))}?mode=ro"
        with contextlib.closing(sqlite3.connect(target, uri=True, timeout=0.1)) as connection:
            found = connection.execute("SELECT uid FROM container WHERE id = ? ORDER BY uid", (name,))
            return [str(uid) for (uid,) in found]
    return []
