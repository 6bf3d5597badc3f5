"""Opening a store: the one place that names the back ends."""

from __future__ import annotations

import os
from pathlib import Path

from naiad.storage.base import Store
from naiad.storage.local import store as local

Place = str | os.PathLike[str] | Store | None
"""Where runs are kept, as users give it: a folder, a store of another back end, or None for the nearest one."""


def locate(place: Place = None, start: Path | None = None) -> Store:
    """Return the store a program means: argument, NAIAD_STORE, the nearest `.naiad` here or above, else a new one here.

    Args:
        place: as the program gives it; the store of another back end is used as it is.
        start: the folder that counts as here; the working directory if None.

    Raises:
        NotPermitted: the nearest one was put by another user into a folder that every user may write.
    """
    return local.Store.locate(place, start) if place is None or isinstance(place, str | os.PathLike) else place


def folder(place: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the store that a program means, which need not exist yet."""
    return local.Store.locate(place).root


def temporary() -> Store:
    """Make a store in a new temporary folder, for `mode="debug"`."""
    import tempfile  # late, like shutil below: they load many modules, for a mode that is rarely used

    return local.Store.locate(tempfile.mkdtemp(prefix="naiad-debug-"))


def remove_temporary(store: Store) -> None:
    """Remove a temporary store, ignoring files that the system does not let go."""
    import shutil

    shutil.rmtree(str(store), ignore_errors=True)
