"""The place of a store that no program names: the nearest folder, unless another user may have put it there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from naiad.errors import NotPermitted
from naiad.places import repository, script, working_directory

FOLDER = ".naiad"


def nearest_place(start: Path | None = None) -> Path:
    """Return the folder of the store that nothing names: the nearest `.naiad` here or above, else a new one.

    Raises:
        NotPermitted: the nearest one was put by another user into a folder that every user may write.
    """
    here = start or working_directory()
    for folder in (here, *here.parents):
        # Also where it is no folder: a link in /tmp that another user has made must not choose where data goes.
        if os.path.lexists(folder / FOLDER):
            _refuse_planted(folder / FOLDER)
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    return _home_of_new(here) / FOLDER


def _home_of_new(here: Path) -> Path:
    """Return the folder in which a new store is made."""
    root = repository(here)
    if root is not None and (root / ".git" / "HEAD").exists() | (root / ".git").is_file() and os.access(root, os.W_OK):
        return root
    started = script()
    return started.parent if started is not None and started.parent in here.parents else here


def _refuse_planted(place: Path) -> None:
    """Raise for a store or link that another user may have planted in a folder like /tmp.

    Raises:
        NotPermitted: it belongs to another user, and every user may write the folder it is in.
    """
    if place.lstat().st_uid != os.geteuid() and place.parent.stat().st_mode & stat.S_IWOTH:
        raise NotPermitted(
            f"The store {place} belongs to another user, in a folder that every user may write, so it is not "
            "used by default.\n"
            "If you trust it, name it with init_run(store=...), NAIAD_STORE or naiad --store.",
            errno=errno.EPERM,
            filename=str(place),
        )
