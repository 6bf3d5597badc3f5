"""Summaries: one line of facts for each run or other container, as listings show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from naiad.container_kinds import BY_FOLDER, ContainerKind
from naiad.kinds import PARENT, PARENT_UID
from naiad.query.tree import Node
from naiad.scalars import from_microseconds
from naiad.storage.base import Changes, Summary
from naiad.storage.sql.translate import condition, field_numbers, narrowed
from naiad.storage.sql.values import (
    SHOWN,
    about,
    as_stored,
    cell,
    container,
    field,
    fields,
    gone,
    losses_of,
    shown_cells,
    tag,
)

TAG_PATHS = ("sys/tags", "sys/group_tags")


def summaries(
    connection: Connection,
    project: str | None,
    tags: Sequence[str],
    state: str | None,
    kind: ContainerKind | None,
    is_trashed: bool | None,
    tree: Node | None = None,
) -> list[Summary]:
    """The containers of a project, with all the tags, in a state, of a kind, in the trash or not; the newest first."""
    conditions = _has_tags(tags)
    if tree is not None:
        numbers = field_numbers(connection, tree)
        conditions.append(condition(narrowed(tree, numbers), numbers, container.c.number))
    if kind is not None:
        conditions.append(container.c.kind == kind.folder)
    if is_trashed is not None:
        conditions.append(_is_in_trash() if is_trashed else ~_is_in_trash())
    if project is not None:
        conditions.append(container.c.project == project)
    if state is not None:
        conditions.append(container.c.state == state)
    names = {number: path for number, path, _kind in fields(connection, field.c.path.like("sys/%"))}
    found = select(*SHOWN).where(*conditions).order_by(container.c.created.desc(), container.c.number.desc())
    return [_summary(row, names) for row in connection.execute(found)]


def changes(connection: Connection, since: str | None) -> Changes:
    """The changes since a mark; see `Catalog.changes`."""
    made, revision = connection.execute(select(about.c.made, about.c.revision)).one()
    before, _, number = (since or "").rpartition("-")
    mark = f"{made}-{revision}"
    if before != made or not number.isdigit():
        return Changes(mark, since is not None, [], frozenset(), [])
    names = {each: path for each, path, _kind in fields(connection, field.c.path.like("sys/%"))}
    is_later = container.c.revision > int(number)
    found = [_summary(row, names) for row in connection.execute(select(*SHOWN).where(is_later))]
    new = connection.execute(select(container.c.uid).where(is_later, container.c.begun > int(number))).scalars()
    removed = connection.execute(select(gone.c.uid, gone.c.id).where(gone.c.revision > int(number)))
    return Changes(mark, False, found, frozenset(new), [(uid, name or uid) for uid, name in removed])


def _has_tags(wanted: Sequence[str]) -> list[ColumnElement[bool]]:
    """Conditions: the container has each of these, as a tag or as a group tag."""
    tagged = select(tag.c.container).join(field, field.c.number == tag.c.field).where(field.c.path.in_(TAG_PATHS))
    return [container.c.number.in_(tagged.where(tag.c.tag == as_stored(each))) for each in wanted]


def _is_in_trash() -> ColumnElement[bool]:
    """Condition: the container was put into the trash."""
    trashed = select(cell.c.container).join(field, field.c.number == cell.c.field)
    return container.c.number.in_(trashed.where(field.c.path == "sys/trashed", cell.c.num == 1))


def _summary(row: Any, names: dict[int, str]) -> Summary:
    values = {names[at]: value for at, value in shown_cells(row).items() if at in names}
    modified, seen = values.get("sys/modification_time"), values.get("sys/ping_time")
    return Summary(
        uid=row.uid,
        kind=BY_FOLDER[row.kind],
        id=row.id,
        project=row.project,
        name=values.get("sys/name") or "",
        state=row.state,
        created=None if row.created is None else from_microseconds(row.created),
        modified=None if modified is None else from_microseconds(modified),
        seen=None if seen is None else from_microseconds(seen),
        owner=values.get("sys/owner") or "",
        tags=tuple(values.get(TAG_PATHS[0]) or ()),
        group_tags=tuple(values.get(TAG_PATHS[1]) or ()),
        description=values.get("sys/description") or "",
        size=values.get("sys/size") or 0.0,
        failed=bool(values.get("sys/failed")),
        custom_run_id=values.get("sys/custom_run_id"),
        trashed=bool(values.get("sys/trashed")),
        model_id=values.get("sys/model_id"),
        stage=values.get("sys/stage"),
        losses=losses_of(row),
        parent=values.get(PARENT),
        parent_uid=values.get(PARENT_UID),
    )
