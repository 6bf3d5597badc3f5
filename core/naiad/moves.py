"""Moves of runs into other projects of their store."""

from __future__ import annotations

from collections.abc import Iterable

from naiad import options
from naiad.children import rename_parent
from naiad.container_kinds import RUN
from naiad.errors import InvalidArgument
from naiad.storage.base import Store
from naiad.trash import find, with_children


def move(store: Store, names: Iterable[str], project: str, *, children: bool = False) -> list[tuple[str, str]]:
    """Move runs into a project, one after the other, and return the old and the new id of each.

    Args:
        store: the store that has them.
        names: ids or uids of runs.
        project: the name of the project, which is made if need be.
        children: also all runs that belong to them, outside the trash.

    Raises:
        RunNotFound: one of them is not there; then none is moved.
        InvalidArgument: one of them is no run.
        NameTaken: another run of the project has the custom id of one; those before it are moved.
        BeingWritten: one of them is being written; those before it are moved.
    """
    name = options.project_name(project) or options.refuse_name(project)
    items = find(store, names)
    for item in items:
        if item.run.kind is not RUN:
            raise InvalidArgument(
                f"{item.id} is a {item.run.kind.noun}, and only runs can be moved to another project.",
                argument="ids",
                value=item.id,
            )
    moved = []
    for item in with_children(store, items) if children else items:
        old = store.id_of(item.run)
        new = store.move(item.run, name)
        rename_parent(store, item.run.uid, new)
        moved.append((old, new))
    return moved
