"""Making, listing and deleting the projects of a store."""

from __future__ import annotations

import os
from pathlib import Path

from naiad import options
from naiad.container_kinds import is_project_key
from naiad.errors import InvalidArgument, NaiadTypeError, ProjectExists, shown
from naiad.management.roles import ProjectVisibility
from naiad.project import existing_project, known_projects, project_ops
from naiad.storage.base import Store
from naiad.storage.opening import Place, folder, locate
from naiad.trash import Item, delete

__all__ = ["create_project", "delete_project", "full_name", "get_project_list", "store_folder"]

VISIBILITIES = (ProjectVisibility.PRIVATE, ProjectVisibility.PUBLIC, ProjectVisibility.WORKSPACE)


def store_folder(store: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in which a program keeps its runs, which need not exist yet.

    Args:
        store: the program's `store=`; else NAIAD_STORE, else the nearest `.naiad` here or above, else a
            new one.
    """
    return folder(store)


def get_project_list(*, api_token: str | None = None, store: Place = None) -> list[str]:
    """Return the names of all projects of the store, sorted.

    Args:
        api_token: of a server, `naiad_...`; a folder needs none.
        store: the folder to look in; else NAIAD_STORE, else the nearest `.naiad` here or above.
    """
    options.check(api_token=api_token, store=store)
    return sorted(known_projects(locate(store)))


def create_project(
    name: str,
    *,
    key: str | None = None,
    workspace: str | None = None,
    visibility: str = ProjectVisibility.PRIVATE,
    description: str | None = None,
    api_token: str | None = None,
    store: Place = None,
) -> str:
    """Make a project and return its full name. The first run of a project makes it too.

    Args:
        name: "digits" or "workspace/digits".
        key: the prefix of the ids of its runs: 1 to 10 capital letters and digits; else made from the name.
        workspace: stands before the name.
        visibility: stored as `sys/visibility`; the permissions of the folder decide who can read it.
        description: kept as `sys/description`.
        api_token: of a server, `naiad_...`; a folder needs none.
        store: the folder to make it in; else NAIAD_STORE, else the nearest `.naiad` here or above, else a new one.

    Raises:
        ProjectExists: the store has a project with this name or key.
        NaiadPathError: the name is not valid for a project.
    """
    options.check(key=key, workspace=workspace, description=description, api_token=api_token, store=store)
    full = full_name(name, workspace)
    if visibility not in VISIBILITIES:
        choices = " or ".join(map(repr, VISIBILITIES))
        raise InvalidArgument(f"visibility= takes {choices}, not {shown(visibility)}.", argument="visibility")
    if key is not None and not is_project_key(key):
        raise InvalidArgument(
            f"{shown(key)} cannot be the key of a project.\nA key has 1 to 10 capital letters and digits, at least one "
            "of them a letter.",
            argument="key",
            value=key,
        )
    place = locate(store)
    # For the message; the reservation below decides, since another process may make it in between.
    if full in known_projects(place):
        raise ProjectExists(f"Store {place} already has a project {full!r}.", project=full)
    _begin(place, full, key, description, visibility)
    return full


def _begin(store: Store, name: str, key: str | None, description: str | None, visibility: str) -> None:
    reservation = store.reserve_project(name, key)
    # Reserving joins what is there, and this function promises to make.
    if not reservation.is_new:
        raise ProjectExists(f"Another process has just made project {name!r} in store {store}.", project=name)
    try:
        ops = project_ops(reservation.id, name, description, visibility)
        store.writer(reservation.run, first_ops=ops).stop()
    except BaseException:  # only to clean up: whatever it is goes on
        store.release(reservation)
        raise


def delete_project(
    project: str, *, workspace: str | None = None, api_token: str | None = None, store: Place = None
) -> None:
    """Delete a project with all its runs, models and model versions, for good, whether they are in the trash or not.

    Raises:
        ProjectNotFound: the store has no such project.
        BeingWritten: something of it is being written; then nothing is deleted.
    """
    options.check(workspace=workspace, api_token=api_token, store=store)
    name = full_name(project, workspace)
    place = locate(store)
    existing_project(place, name)
    key = next((key for key, project in place.projects().items() if project == name), "")
    rows = place.catalog().summaries(kind=None, is_trashed=None)
    # A damaged run may have lost its field `sys/project`; the key in its id still says where it belongs.
    its_own = [row for row in rows if row.project == name or (not row.project and row.id.partition("-")[0] == key)]
    delete(place, [Item(row.id, row.run) for row in its_own])
    # After its runs: if deleting fails, the project is still there to be deleted again.
    place.forget_project(name)


def full_name(project: object, workspace: str | None) -> str:
    """Return the name of a workspace's project in a store.

    Raises:
        InvalidArgument: the name has another workspace in it.
        NaiadPathError: this cannot be the name of a project.
    """
    if not isinstance(project, str):
        raise NaiadTypeError(
            f"The name of a project must be a str, not {shown(project)}.", argument="project", value=project
        )
    given, slash, _name = project.rpartition("/")
    if workspace and slash and given != workspace:
        raise InvalidArgument(
            f"{project!r} is not in workspace {workspace!r}.\nLeave out workspace=, or the part before the slash.",
            argument="workspace",
            value=workspace,
        )
    name = f"{workspace}/{project}" if workspace and not slash else project
    return options.project_name(name) or options.refuse_name(name)
