"""Places of a program: its working directory, its script, and by its name the place of a store. None raises."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TypeGuard

SERVERS = ("https://", "http://")
"""The beginning of a store's name that is the address of a server."""


def working_directory() -> Path:
    """Return the working directory; of one that was removed, the nearest folder above that is still there."""
    try:
        return Path.cwd()
    except OSError:
        place = Path(_removed() or os.environ.get("PWD") or "/")
        return next(folder for folder in (place, *place.parents) if folder.is_dir())


def _removed() -> str:
    """Return the former place of the working directory; "" if it is unknown."""
    try:
        return os.readlink("/proc/self/cwd").removesuffix(" (deleted)")
    except OSError:
        return ""


def script() -> Path | None:
    """Return the file that was started, wherever the program has gone since; None if it is no file.

    The main module has an absolute path from the start, and a launcher replaces `sys.argv`.
    """
    given = sys.argv[0] if sys.argv else ""
    named = getattr(sys.modules.get("__main__"), "__file__", None)
    main = named if isinstance(named, str) else ""
    if given in ("-c", "-m"):
        return None
    is_main = os.path.isfile(main)
    if is_main and (not given or os.path.basename(given) == os.path.basename(main)):
        return Path(os.path.abspath(main))
    if given and os.path.isfile(given):
        return working_directory() / given
    return Path(os.path.abspath(main)) if is_main else None


def is_server(named: object) -> TypeGuard[str]:
    """Whether a store is named by the address of a server.

    >>> is_server("https://naiad.example.org"), is_server(".naiad")
    (True, False)
    """
    return isinstance(named, str) and named.lower().startswith(SERVERS)


def repository(place: Path) -> Path | None:
    """Return the nearest folder at or above a place that has a `.git`, without running anything."""
    return next((folder for folder in (place, *place.parents) if os.path.lexists(folder / ".git")), None)
