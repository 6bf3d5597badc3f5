"""The trash of a project, for programs."""

from __future__ import annotations

from collections.abc import Iterable

from naiad import moves, options, trash
from naiad.errors import NaiadTypeError, shown
from naiad.management.projects import full_name
from naiad.project import existing_project
from naiad.storage.base import Store
from naiad.storage.opening import Place, locate
from naiad.trash import Item

__all__ = [
    "clear_trash",
    "delete_objects_from_trash",
    "move_runs",
    "protect_objects",
    "restore_objects",
    "trash_objects",
]


def trash_objects(
    project: str,
    ids: str | Iterable[str],
    *,
    children: bool = False,
    workspace: str | None = None,
    api_token: str | None = None,
    store: Place = None,
) -> None:
    """Put runs, models and model versions into the trash: listings leave them out, and their data stays.

    Args:
        project: the project they belong to.
        ids: one id, such as "DIGITS-12", or several.
        children: also all runs that belong to them, of whatever project; otherwise children stay where they are.
        workspace: stands before the name of the project.
        api_token: of a server, `naiad_...`; a folder needs none.
        store: the folder to look in; else NAIAD_STORE, else the nearest `.naiad` here or above.

    Raises:
        ContainerNotFound: the project has none of such an id; then nothing is put into the trash.
    """
    place, name = _place(project, workspace, api_token, store)
    options.check(children=children)
    items = _items(place, name, ids)
    trash.move(place, trash.with_children(place, items) if children else items)


def restore_objects(
    project: str,
    ids: str | Iterable[str],
    *,
    children: bool = False,
    workspace: str | None = None,
    api_token: str | None = None,
    store: Place = None,
) -> None:
    """Take runs, models and model versions out of the trash. Neptune had this in its web application only.

    Args:
        project: the project they belong to.
        ids: one id, or several.
        children: also all trashed runs that belong to them.
        workspace: stands before the name of the project.
        api_token: of a server, `naiad_...`; a folder needs none.
        store: as of `trash_objects`.

    Raises:
        ContainerNotFound: the project has none of such an id; then nothing is restored.
    """
    place, name = _place(project, workspace, api_token, store)
    options.check(children=children)
    items = _items(place, name, ids)
    trash.move(place, trash.with_children(place, items, is_trashed=True) if children else items, is_out=True)


def protect_objects(
    project: str,
    ids: str | Iterable[str],
    is_protected: bool = True,
    *,
    workspace: str | None = None,
    api_token: str | None = None,
    store: Place = None,
) -> None:
    """Protect runs, models and model versions against deletion, or lift that with `is_protected=False`.

    Raises:
        ContainerNotFound: the project has none of such an id; then nothing is changed.
    """
    if not isinstance(is_protected, bool):
        raise NaiadTypeError(f"is_protected= takes True or False, not {shown(is_protected)}.", value=is_protected)
    place, name = _place(project, workspace, api_token, store)
    trash.protect(place, _items(place, name, ids), is_off=not is_protected)


def move_runs(
    project: str,
    ids: str | Iterable[str],
    to: str,
    *,
    children: bool = False,
    workspace: str | None = None,
    api_token: str | None = None,
    store: Place = None,
) -> dict[str, str]:
    """Move runs into another project of the store, and return their new ids by their old ones.

    The old ids still find them, and their custom ids work in both projects.

    Args:
        project: the project that they belong to.
        ids: one id, such as "DIGITS-12", or several.
        to: the name of the other project, which is created if it does not exist.
        children: also all runs that belong to them, of whatever project.
        workspace: stands before the names of both projects.
        api_token: of a server, `naiad_...`; a folder needs none.
        store: the folder to look in; else NAIAD_STORE, else the nearest `.naiad` here or above.

    Raises:
        RunNotFound: the project has no run of such an id; then none is moved.
        NameTaken: a run of the other project has the custom id of one; those before it are moved.
        BeingWritten: one of them is being written; those before it are moved.
    """
    options.check(children=children)
    place, name = _place(project, workspace, api_token, store)
    names = [item.id for item in _items(place, name, ids)]
    return dict(moves.move(place, names, full_name(to, workspace), children=children))


def delete_objects_from_trash(
    project: str,
    ids: str | Iterable[str],
    *,
    workspace: str | None = None,
    api_token: str | None = None,
    store: Place = None,
) -> None:
    """Delete trashed runs, models and versions for good; a model with all its versions.

    Files that were used in the last ten minutes stay until `naiad gc` is run after that.

    Raises:
        ContainerNotFound: the project has none of such an id.
        NotInTrash: one of them is not in the trash; then nothing is deleted.
        BeingWritten: one of them is being written; then nothing is deleted.
    """
    place, name = _place(project, workspace, api_token, store)
    items = _items(place, name, ids)
    trash.require_in_trash(place, items)
    trash.delete(place, items)


def clear_trash(
    project: str, *, workspace: str | None = None, api_token: str | None = None, store: Place = None
) -> None:
    """Delete everything that is in the trash of a project, for good.

    Files that were used in the last ten minutes stay until `naiad gc` is run after that.

    Raises:
        BeingWritten: something in it is being written; then nothing is deleted.
    """
    place, name = _place(project, workspace, api_token, store)
    trash.delete(place, trash.in_trash(place, name))


def _place(project: str, workspace: str | None, api_token: str | None, store: Place) -> tuple[Store, str]:
    options.check(workspace=workspace, api_token=api_token, store=store)
    place, name = locate(store), full_name(project, workspace)
    existing_project(place, name)
    return place, name


def _items(store: Store, project: str, ids: str | Iterable[str]) -> list[Item]:
    items = trash.find(store, _names(ids))
    # All of them are checked before any is touched, so that an error leaves everything as it was.
    for name, run in items:
        home = store.reader(run).values("sys").get("sys/project")
        if home != project:
            raise run.kind.not_found(
                f"Project {project!r} has no {run.kind.noun} {name!r}; it belongs to project {home!r}.", run_id=name
            )
    return items


def _names(ids: object) -> list[str]:
    given: list[object] = [ids] if isinstance(ids, str) or not isinstance(ids, Iterable) else list(ids)
    names = [name for name in given if isinstance(name, str)]
    if len(names) < len(given):
        wrong = next(name for name in given if not isinstance(name, str))
        raise NaiadTypeError(f"ids= takes a str or a list of str, not {shown(wrong)}.", argument="ids", value=wrong)
    return names
