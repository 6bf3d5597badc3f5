"""The place of a store: the one that a program names, else the nearest folder that no other user may have put there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import cast

from naiad.errors import NaiadTypeError, NotPermitted, StorageError, shown
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


def named_place(named: object) -> Path:
    """Return the folder that a program names.

    Raises:
        StorageError: no folder can have this name: it is too long, has a NUL, leads in a circle.
        NaiadTypeError: it is no path.
    """
    try:
        place = Path(cast("str", named)).expanduser().absolute()
        os.stat(place)
    except TypeError as error:
        raise NaiadTypeError(f"A store must be given as a str or a path, not as {shown(named)}.") from error
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # it may be made, or the first who uses it says so
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(
            f"There can be no store at {shown(str(named))}: {reason}.\n"
            "Choose another folder with init_run(store=...), NAIAD_STORE or naiad --store.",
            errno=getattr(error, "errno", None) or errno.EINVAL,
            filename=str(named),
        ) from error
    return place
