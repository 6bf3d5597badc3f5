"""The store that the commands look at. Listings need no more of a run than this, and start sooner without the rest."""

from __future__ import annotations

from pathlib import Path

from naiad.errors import StorageError
from naiad.storage.base import Store
from naiad.storage.opening import locate


def existing_store(path: Path | None) -> Store:
    """Return the store to look at.

    Raises:
        StorageError: there is none.
    """
    store = locate(path)
    if not store.has_begun():
        raise StorageError(
            f"There is no store at {str(store)!r}.\n"
            "The first run creates one. To use another store, pass --store PATH or set NAIAD_STORE."
        )
    return store
