"""The temporary folder of this process, with the tails of runs that it reads and folds, and content on its way.

The kernel releases the lock of a killed process, so the next process that makes such a folder can remove what is left.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path

PREFIX = "naiad-server-"
_one = threading.Lock()
_made: list[Path] = []


def folder() -> Path:
    """Return the folder. The first call makes it, and removes those of processes that were killed."""
    with _one:
        # Made anew if it is gone: programs that clean /tmp do not know how long a server runs.
        if not _made or not _made[-1].exists():
            remove_left()
            _made.append(_make())
            atexit.register(shutil.rmtree, _made[-1], ignore_errors=True)
        return _made[-1]


def _make() -> Path:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        with contextlib.suppress(FileNotFoundError):
            # Never closed: the lock lasts as long as the process, and its children inherit no descriptor.
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(held, fcntl.LOCK_EX)
            # Another process may have removed it before it was locked.
            if os.fstat(held).st_nlink and path.exists():
                return path
            os.close(held)


def remove_left() -> None:
    """Remove the folders of this user's processes that have ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # of another user, gone meanwhile, or locked by its process
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(held).st_uid == os.geteuid():
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(held)
