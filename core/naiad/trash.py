"""The trash: its containers are hidden from listings, and can be restored or deleted for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from naiad.children import children
from naiad.container_kinds import MODEL, MODEL_VERSION, PROJECT, RunId
from naiad.errors import InvalidArgument, MissingField, NotInTrash
from naiad.kinds import PROTECTED
from naiad.storage.base import Store
from naiad.storage.edits import edit, protected, sys_changes

FLAG = "sys/trashed"


class Item(NamedTuple):
    """A container, and its id for users."""

    id: str
    run: RunId


def find(store: Store, names: Iterable[str]) -> list[Item]:
    """The runs, models and model versions of these ids or uids, each once.

    Raises:
        RunNotFound: one of them is not there.
        InvalidArgument: one of them is a project.
    """
    if store.has_begun():
        store.catalog().summaries()  # so that an id that means several is noticed before anything is deleted
    found: dict[str, Item] = {}
    for name in dict.fromkeys(names):
        run = store.find(name)
        if run.kind is PROJECT:
            raise InvalidArgument(
                f"{name!r} is a project, and projects have no trash.\n"
                "naiad.management.delete_project() deletes a project with everything in it.",
                argument="ids",
                value=name,
            )
        found.setdefault(run.uid, Item(name, run))
    return list(found.values())


def with_children(store: Store, items: Iterable[Item], *, is_trashed: bool = False) -> list[Item]:
    """Return containers, and behind each its children, theirs too: those in the trash, or those outside it."""
    found: dict[str, Item] = {}
    waiting = list(items)
    while waiting:
        item = waiting.pop(0)
        if item.run.uid not in found:
            found[item.run.uid] = item
            # In front of the others, so that each child stands behind its parent; `found` ends circles of parents.
            waiting[:0] = [Item(row.id, row.run) for row in children(store, item.run.uid, is_trashed=is_trashed)]
    return list(found.values())


def in_trash(store: Store, project: str | None = None) -> list[Item]:
    """Everything in the trash, of a project or of the whole store; the latest first."""
    rows = store.catalog().summaries(project, kind=None, is_trashed=True) if store.has_begun() else []
    return [Item(row.id, row.run) for row in rows]


def move(store: Store, items: Iterable[Item], *, is_out: bool = False) -> None:
    """Put containers into the trash, or take them out of it. One that is being written may be moved too.

    Raises:
        ContainerProtected: one of them is protected; then none is put into the trash.
        StoreNotWritable: the store cannot be changed.
        NotAuthorized: the store is a server, and the token may not delete runs.
    """
    # All are looked at before one is changed, so that a protected one leaves the others where they are.
    items = list(items)
    if not is_out:
        require_unprotected(store, items, "put into the trash")
    # One that is there already is not written: each write would be one more writer in its journal.
    items = [item for item in items if is_in_trash(store, item.run) is is_out]
    here = store.put_in_trash([item.run for item in items], is_out=is_out)
    for item in items:
        if item.run in here:
            edit(store, item.run, sys_changes({FLAG: not is_out}))


def require_unprotected(store: Store, items: Iterable[Item], verb: str = "deleted") -> None:
    """Raise for a container that is protected.

    Raises:
        ContainerProtected: one of them is.
    """
    for item in items:
        if _flag(store, item.run, PROTECTED):
            raise protected(item.run.kind, item.id, verb)


def protect(store: Store, items: Iterable[Item], *, is_off: bool = False) -> None:
    """Protect containers against deletion, or lift that, and return when it is on disk.

    Raises:
        StoreNotWritable: the store cannot be changed.
    """
    for item in items:
        if _flag(store, item.run, PROTECTED) is is_off:
            edit(store, item.run, sys_changes({PROTECTED: not is_off}))


def require_in_trash(store: Store, items: Iterable[Item]) -> None:
    """Raise for a container that is not in the trash.

    Raises:
        NotInTrash: one of them is not in the trash.
    """
    for item in items:
        if not is_in_trash(store, item.run):
            raise NotInTrash(
                f"{item.run.kind.title} {item.id} is not in the trash, so it cannot be deleted.\n"
                f"Put it there with: naiad trash {item.id}",
                run_id=item.id,
            )


def delete(store: Store, items: Sequence[Item]) -> list[Item]:
    """Delete containers for good, models with all their versions, and return the deleted ones.

    Their folders are gone at once. The content of files that no other run has goes with them, except content used in
    the last ten minutes: `naiad gc` frees that later.

    Raises:
        ContainerProtected: one of them is protected; then nothing is deleted.
        BeingWritten: one of them is being written; then nothing is deleted.
        StoreNotWritable: the store cannot be changed.
    """
    models = {item.id for item in items if item.run.kind is MODEL}
    rows = store.catalog().summaries(kind=MODEL_VERSION, is_trashed=None) if models else []
    versions = [Item(row.id, row.run) for row in rows if row.model_id in models]
    gone = list({item.run.uid: item for item in [*versions, *items]}.values())  # versions first: they need the model
    store.delete(gone)
    return gone


def is_in_trash(store: Store, run: RunId) -> bool:
    """Whether a container is in the trash."""
    return _flag(store, run, FLAG)


def _flag(store: Store, run: RunId, path: str) -> bool:
    try:
        return store.reader(run).value(path) is True
    except MissingField:
        return False
