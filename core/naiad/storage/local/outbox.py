"""The outbox of a run with a remote: journal files that are folded, and that a server may not have yet.

    journal/<writer>.<n>.seg    folded ----> outbox/<writer>.<n>.seg    confirmed ----> outbox/<writer>.<n>.seg.sent
                                (rename)     shipped from here          (rename)        removed after KEEP_SHIPPED, or
                                                                                        when the disk is full

A run has a remote from the moment it has the file `remote.json`. Without one a folded file is unlinked. The one rule: a
file without `.sent` is never removed by naiad, because no other copy of its bytes may exist. Only a replay of the
index, which has the same points and ops, takes the place of all files of a writer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from naiad.disk import close, save
from naiad.storage.local.layout import OUTBOX, REMOTE, UNSHIPPED, RunDirectory

HIDDEN = ".new"
"""How the name of a file ends, after a dot at its begin, that is made from the index and not to be shipped yet."""
SENT = ".sent"
"""Ends the name of a file of which a server has confirmed every byte; its mtime is the time of that."""


def attach(folder: RunDirectory, remote: bytes) -> None:
    """Give a run a remote, or other facts about it; from now on it keeps its folded files.

    Raises:
        OSError: the disk takes no file.
    """
    # The mark before the file: a kill in between leaves a mark without a remote, which is looked at once and does no
    # harm.
    note_unshipped(folder)
    fd = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        close(save(fd, REMOTE, remote))
    finally:
        os.close(fd)


def note_unshipped(folder: RunDirectory) -> None:
    """Note in the store that a server may lack something of a run, so that the next process finds it.

    Raises:
        OSError: the disk takes no file.
    """
    mark = _mark(folder)
    if mark.exists():  # perhaps of another user, so that it cannot be touched
        return
    mark.parent.mkdir(exist_ok=True)
    mark.touch()


def note_shipped(folder: RunDirectory) -> None:
    """Note in the store that the server has all of a run that no process writes."""
    with contextlib.suppress(OSError):
        _mark(folder).unlink(missing_ok=True)


def unshipped(store: Path) -> list[str]:
    """Return the uids of the runs of a store of which a server may lack something."""
    try:
        return sorted(name for name in os.listdir(store / UNSHIPPED) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mark(folder: RunDirectory) -> Path:
    return folder.path.parent.parent / UNSHIPPED / folder.uid


def retire(journal: int, name: str) -> None:
    """Take a folded file out of the journal folder behind a descriptor: into the outbox, if the run has a remote.

    Raises:
        OSError: the disk takes no new name; the file stays in the journal, which does no harm.
    """
    # Relative to the descriptor: the folder may have been renamed since it was opened.
    if not _exists(journal, f"../{REMOTE}"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=journal)
        return
    place = f"../{OUTBOX}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(place, dir_fd=journal)
    with contextlib.suppress(FileNotFoundError):
        os.rename(name, f"{place}/{name}", src_dir_fd=journal, dst_dir_fd=journal)


def retire_file(path: Path) -> None:
    """Take a folded file out of its journal folder; see `retire`.

    Raises:
        OSError: the disk takes no new name.
    """
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            retire(fd, path.name)
        finally:
            os.close(fd)


def mark_sent(folder: RunDirectory, name: str) -> None:
    """Note that a server has all of a file. One that is still in the journal needs no note."""
    place = folder.outbox / name
    with contextlib.suppress(OSError):  # then it is compared with the server once more, which does no harm
        os.utime(place)
        place.rename(place.with_name(name + SENT))


def unmark(folder: RunDirectory) -> None:
    """Take back all confirmations: the server may have lost data, as after the restore of a backup."""
    for path in list(sent(folder)):
        with contextlib.suppress(OSError):
            path.rename(path.with_name(path.name.removesuffix(SENT)))


def sent(folder: RunDirectory) -> Iterator[Path]:
    """Yield the confirmed files of the outbox; none where the disk does not even list them."""
    with contextlib.suppress(OSError), os.scandir(folder.outbox) as entries:
        for entry in entries:
            if entry.name.endswith(SENT):
                yield Path(entry.path)


def remove_sent(folder: RunDirectory, before: float) -> None:
    """Remove the files that were confirmed before a time in seconds since 1970."""
    for path in list(sent(folder)):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


def unfinished(folder: RunDirectory) -> set[str]:
    """Return the names of replayed writers of which some files are still hidden: their making was interrupted."""
    try:
        names = os.listdir(folder.outbox)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {name[1:].partition(".")[0] for name in names if name.startswith(".") and name.endswith(HIDDEN)}


def discard(folder: RunDirectory, begins: tuple[str, ...], *, but: Collection[Path] = ()) -> None:
    """Remove all files whose names begin so, except some, of which a replay takes the place.

    Raises:
        OSError: one of them cannot be removed.
    """
    for path in list(folder.outbox.iterdir()):
        if path.name.startswith(begins) and path not in but:
            path.unlink(missing_ok=True)


def free(folder: RunDirectory) -> int:
    """Remove all confirmed files of a run and of its whole store, and return how many bytes that frees.

    It is called when the disk is full. Unconfirmed files stay.
    """
    freed = 0
    found = [*sent(folder)]
    with contextlib.suppress(OSError):
        found += folder.path.parent.parent.glob(f"*/*/{OUTBOX}/*{SENT}")
    for path in found:
        with contextlib.suppress(OSError):
            size = path.stat().st_blocks * 512
            path.unlink()
            freed += size
    return freed


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True
