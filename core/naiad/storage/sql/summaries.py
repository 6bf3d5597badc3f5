"""Summaries: one line of facts for each run or other container, as listings show them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from naiad.container_kinds import BY_FOLDER, ContainerKind
from naiad.kinds import PARENT, PARENT_UID, SYS
from naiad.query.tree import Node
from naiad.scalars import from_microseconds
from naiad.storage.catalog import Changes, Summary
from naiad.storage.sql.connection import All, Clause, Connection, Negated, Part, Statement
from naiad.storage.sql.search import NUMBER, OF_KIND, OF_PROJECT
from naiad.storage.sql.translate import condition, field_numbers, narrowed
from naiad.storage.sql.values import (
    Shown,
    as_stored,
    decode_cells,
    fields,
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
        numbers = field_numbers(connection, tree)
        conditions.append(condition(narrowed(tree, numbers), numbers, NUMBER))
    if kind is not None:
        conditions.append(Part(OF_KIND, {"kind": kind.folder}))
    if is_trashed is not None:
        conditions.append(Part(IN_TRASH) if is_trashed else Negated(Part(IN_TRASH)))
    if project is not None:
        conditions.append(Part(OF_PROJECT, {"project": project}))
    if state is not None:
        conditions.append(Part(_IN_STATE, {"state": state}))
    names = _names(connection)
    if limit is None:
        return [_summary(row, names) for row in map(Shown._make, connection.run(_NEWEST, where=All(conditions)))]
    # Their numbers come from an index: sorting the rows would read the cells of all.
    found = connection.run(_NEWEST_PAGE, where=All(conditions), limit=limit, offset=0)
    return [_summary(row, names) for row in shown_at(connection, [number for (number,) in found])]


def changes(connection: Connection, since: str | None) -> Changes:
    """The changes since a mark; see `Catalog.changes`."""
    made, revision = connection.run(_MARK).fetchone()
    before, _, number = (since or "").rpartition("-")
    mark = f"{made}-{revision}"
    if before != made or not number.isdigit():
        return Changes(mark, since is not None, [], frozenset(), [])
    names = _names(connection)
    found = [_summary(row, names) for row in shown(connection, Part(_LATER, {"since": int(number)}))]
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
_IN_SYS = _statement("field.in_sys", lambda sql, t: t.field.c.path.like(sql.literal_column("'sys/%'")))
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


def _names(connection: Connection) -> dict[int, str]:
    """Return the paths of naiad's own fields by number; one of another kind at such a path is not naiad's."""
    found = fields(connection, Part(_IN_SYS))
    return {number: path for number, path, kind in found if SYS.get(path, kind) == kind}


def _summary(row: Shown, names: dict[int, str]) -> Summary:
    # Decoded here and not by `shown_cells`, which would keep all cells of each run: a summary needs a few of them.
    cells = decode_cells(whole_cells(row))
    values = {path: cells[at] for at, path in names.items() if at in cells}
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
