"""Exclusive creation of small files, by which ids, keys and names are taken.

Also what every other file beside the content of containers needs: being put on disk, and an error that says what to do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from naiad import ids
from naiad.disk import sync_folder
from naiad.errors import StoreNotWritable

_unsynced: set[Path] = set()
_lasting: set[Path] = set()  # folders whose own names are on disk


def remember_to_sync(path: Path) -> None:
    """Let the next `sync_names` put this file or folder of the store on disk."""
    _unsynced.add(path)


def sync_names() -> None:
    """Sync the names this process has created, so that a power cut cannot take a run's id.

    Raises:
        OSError: the disk refuses; it is tried again next time.
    """
    paths = list(_unsynced)
    folders = dict.fromkeys(path.parent for path in paths)
    new = {parent for folder in folders for parent in (folder, *folder.parents[:2]) if parent not in _lasting}
    for path in [*paths, *folders, *(folder.parent for folder in new)]:
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it was removed, or lies above what is ours
            sync_folder(path)
    _lasting.update(new)
    _unsynced.difference_update(paths)


def claim(path: Path, text: str) -> bool:
    """Create a file exclusively, whole or not at all. False if it exists."""
    if path.exists():
        return False
    hidden = path.with_name(f".{path.name}.{ids.new_writer_id()}")
    try:
        hidden.write_bytes(text.encode("utf-8", "surrogatepass"))
        os.link(hidden, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if not hidden.exists() or hidden.stat().st_size < len(text):
            raise
        if not _create(path, text):
            return False
    finally:
        hidden.unlink(missing_ok=True)
    remember_to_sync(path)
    return True


def content(path: Path) -> str:
    """Return the text of a created file, without translating line ends."""
    return path.read_bytes().decode("utf-8", "surrogatepass")


def _create(path: Path, text: str) -> bool:
    try:
        with path.open("xb") as stream:
            stream.write(text.encode("utf-8", "surrogatepass"))
    except FileExistsError:
        return False
    return True


def note(path: Path, text: str) -> None:
    """Write a hint, ignoring errors of the disk."""
    with contextlib.suppress(OSError):
        path.write_bytes(text.encode())


@contextlib.contextmanager
def refusals(root: Path) -> Iterator[None]:
    """Turn errors of the disk within this context into one error with a remedy."""
    try:
        yield
    except OSError as error:
        raise StoreNotWritable(
            f"The store {root} cannot be written: {os.strerror(error.errno) if error.errno else error}.\n"
            "Make room or give permission there, or name another folder by init_run(store=...) or NAIAD_STORE.",
            errno=error.errno,
            filename=str(error.filename or root),
        ) from error
