"""Saved views: addresses of pages, kept as fields of the project below `views/`."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec

from naiad import init_project, paths
from naiad.kinds import ATOM_OF
from naiad.ops import Assign, Delete
from naiad.scalars import pack_text
from naiad.storage.base import Change
from naiad_web.server.answers import Json, Problem
from naiad_web.server.fields import text_of
from naiad_web.server.parameters import Parameters
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

NAMESPACE = "views"
TEXT = ATOM_OF[str]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class ViewsWanted(Parameters, frozen=True, kw_only=True):
    """A project."""

    project: str


class ViewToSave(Parameters, frozen=True, kw_only=True):
    """A view."""

    project: str
    name: Name
    url: Annotated[str, msgspec.Meta(max_length=100_000)]


class ViewToDelete(Parameters, frozen=True, kw_only=True):
    """The name of a view."""

    project: str
    name: Name


def views(site: Site, takes: ViewsWanted) -> Json:
    """The saved views of a project."""
    found = []
    for path, (kind, value) in sorted(site.project_reader(takes.project).atoms(NAMESPACE).items()):
        name = path.partition("/")[2]
        if kind == TEXT:
            found.append({"name": name, "url": _address(text_of(value)), "modified": None})
    return {"views": [each for each in found if each["url"]]}


def save(site: Site, takes: ViewToSave) -> Json:
    """Save a view, or replace it."""
    if not takes.url.startswith("/") or takes.url.startswith("//"):
        raise Problem(
            400, "InvalidArgument", "The address of a view must begin with exactly one slash.", argument="url"
        )
    path = _path(takes.name)
    text = json.dumps({"url": takes.url, "name": takes.name})
    _write(site, takes.project, Change(path, TEXT, (Assign(path, TEXT, pack_text(text)),)))
    return {"name": takes.name, "url": takes.url}


def delete(site: Site, takes: ViewToDelete) -> Json:
    """Delete a view."""
    path = _path(takes.name)
    if path not in site.project_reader(takes.project).kinds():
        raise Problem(404, "NotFound", f"Project {takes.project!r} has no view {takes.name!r}.")
    _write(site, takes.project, Change(path, "", (Delete(path),)))
    return {"name": takes.name}


def _path(name: str) -> str:
    if "/" in name or name.strip() in ("", ".", ".."):
        raise Problem(
            400, "InvalidArgument", "The name of a view must not be empty or contain a slash.", argument="name"
        )
    return paths.parse(f"{NAMESPACE}/{name}")


def _write(site: Site, project: str, change: Change) -> None:
    # opening it would make a project of a misspelt name
    if project not in site.store.projects().values():
        raise Problem(404, "ProjectNotFound", f"The store has no project {project!r}.")
    if site.store.find_project(project) is None:  # nothing was ever written to it
        init_project(project=project, store=site.store).stop()
    run = site.store.find_project(project)
    if run is None:
        init = init_project(project=project, store=site.store)
        init["sys/description"] = ""  # its first field makes it
        init.stop()
        run = site.store.find_project(project)
    assert run is not None
    writer = site.store.writer(run, role="editor", on_error="raise")
    try:
        writer.write([change])
        writer.wait()
    finally:
        writer.stop()


def _address(text: str) -> str | None:
    try:
        found = json.loads(text)["url"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and found.startswith("/") and not found.startswith("//") else None


ROUTES = (
    Route("GET", "/views", views, ViewsWanted, "The saved views of a project"),
    Route("PUT", "/views", save, ViewToSave, "Save a view", is_change=True),
    Route("DELETE", "/views", delete, ViewToDelete, "Delete a view", is_change=True),
)
