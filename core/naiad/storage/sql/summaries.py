"""Summaries: one line of facts for each run or other container, as listings show them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from naiad.container_kinds import BY_FOLDER, ContainerKind
from naiad.query.tree import Node
from naiad.scalars import from_microseconds
from naiad.storage.catalog import Changes, Summary
from naiad.storage.sql.connection import All, Clause, Connection, Negated, Part, Statement
from naiad.storage.sql.search import NUMBER, OF_KIND, OF_PROJECT, field_numbers
from naiad.storage.sql.translate import condition, narrowed
from naiad.storage.sql.values import (
    FACTS,
    Shown,
    as_stored,
    cells_in,
    facts_in,
    fields_at,
    losses_of,
    shown,
    shown_at,
    whole_cells,
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
    limit: int | None = None,
) -> list[Summary]:
    """The containers of a project, with all the tags, in a state, of a kind, in the trash or not; the newest first."""
    conditions: list[Clause] = [Part(_TAGGED, {"tag": as_stored(each)}) for each in tags]
    if tree is not None:
        asked = field_numbers(connection, tree)
        conditions.append(condition(narrowed(tree, asked), asked, NUMBER))
    if kind is not None:
        conditions.append(Part(OF_KIND, {"kind": kind.folder}))
    if is_trashed is not None:
        conditions.append(Part(IN_TRASH) if is_trashed else Negated(Part(IN_TRASH)))
    if project is not None:
        conditions.append(Part(OF_PROJECT, {"project": project}))
    if state is not None:
        conditions.append(Part(_IN_STATE, {"state": state}))
    numbers = _numbers(connection)
    if limit is None:
        return [_summary(row, numbers) for row in map(Shown._make, connection.run(_NEWEST, where=All(conditions)))]
    # Their numbers come from an index: sorting the rows would read the cells of all.
    found = connection.run(_NEWEST_PAGE, where=All(conditions), limit=limit, offset=0)
    return [_summary(row, numbers) for row in shown_at(connection, [number for (number,) in found])]


def changes(connection: Connection, since: str | None) -> Changes:
    """The changes since a mark; see `Catalog.changes`."""
    made, revision = connection.run(_MARK).fetchone()
    before, _, number = (since or "").rpartition("-")
    mark = f"{made}-{revision}"
    if before != made or not number.isdigit():
        return Changes(mark, since is not None, [], frozenset(), [])
    numbers = _numbers(connection)
    found = [_summary(row, numbers) for row in shown(connection, Part(_LATER, {"since": int(number)}))]
    new = (uid for (uid,) in connection.run(_BEGUN, since=int(number)))
    removed = connection.run(_GONE_SINCE, since=int(number))
    return Changes(mark, False, found, frozenset(new), [(uid, name or uid) for uid, name in removed])


def _newest(sql: Any, t: Any, is_page: bool) -> Any:
    """Containers, the newest first; of a page their numbers alone."""
    shown_columns = [t.container.c.number] if is_page else t.SHOWN
    rows = sql.select(*shown_columns).where(sql.text("({where})"))
    rows = rows.order_by(t.container.c.created.desc(), t.container.c.number.desc())
    return rows.limit(sql.bindparam("limit")).offset(sql.bindparam("offset")) if is_page else rows


_statement = partial(Statement, "naiad.storage.sql.tables")
_MARK = _statement("about.mark", lambda sql, t: sql.select(t.about.c.made, t.about.c.revision))
_IN_STATE = _statement("container.in_state", lambda sql, t: t.container.c.state == sql.bindparam("state"))
_LATER = _statement("container.later", lambda sql, t: t.container.c.revision > sql.bindparam("since"))
_BEGUN = _statement(
    "container.begun",
    lambda sql, t: sql.select(t.container.c.uid).where(
        t.container.c.revision > sql.bindparam("since"), t.container.c.begun > sql.bindparam("since")
    ),
)
_GONE_SINCE = _statement(
    "gone.since", lambda sql, t: sql.select(t.gone.c.uid, t.gone.c.id).where(t.gone.c.revision > sql.bindparam("since"))
)
_NEWEST, _NEWEST_PAGE = (
    _statement(f"container.newest{', page' if is_page else ''}", _newest, is_page) for is_page in (False, True)
)
_TAGGED = _statement(  # as a tag or as a group tag
    "container.tagged",
    lambda sql, t: t.container.c.number.in_(
        sql.select(t.tag.c.container)
        .join(t.field, t.field.c.number == t.tag.c.field)
        .where(
            t.field.c.path.in_([sql.literal_column(repr(path)) for path in TAG_PATHS]),
            t.tag.c.tag == sql.bindparam("tag"),
        )
    ),
)
IN_TRASH = _statement(
    "container.in_trash",
    lambda sql, t: t.container.c.number.in_(
        sql.select(t.cell.c.container)
        .join(t.field, t.field.c.number == t.cell.c.field)
        .where(t.field.c.path == sql.literal_column("'sys/trashed'"), t.cell.c.num == sql.literal_column("1"))
    ),
)


def _numbers(connection: Connection) -> list[int | None]:
    """Look up the fields of a summary; None stands for one that no container has."""
    found = fields_at(connection, (path for path, _kind in FACTS))
    return [found.get(key) for key in FACTS]


def _summary(row: Shown, numbers: list[int | None]) -> Summary:
    packed = whole_cells(row)
    values = facts_in(packed)
    if values is None:  # of a server's database, whose rows are written when a run is folded
        values = [*map(cells_in(packed).get, numbers)]  # type: ignore[arg-type]  # None is no key, and finds nothing
    name, modified, seen, owner, tags, group_tags, description, size, *rest = values
    failed, custom_run_id, trashed, model_id, stage, parent, parent_uid = rest
    return Summary(
        uid=row.uid,
        kind=BY_FOLDER[row.kind],
        id=row.id,
        project=row.project,
        name=name or "",
        state=row.state,
        created=None if row.created is None else from_microseconds(row.created),
        modified=None if modified is None else from_microseconds(modified),
        seen=None if seen is None else from_microseconds(seen),
        owner=owner or "",
        tags=tuple(tags or ()),
        group_tags=tuple(group_tags or ()),
        description=description or "",
        size=size or 0.0,
        failed=bool(failed),
        custom_run_id=custom_run_id,
        trashed=bool(trashed),
        model_id=model_id,
        stage=stage,
        losses=losses_of(row),
        parent=parent,
        parent_uid=parent_uid,
    )
