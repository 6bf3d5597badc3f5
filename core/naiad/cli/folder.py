"""The store as the commands use it that look at its files: only a folder has any."""

from __future__ import annotations

from naiad.cli.place import existing_store
from naiad.errors import StorageError
from naiad.storage.opening import FolderStore, Named, locate


def existing_folder(path: Named) -> FolderStore:
    """Return the store to look at, which is a folder.

    Raises:
        StorageError: there is none.
    """
    store = locate(path)
    if not isinstance(store, FolderStore):  # before a server is asked whether it has anything
        raise StorageError(
            f"The store {store} is not a folder, and this command works only on a store in a folder.\n"
            "Run it on the machine that has the folder, with --store PATH."
        )
    existing_store(path)
    return store
