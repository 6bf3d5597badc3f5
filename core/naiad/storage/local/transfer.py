"""Transfer: copying containers into another store, and the disk that each takes.

    lock the container -> copy its content -> copy its folder under a hidden name -> take its id -> rename

A kill leaves content that `naiad gc` frees later, and a hidden folder.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from naiad import ids
from naiad.container_kinds import RunId, kind_of_id
from naiad.disk import replacing, sync_folder
from naiad.errors import BeingWritten, DamagedData, MissingField, NameTaken, NewerFormat, ProjectExists
from naiad.kinds import FORMER_IDS
from naiad.scalars import unpack_text
from naiad.storage.edits import edit, sys_changes
from naiad.storage.local.blobs import Blobs
from naiad.storage.local.files import stored_files
from naiad.storage.local.gc import census
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store

LOCK_SECONDS = 10.0
HIDDEN = ".copied-"
BLOCK = 512
"""Bytes of the blocks that `stat` counts."""


class Copied(NamedTuple):
    """A container that was copied, with its ids here and there."""

    source: str
    target: str
    is_new: bool
    files: int
    size: int
    """Bytes of content that were copied."""


def copy_all(source: Store, target: Store, runs: Sequence[RunId], *, is_renumbered: bool) -> Iterator[Copied]:
    """Copy containers into another store, one after the other.

    Args:
        source: the store that has them.
        target: another one, which is made if need be.
        runs: the containers.
        is_renumbered: give each the next free id of its project there, instead of its own.

    Raises:
        NameTaken: an id belongs to another container there; nothing was copied.
        BeingWritten: a process is writing one of them.
        DamagedData: the content of a file is missing.
    """
    target.create()
    names = {run: source.id_of(run) for run in runs}
    if not is_renumbered:
        taken = [name for run, name in names.items() if target.register.uid(name) not in ("", run.uid)]
        if taken:
            raise NameTaken(
                f"The store {target} already has other runs with the ids {', '.join(taken[:10])}.\n"
                "Copy them with --renumber, which gives the copies new ids."
            )
    for run, name in names.items():
        yield _copy(source.directory(run), target, name, is_renumbered)


@contextlib.contextmanager
def _undisturbed(folder: RunDirectory, name: str) -> Iterator[None]:
    """Keep others from going on with a container meanwhile; a user who may not write its folder looks whether one did.

    Raises:
        BeingWritten: one did.
    """
    with contextlib.ExitStack() as stack:
        before = None
        try:
            stack.enter_context(folder.lock(LOCK_SECONDS))
        except OSError:
            if os.access(folder.path, os.W_OK):
                raise
            before = _states(folder)
        yield
        if before is not None and before != _states(folder):
            raise _being_written(folder, name)


def _states(folder: RunDirectory) -> dict[str, tuple[int, int, int]]:
    """Return the inode, size and time of change of each file of a container."""
    found = {}
    for place, _folders, files in os.walk(folder.path):
        for file in files:
            state = os.stat(os.path.join(place, file))
            found[os.path.join(place, file)] = state.st_ino, state.st_size, state.st_mtime_ns
    return found


def _being_written(folder: RunDirectory, name: str) -> BeingWritten:
    return BeingWritten(f"{folder.kind.title} {name} is being written.\nStop it first.", run_id=name)


def _copy(folder: RunDirectory, target: Store, name: str, is_renumbered: bool) -> Copied:
    import shutil  # late: it loads many modules, and a store is opened far more often than a run is copied

    there = target.layout.folder(folder.uid, folder.kind)
    if there.path.is_dir():
        return Copied(name, target.id_of(RunId(folder.uid, folder.kind)), False, 0, 0)
    hidden = there.path.with_name(f"{HIDDEN}{folder.uid}-{ids.new_writer_id()}")
    hidden.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _undisturbed(folder, name):
            reader = Reader(folder)
            if reader.state() in ("running", "unknown"):
                raise _being_written(folder, name)
            # Content before the folder that refers to it: a kill in between leaves files that gc frees, not
            # references to nothing.
            files, size = _copy_content(reader, folder.blobs, there.blobs)
            # Indexes that were never finished have names of this kind.
            ignored = shutil.ignore_patterns(".lock", f".{folder.index.name}.*")
            shutil.copytree(folder.path, hidden, ignore=ignored)
        project = _text(reader, "sys/project") or target.default_project()
        new = _take_id(target, there, name, project, is_renumbered)
        with contextlib.suppress(MissingField):
            for former in sorted(reader.tags(FORMER_IDS)):
                if target.register.place(former) is not None:
                    target.register.take(former, folder.uid)
        custom = _text(reader, "sys/custom_run_id")
        if custom:
            target.register.take_custom(project, custom, folder.uid, new)
        # The mark before the rename: a listing between the two finds no folder, and looks again.
        there.mark_changed()
        hidden.rename(there.path)
        sync_folder(there.path.parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    if new != name:
        edit(target, RunId(there.uid, there.kind), sys_changes({"sys/id": new}))
    return Copied(name, new, True, files, size)


def _take_id(target: Store, there: RunDirectory, name: str, project: str, is_renumbered: bool) -> str:
    """Let its own id, or the next one, mean the folder."""
    prefix = name.rpartition("-")[0] or name
    key = target.register.known_key(project)
    if not key:
        with contextlib.suppress(ProjectExists):
            key = target.register.key(project, prefix.partition("-")[0] or None)
        key = key or target.register.key(project)
    is_numbered = name.rpartition("-")[2].isdigit()
    if is_renumbered and is_numbered:
        return target.register.take_number(key if "-" not in prefix else prefix, there.uid)
    if kind_of_id(name) is not None:
        target.register.take(name, there.uid)
    return name


def _copy_content(reader: Reader, source: Path, target: Path) -> tuple[int, int]:
    """Copy the content of a container, and return files and bytes."""
    here, there = Blobs(source), Blobs(target)
    names = {reader.resolve(file.blob) for _path, file in stored_files(reader) if file.blob}
    size = 0
    for name in sorted(names):
        place = there.path(name)
        if place.exists():
            with contextlib.suppress(FileNotFoundError):
                os.utime(place)  # recent content stays, whatever naiad gc knows of this container
                continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with here.open(name) as stream, replacing(place) as fd:
            while data := stream.read(1024 * 1024):
                os.write(fd, data)
                size += len(data)
    return len(names), size


def _text(reader: Reader, path: str) -> str:
    found = reader.values("sys").get(path)
    return str(unpack_text(found)) if isinstance(found, (str, bytes)) else ""


# How much of a disk each takes


@dataclass(frozen=True)
class Usage:
    """The bytes of one container on the disk."""

    id: str
    run: RunId
    folder: int
    """Of its own folder: journal, index and seal."""
    files: int
    """Of the content that it refers to."""
    alone: int
    """Of the part of it that no other container refers to: with the folder this is freed when it is deleted."""

    @property
    def total(self) -> int:
        """All that it takes."""
        return self.folder + self.files


@dataclass(frozen=True)
class Disk:
    """The bytes of a store on the disk."""

    runs: list[Usage]
    content: int
    """Of all content, each once."""
    unreferenced: int
    """Of content that no container refers to, which `naiad gc` frees."""
    rest: int
    """Of everything else: catalog, ids, marks."""


def disk(store: Store) -> Disk:
    """Measure a store, the largest container first."""
    blobs = census(Blobs(store.root / "blobs"))
    sizes = {file.name: file.size for file in blobs.files}
    names = {row.uid: row.id for row in store.catalog().summaries(kind=None, is_trashed=None)}
    referred = {folder: _names(folder) for folder in store.layout.folders()}
    counts = Counter(name for found in referred.values() for name in found)
    runs = [
        Usage(
            names.get(folder.uid) or folder.uid,
            RunId(folder.uid, folder.kind),
            _allocated(folder.path),
            sum(sizes.get(name, 0) for name in found),
            sum(sizes.get(name, 0) for name in found if counts[name] == 1),
        )
        for folder, found in referred.items()
    ]
    content = sum(sizes.values())
    unreferenced = sum(size for name, size in sizes.items() if name not in counts)
    rest = _allocated(store.root) - sum(each.folder for each in runs) - _allocated(store.root / "blobs")
    return Disk(sorted(runs, key=lambda each: -each.total), content, unreferenced, max(0, rest))


def _names(folder: RunDirectory) -> set[str]:
    with contextlib.suppress(DamagedData, NewerFormat, OSError):
        reader = Reader(folder)
        return {reader.resolve(file.blob) for _path, file in stored_files(reader) if file.blob}
    return set()


def _allocated(folder: Path) -> int:
    total = 0
    for directory, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * BLOCK
    return total
