"""Purging: a container is gone for good, at one moment for every reader, and then its files are removed."""

from __future__ import annotations

import contextlib
import warnings

from naiad import ids
from naiad.container_kinds import MODEL, PROJECT, RUN
from naiad.errors import BeingWritten, DamagedData, DamageWarning, NewerFormat
from naiad.scalars import unpack_text
from naiad.storage.local.claims import refusals
from naiad.storage.local.ids import Register
from naiad.storage.local.journal.leases import may_be_written, read_taken
from naiad.storage.local.layout import Layout, RunDirectory
from naiad.storage.local.maintenance import candidates
from naiad.storage.local.reader import Reader

LOCK_SECONDS = 10.0
DEAD = ".purged-"
"""What a folder's name begins with from the moment it is gone; nobody lists names with a dot."""


def refuse_written(folder: RunDirectory, name: str) -> None:
    """Raise if some process is writing the container, or may be.

    Raises:
        BeingWritten: one is.
    """
    taken = read_taken(folder.journal)
    known = {writer: each for writer, each in candidates(Reader(folder)).items() if writer not in taken}
    if any(each.is_alive for each in known.values()):
        raise BeingWritten(
            f"{folder.kind.title} {name} is being written and cannot be deleted.\nStop it first.", run_id=name
        )
    if may_be_written(known):
        raise BeingWritten(
            f"{folder.kind.title} {name} may still be written: its writer is silent and not proven dead.\n"
            f"If you know that it is, say so with: naiad repair {name} --take-over",
            run_id=name,
        )


def purge(layout: Layout, register: Register, folder: RunDirectory, name: str) -> None:
    """Remove a container that nobody writes. What was uploaded to it is freed with the blobs that no other one needs.

    A purge that is killed leaves the container as it was, or nothing but a hidden folder that `sweep` removes.

    Raises:
        BeingWritten: a process is writing it, or is busy with it otherwise.
        StoreNotWritable: the store cannot be changed.
    """
    import shutil  # late: it loads many modules, and a store is opened far more often than a run is deleted

    custom = _custom_id(folder)
    dead = folder.path.with_name(f"{DEAD}{folder.uid}-{ids.new_writer_id()}")
    with refusals(layout.root):
        try:
            with folder.lock(LOCK_SECONDS):  # nobody begins to write it meanwhile
                refuse_written(folder, name)
                folder.path.rename(dead)
        except TimeoutError as error:
            raise BeingWritten(f"{folder.kind.title} {name} cannot be deleted now: {error}.", run_id=name) from error
        if custom is not None:
            register.release_custom(folder.uid, *custom)
        if folder.kind in (MODEL, PROJECT) and register.uid(name) == folder.uid:
            register.release(name)  # there may be another one of this name; a number is never given twice
        layout.unmark(folder.uid)
        shutil.rmtree(dead)


def sweep(layout: Layout) -> None:
    """Remove what purges have left that were killed.

    Raises:
        StoreNotWritable: the store cannot be changed.
    """
    import shutil  # late, as above

    with refusals(layout.root):
        for dead in layout.root.glob(f"*/{DEAD}*"):
            shutil.rmtree(dead, ignore_errors=True)  # another purge may be at it


def _custom_id(folder: RunDirectory) -> tuple[str, ...] | None:
    """Project and custom id of a run that has one; nothing, so that all are looked through, if it cannot be read."""
    if folder.kind is not RUN:
        return None
    with contextlib.suppress(DamagedData, NewerFormat, OSError), warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)  # it is about to go
        reader = Reader(folder)
        known = reader.values("sys")
        found = [known.get(path) for path in ("sys/project", "sys/custom_run_id")]
        texts = tuple(unpack_text(text) for text in found if isinstance(text, (str, bytes)))
        if len(texts) == len(found):
            return texts
        if not reader.damages:
            return None
    return ()
