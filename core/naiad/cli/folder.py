"""The store as the commands use it that look at its files: only a folder has any."""

from __future__ import annotations

from pathlib import Path

from naiad.cli.place import existing_store
from naiad.errors import StorageError
from naiad.storage.opening import FolderStore


def existing_folder(path: Path | None) -> FolderStore:
    """Return the store to look at, which is a folder.

    Raises:
        StorageError: there is none.
    """
    store = existing_store(path)
    if not isinstance(store, FolderStore):
        raise StorageError(f"The store {store} is not a folder. This command works only on a store in a folder.")
    return store
