"""Deletion: containers, at one moment for every reader, and content of files that no container refers to any more.

`naiad gc` is a mark and sweep that runs beside writers. The order of its steps makes it safe:

    naiad gc                              a writer
    1 list the files below blobs/         copy content in, renew the time of content that it reuses
    2 list living writers of each run,    write an op that names the content
      then the references of the run
    3 remove old content of 1 that        .
      neither 2 names nor a living
      writer took in

Content that comes in after 1 is not in the list. Content that is reused after 1 has a new time, which 3 looks at again.
Content that was listed, and whose op is still on its way at 2, is recent or belongs to a living writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import warnings
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from msgspec import Struct

from naiad import clock, ids
from naiad.container_kinds import MODEL, PROJECT, RUN, RunId
from naiad.errors import BeingWritten, DamagedData, DamageWarning, MissingField, NewerFormat, warn_once
from naiad.kinds import FORMER_IDS, PROTECTED
from naiad.scalars import unpack_text
from naiad.storage.edits import protected
from naiad.storage.local.blobs import FORWARD, Blobs, is_incoming
from naiad.storage.local.files import stored_files
from naiad.storage.local.ids import Register, refusals
from naiad.storage.local.journal.leases import may_be_written, read_taken
from naiad.storage.local.layout import INCOMING, SERVER, Layout, RunDirectory
from naiad.storage.local.reader import Reader

GRACE_SECONDS = 600.0
"""What was used so recently is never removed: an op that names it may be on its way."""
LOCK_SECONDS = 10.0
DEAD = ".purged-"
"""The prefix of the name of a folder that is deleted; names with a dot are not listed."""


class StoredFile(Struct, frozen=True):
    """One file below `blobs/` at the census. `size` is the space that removing it would free."""

    name: str
    path: Path
    size: int
    modified: float
    inode: int

    @property
    def meaning(self) -> str:
        """The name that an op would have for it."""
        return self.name.removesuffix(FORWARD)

    @property
    def is_blob(self) -> bool:
        """Whether it is content in its place: neither incoming nor left on its way by a process that died."""
        return "." not in self.name

    @property
    def writer(self) -> str:
        """Who took it in; empty for a blob."""
        return self.meaning.partition(".")[0] if is_incoming(self.meaning) else ""


class Census(Struct, frozen=True):
    """All files below `blobs/` at one moment."""

    at: float
    files: tuple[StoredFile, ...]


def delete(layout: Layout, register: Register, runs: Sequence[tuple[str, RunDirectory]]) -> None:
    """Delete containers for good, each given with the id that errors shall name it by; see `Store.delete`.

    Raises:
        ContainerProtected: one of them is protected; then nothing is deleted.
        BeingWritten: one of them is being written; then nothing is deleted.
        StoreNotWritable: the store cannot be changed.
    """
    for name, folder in runs:
        refuse_protected(folder, name)
        refuse_written(folder, name)
    for name, folder in runs:
        purge(layout, register, folder, name)
    if (layout.root / SERVER).is_dir():
        from naiad.storage.local.registrar import note_deleted  # SQLAlchemy

        note_deleted(layout.root, [RunId(folder.uid, folder.kind) for _name, folder in runs])
    # Also those that an earlier, killed deletion has left.
    remove_purged(layout)
    if runs and (layout.root / "blobs").is_dir():
        try:
            collect(layout)
        except DamagedData as problem:
            warn_once((layout.root, "content"), f"The runs are deleted, but their files are not freed yet. {problem}")


def unfreed(layout: Layout) -> tuple[int, float] | None:
    """Return the bytes that nothing refers to and that were used too recently to be freed, and when they can be.

    Content that a deleted container used last looks like content that another one is about to refer to, so it waits
    as well.
    """
    try:
        left = collect(layout, grace=-1.0, is_dry=True) if (layout.root / "blobs").is_dir() else []
    except DamagedData:  # said when the content was to be freed
        return None
    size = sum(file.size for file in left)
    return (size, max(file.modified for file in left) + GRACE_SECONDS) if size else None


def collect(
    layout: Layout, *, grace: float = GRACE_SECONDS, is_dry: bool = False, is_alone: bool = False
) -> list[StoredFile]:
    """Remove the content that no run of a store refers to, and return it. Runs may be written meanwhile.

    Args:
        layout: of the store; trashed runs count as runs.
        grace: content used in the last so many seconds stays.
        is_dry: remove nothing.
        is_alone: raise if some run is being written, which is needed where `grace` is short.

    Raises:
        BeingWritten: `is_alone`, and a run has a writer that is not proven dead.
        DamagedData: the references of some run cannot be read, so nothing was removed.
    """
    blobs = Blobs(layout.root / "blobs")
    found = census(blobs)
    referenced: set[str] = set()
    alive: set[str] = set()
    for folder in layout.folders():
        reader = Reader(folder)
        # writers first: one that is dead then has written all that it ever will refer to
        writers = {writer for writer, each in reader.candidates().items() if not each.is_dead}
        if writers and is_alone:
            name = Register(layout.root).id_of(folder.uid) or folder.uid
            raise BeingWritten(
                f"{folder.kind.title} {name} is being written, or may be, so recent files cannot be freed.\n"
                "Run naiad gc without --now, or stop the run first.",
                run_id=folder.uid,
            )
        alive |= writers
        referenced |= _referenced(reader)
    return sweep(blobs, found, referenced, alive, grace=grace, is_dry=is_dry)


def census(blobs: Blobs) -> Census:
    """Take a census of `blobs/`. Call it first, then gather references, then call `sweep`."""
    at = clock.now()
    files: list[StoredFile] = []
    with contextlib.suppress(FileNotFoundError):
        for folder in sorted(os.listdir(blobs.root)):
            if folder == INCOMING or len(folder) == 2:
                files += _files(blobs.root / folder)
    return Census(at, tuple(files))


def sweep(
    blobs: Blobs,
    found: Census,
    referenced: Set[str],
    alive: Set[str] = frozenset(),
    *,
    grace: float = GRACE_SECONDS,
    is_dry: bool = False,
) -> list[StoredFile]:
    """Remove unreferenced files, and return them.

    Content made, settled or renewed since shortly before the census stays, even if not in `referenced`; so does a blob
    whose incoming name is still in use, because the op that has the sha256 may not be written yet.

    Args:
        found: a census taken before `referenced` was gathered.
        referenced: every sha256 and incoming name in an op or index of any run.
        alive: writers whose incoming files may not be named by an op yet.
        grace: how many seconds before the census count as recent.
        is_dry: remove nothing.
    """
    idle = [
        file
        for file in found.files
        if file.meaning not in referenced and file.writer not in alive and file.modified < found.at - grace
    ]
    # A settled blob and its incoming name are one inode until the name is released: while the name is in use, the
    # blob is too.
    kept = {file.inode for file in set(found.files) - set(idle)}
    idle = [file for file in idle if not file.is_blob or file.inode not in kept]
    if is_dry or not idle:
        return idle
    # Alone, so that no writer is between looking whether a blob is there and renewing its time.
    with blobs.lock(fcntl.LOCK_EX):
        return list(filter(_remove, idle))


def refuse_protected(folder: RunDirectory, name: str) -> None:
    """Raise if the container is protected against deletion.

    Raises:
        ContainerProtected: it is.
    """
    with contextlib.suppress(DamagedData, NewerFormat), warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)  # it is about to go
        if Reader(folder).values("sys").get(PROTECTED) is True:
            raise protected(folder.kind, name, "deleted")


def refuse_written(folder: RunDirectory, name: str, verb: str = "deleted") -> None:
    """Raise if some process is writing the container, or may be.

    Raises:
        BeingWritten: one is.
    """
    taken = read_taken(folder.journal)
    known = {writer: each for writer, each in Reader(folder).candidates().items() if writer not in taken}
    if any(each.is_alive for each in known.values()):
        raise BeingWritten(
            f"{folder.kind.title} {name} is being written and cannot be {verb}.\nStop it first.", run_id=name
        )
    if may_be_written(known):
        raise BeingWritten(
            f"{folder.kind.title} {name} may still be written: its process is not proven dead.\n"
            f"If you know that the process is gone, run: naiad repair {name} --take-over",
            run_id=name,
        )


def purge(layout: Layout, register: Register, folder: RunDirectory, name: str) -> None:
    """Remove a container that no process writes. `collect` frees its uploads that no other container needs.

    A purge that is killed leaves the container as it was, or nothing but a hidden folder that `remove_purged` removes.

    Raises:
        ContainerProtected: it is protected.
        BeingWritten: a process is writing it, or is busy with it otherwise.
        StoreNotWritable: the store cannot be changed.
    """
    import shutil  # late: it loads many modules, and a store is opened far more often than a run is deleted

    custom = _custom_id(folder)
    is_moved = _was_moved(folder)
    dead = folder.path.with_name(f"{DEAD}{folder.uid}-{ids.new_writer_id()}")
    with refusals(layout.root):
        try:
            with folder.lock(LOCK_SECONDS):  # no process begins to write it meanwhile
                refuse_written(folder, name)
                refuse_protected(folder, name)
                folder.path.rename(dead)
        except TimeoutError as error:
            raise BeingWritten(f"{folder.kind.title} {name} cannot be deleted now: {error}.", run_id=name) from error
        if custom is not None:
            register.release_custom(folder.uid, *(() if is_moved else custom))
        if folder.kind in (MODEL, PROJECT) and register.uid(name) == folder.uid:
            register.release(name)  # there may be another one of this name; a number is never given twice
        layout.unmark(folder.uid)
        shutil.rmtree(dead)


def remove_purged(layout: Layout) -> None:
    """Remove the remains of purges that were killed.

    Raises:
        StoreNotWritable: the store cannot be changed.
    """
    import shutil  # late, as above

    with refusals(layout.root):
        for dead in layout.root.glob(f"*/{DEAD}*"):
            shutil.rmtree(dead, ignore_errors=True)  # another purge may be at it


def _referenced(reader: Reader) -> set[str]:
    folder = reader.folder
    try:
        names = {reader.resolve(file.blob) for _path, file in stored_files(reader)}
        what = str(reader.damages[0]) if reader.damages else ""
    except DamagedData as error:
        what = error.what
    if what:
        raise DamagedData(
            f"The run in {folder.path} is damaged ({what}), so nothing was removed.\n"
            f"Repair it first: naiad repair {folder.uid}",
            file=str(folder.path), offset=0, what=what,
        )  # fmt: skip
    return names


def _files(folder: Path) -> Iterator[StoredFile]:
    for name in sorted(os.listdir(folder)):
        with contextlib.suppress(FileNotFoundError):
            facts = (folder / name).stat(follow_symlinks=False)
            is_second = folder.name == INCOMING and facts.st_nlink > 1  # settled: the blob has the bytes
            yield StoredFile(name, folder / name, 0 if is_second else facts.st_size, facts.st_mtime, facts.st_ino)


def _remove(file: StoredFile) -> bool:
    """Remove a file that has not been touched since the census."""
    try:
        if file.path.stat(follow_symlinks=False).st_mtime != file.modified:
            return False
        file.path.unlink()
    except FileNotFoundError:
        return False
    return True


def _was_moved(folder: RunDirectory) -> bool:
    """Whether its custom id may mean it in several projects."""
    with contextlib.suppress(DamagedData, NewerFormat, OSError, MissingField), warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        return bool(Reader(folder).tags(FORMER_IDS))
    return False


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
