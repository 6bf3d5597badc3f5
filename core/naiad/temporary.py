"""Stores that last as long as their run, for `mode="debug"`."""

from __future__ import annotations

from pathlib import Path

from naiad.storage.local.store import Store


def temporary_store() -> Store:
    """Make a store in a new temporary folder."""
    import tempfile  # late, like shutil below: they load many modules, for a mode that is rarely used

    return Store.locate(tempfile.mkdtemp(prefix="naiad-debug-"))


def remove_temporary_store(root: Path) -> None:
    """Remove a temporary store, ignoring files that the system does not let go."""
    import shutil

    shutil.rmtree(root, ignore_errors=True)
