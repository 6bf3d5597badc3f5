"""The trash: its containers are hidden from listings, and can be restored or deleted for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from naiad.errors import DamagedData, InvalidArgument, MissingField, NotInTrash, warn_once
from naiad.kinds import SYS
from naiad.ops import Assign
from naiad.storage.base import Change
from naiad.storage.container_kinds import MODEL, MODEL_VERSION, PROJECT
from naiad.storage.local.census import GRACE_SECONDS
from naiad.storage.local.gc import collect
from naiad.storage.local.layout import RunDirectory
from naiad.storage.local.purge import purge, refuse_written, sweep
from naiad.storage.local.reader import Reader
from naiad.storage.local.store import Store
from naiad.storage.local.writer import Writer

FLAG = "sys/trashed"


class Item(NamedTuple):
    """A container, and its id for users."""

    id: str
    folder: RunDirectory


def find(store: Store, names: Iterable[str]) -> list[Item]:
    """The runs, models and model versions of these ids or uids, each once.

    Raises:
        RunNotFound: one of them is not there.
        InvalidArgument: one of them is a project.
    """
    if store.root.is_dir():
        store.catalog().refresh()  # so that an id that means several is noticed before anything is deleted
    found: dict[str, Item] = {}
    for name in dict.fromkeys(names):
        folder = store.find(name)
        if folder.kind is PROJECT:
            raise InvalidArgument(
                f"{name!r} is a project, and there is no trash for projects.\n"
                "naiad.management.delete_project() deletes one with everything in it.",
                argument="ids",
                value=name,
            )
        found.setdefault(folder.uid, Item(name, folder))
    return list(found.values())


def in_trash(store: Store, project: str | None = None) -> list[Item]:
    """Everything in the trash, of a project or of the whole store; the latest first."""
    rows = store.catalog().rows(project, kind=None, is_trashed=True) if store.root.is_dir() else []
    return [Item(row.id, store.folder(row.uid, row.kind)) for row in rows]


def move(items: Iterable[Item], *, is_out: bool = False) -> None:
    """Put containers into the trash, or take them out of it. One that is being written may be moved too.

    Raises:
        StoreNotWritable: the store cannot be changed.
    """
    for item in items:
        if _is_trashed(item.folder) is is_out:
            writer = Writer.open(item.folder, role="guest", on_error="raise")  # a guest's end says nothing about a run
            try:
                writer.write([Change(FLAG, SYS[FLAG], (Assign(FLAG, SYS[FLAG], not is_out),))])
                writer.wait()
            finally:
                writer.stop()


def require_in_trash(items: Iterable[Item]) -> None:
    """Raise for a container that is not in the trash.

    Raises:
        NotInTrash: one of them is not in the trash.
    """
    for item in items:
        if not _is_trashed(item.folder):
            raise NotInTrash(
                f"{item.folder.kind.title} {item.id} is not in the trash, so it cannot be deleted.\n"
                f"Put it there with: naiad trash {item.id}",
                run_id=item.id,
            )


def delete(store: Store, items: Sequence[Item]) -> list[Item]:
    """Delete containers for good, models with all their versions, and return the deleted ones.

    Their folders are gone at once. The content of files that no other run has goes with them, except what was used in
    the last ten minutes: `naiad gc` frees that later.

    Raises:
        BeingWritten: one of them is being written; then nothing is deleted.
        StoreNotWritable: the store cannot be changed.
    """
    models = {item.id for item in items if item.folder.kind is MODEL}
    rows = store.catalog().rows(kind=MODEL_VERSION, is_trashed=None) if models else []
    versions = [Item(row.id, store.folder(row.uid, row.kind)) for row in rows if row.model_id in models]
    gone = list({item.folder.uid: item for item in [*versions, *items]}.values())  # versions first: they need the model
    for item in gone:
        refuse_written(item.folder, item.id)
    for item in gone:
        purge(store, item.folder, item.id)
    sweep(store)
    if gone and (store.root / "blobs").is_dir():
        _free_content(store)
    return gone


def waiting(store: Store) -> tuple[int, float] | None:
    """The bytes that nothing refers to any more and that were used too recently to be freed, and when they can be.

    What a container that is gone used last looks like what another one is about to refer to, so it waits as well.
    """
    try:
        left = collect(store, grace=-1.0, is_dry=True) if (store.root / "blobs").is_dir() else []
    except DamagedData:  # said when the content was to be freed
        return None
    size = sum(file.size for file in left)
    return (size, max(file.modified for file in left) + GRACE_SECONDS) if size else None


def _free_content(store: Store) -> None:
    try:
        collect(store)
    except DamagedData as problem:
        warn_once((store.root, "content"), f"The runs are deleted, but their files are not freed yet. {problem}")


def _is_trashed(folder: RunDirectory) -> bool:
    try:
        return Reader(folder).value(FLAG) is True
    except MissingField:
        return False
