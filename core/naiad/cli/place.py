"""The store that the commands look at. Listings need no more of a run than this, and start sooner without the rest."""

from __future__ import annotations

from collections.abc import Iterable

from naiad.container_kinds import ContainerKind, RunId
from naiad.errors import ContainerNotFound, InvalidArgument, StorageError
from naiad.storage.base import Store
from naiad.storage.opening import Named, locate


def existing_store(path: Named) -> Store:
    """Return the store to look at.

    Raises:
        StorageError: there is none.
    """
    store = locate(path)
    if not store.has_begun():
        raise StorageError(
            f"There is no store at {str(store)!r}.\n"
            "The first run creates one. To use another store, pass --store PATH or set NAIAD_STORE."
        )
    return store


def find_run(store: Store, name: str, kind: ContainerKind | None = None) -> RunId:
    """Return the container with this id or uid, else the run with this custom id.

    Raises:
        ContainerNotFound: there is none; the message names ids that look alike.
        InvalidArgument: runs of several projects have the custom id.
    """
    try:
        return store.find(name, kind)
    except ContainerNotFound:
        found = {run for each in store.projects().values() if (run := store.find_custom(each, name)) is not None}
        if not found:
            raise
    if len(found) > 1:
        ids = ", ".join(sorted(store.id_of(run) for run in found))
        raise InvalidArgument(
            f"Several runs have the custom id {name!r}: {ids}.\nName one of them by its id.", argument="run", value=name
        )
    return found.pop()


def known_names(store: Store, names: Iterable[str]) -> list[str]:
    """Return names that `Store.find` takes: those given, and ids in the place of custom ids."""
    return [name if _is_known(store, name) else store.id_of(find_run(store, name)) for name in names]


def _is_known(store: Store, name: str) -> bool:
    try:
        store.find(name)
    except ContainerNotFound:
        return False
    return True
