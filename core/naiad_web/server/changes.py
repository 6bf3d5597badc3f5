"""Changes: names, descriptions, tags and stages of containers, and the trash; only with `--edit`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from naiad import trash
from naiad.container_kinds import MODEL_VERSION
from naiad.kinds import ATOM_OF, TAGS
from naiad.model import stage_ops
from naiad.ops import Assign, Tags
from naiad.scalars import pack_text
from naiad.storage.base import Change
from naiad.types import ModelVersionStage
from naiad_web.server.answers import Json, Problem
from naiad_web.server.containers import facts
from naiad_web.server.parameters import Parameters
from naiad_web.server.routes import Route
from naiad_web.server.site import Site

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class TagsToChange(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Tags to add and to remove."""

    add: list[Tag] = []
    remove: list[str] = []


class ContainerToChange(Parameters, frozen=True, kw_only=True):
    """The changes of a container; None leaves a value as it is."""

    name: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None
    description: Annotated[str, msgspec.Meta(max_length=1_000_000)] | None = None
    tags: TagsToChange | None = None
    group_tags: TagsToChange | None = None
    stage: str | None = None


class Moved(Parameters, frozen=True, kw_only=True):
    """Containers, by id or uid."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)]


def change(site: Site, name: str, takes: ContainerToChange) -> Json:
    """Change a container, all or nothing."""
    run = site.find(name)
    planned: list[Change] = []
    for path, text in (("sys/name", takes.name), ("sys/description", takes.description)):
        if text is not None:
            planned.append(Change(path, ATOM_OF[str], (Assign(path, ATOM_OF[str], pack_text(text)),)))
    for path, tags in (("sys/tags", takes.tags), ("sys/group_tags", takes.group_tags)):
        if tags is not None and (tags.add or tags.remove):
            op = Tags(path, [*map(pack_text, tags.add)], [*map(pack_text, tags.remove)], clear=False)
            planned.append(Change(path, TAGS, (op,)))
    if takes.stage is not None:
        if run.kind is not MODEL_VERSION:
            raise Problem(409, "FieldConflict", f"A {run.kind.noun} has no stage.", path="sys/stage")
        stages = [stage.value for stage in ModelVersionStage]
        if takes.stage not in stages:
            what = f"There is no stage {takes.stage[:100]!r}; the stages are {', '.join(stages)}."
            raise Problem(400, "InvalidArgument", what, argument="stage")
        planned += [Change(op.path, op.kind, (op,)) for op in stage_ops(takes.stage)]
    # One write for all of them, so that readers never see half of a change.
    if planned:
        writer = site.store.writer(run, role="editor", on_error="raise")
        try:
            writer.write(planned)
            writer.wait()
        finally:
            writer.stop()
    # read anew: the answer shows the change
    reader = site.reader(run)
    return facts(site, run, reader)


def put_into_trash(site: Site, takes: Moved) -> Json:
    """Move containers to the trash."""
    return _move(site, takes, is_out=False)


def restore(site: Site, takes: Moved) -> Json:
    """Take containers out of the trash."""
    return _move(site, takes, is_out=True)


def _move(site: Site, takes: Moved, *, is_out: bool) -> Json:
    items = trash.find(site.store, takes.ids)
    trash.move(site.store, items, is_out=is_out)
    return {"moved": [item.id for item in items]}


ROUTES = (
    Route("PATCH", "/containers/{id}", change, ContainerToChange, "Change a container", is_change=True),
    Route("POST", "/trash", put_into_trash, Moved, "Move containers to the trash", is_change=True, is_deletion=True),
    Route("POST", "/restore", restore, Moved, "Take containers out of the trash", is_change=True, is_deletion=True),
)
