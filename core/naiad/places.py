"""Places of the program: the working directory and the script that was started. Looking for them never raises."""

from __future__ import annotations

import os
import sys
from pathlib import Path


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


def repository(place: Path) -> Path | None:
    """Return the nearest folder at or above a place that has a `.git`, without running anything."""
    return next((folder for folder in (place, *place.parents) if os.path.lexists(folder / ".git")), None)
