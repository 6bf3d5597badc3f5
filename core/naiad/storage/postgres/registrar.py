"""Registrar: the containers of other machines that a database has, and the ids that they get there.

Any replica may register one. An advisory lock of the database keeps two registrations of one uid apart, and another
one those of a project, whose ids and custom ids are taken in order.
"""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy.engine import Engine

from naiad import ids
from naiad.container_kinds import MODEL, PROJECT, RUN, RunId, kind_named
from naiad.errors import ProjectExists
from naiad.storage.postgres.connection import transaction
from naiad.storage.receiving import Registered, key_taken, model_key, no_model

MOST_KNOWN = 100_000
"""Containers that stay in memory."""
FIND = "select number, uid, kind, id, project from naiad.run where uid = %s"
ADD = "insert into naiad.run (uid, kind, id, project, custom) values (%s, %s, %s, %s, %s) returning number"
COUNT = """
insert into naiad.counter (prefix, last) values (%s, 1)
on conflict (prefix) do update set last = counter.last + 1 returning last
"""


class Registrar:
    """The containers of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, tuple[int, Registered]] = {}

    def register(
        self, run: RunId, project: str, custom: str | None, wish: str | None, parent: str | None, is_exact: bool
    ) -> tuple[Registered, bool]:
        """Register a container; see `naiad.storage.receiving.Receiver.register`."""
        with transaction(self._engine) as raw:
            # one registration of a uid at a time, whichever replica it comes to
            raw.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [run.uid])
            known = _row(raw.execute(FIND, [run.uid]).fetchone())
            if known is not None:
                known[1].require(run.kind)
            is_new = known is None
            if known is None:
                known, is_new = self._named(raw, run, project, custom, wish, parent, is_exact)
        self._remember(known)
        return known[1], is_new

    def _named(
        self,
        raw: psycopg.Connection[Any],
        run: RunId,
        project: str,
        custom: str | None,
        wish: str | None,
        parent: str | None,
        is_exact: bool,
    ) -> tuple[tuple[int, Registered], bool]:
        key = self._key(raw, project)
        # of a project one at a time: its ids and custom ids are taken in order
        raw.execute("select pg_advisory_xact_lock(hashtextextended(%s, 2))", [key])
        if run.kind is RUN and custom is not None:
            asked = "select number, uid, kind, id, project from naiad.run where project = %s and custom = %s"
            found = _row(raw.execute(asked, [project, custom]).fetchone())
            if found is not None:
                return found, False
        if run.kind is PROJECT:
            found = _row(raw.execute(FIND.replace("uid = %s", "id = %s"), [key]).fetchone())
            if found is not None:
                return found, False
            name = key
        elif run.kind is MODEL:
            name = self._model(raw, project, f"{key}-{model_key(wish)}", is_exact)
        else:
            prefix = key if run.kind is RUN else self._parent(raw, parent or "", project)
            row = raw.execute(COUNT, [prefix]).fetchone()
            assert row is not None
            name = f"{prefix}-{row[0]}"
        added = raw.execute(ADD, [run.uid, run.kind.name, name, project, custom]).fetchone()
        assert added is not None
        return (added[0], Registered(run, name, project)), True

    def _model(self, raw: psycopg.Connection[Any], project: str, name: str, is_exact: bool) -> str:
        """An id of a model that no other had: counted like a prefix, so that it is never given again."""
        number, found = 1, name
        while True:
            taken = "insert into naiad.counter (prefix, last) values (%s, 0) on conflict do nothing"
            if raw.execute(taken, [found]).rowcount:
                return found
            if is_exact:
                raise key_taken(project, name)
            number += 1
            found = f"{name}_{number}"

    def _parent(self, raw: psycopg.Connection[Any], parent: str, project: str) -> str:
        asked = "select id from naiad.run where kind = 'model' and project = %s and (id = %s or uid = %s)"
        row = raw.execute(asked, [project, parent, parent]).fetchone()
        if row is None:
            raise no_model(project, parent)
        return str(row[0])

    def _key(self, raw: psycopg.Connection[Any], project: str, wish: str | None = None) -> str:
        wanted, number, key = wish or ids.project_key(project), 1, wish or ids.project_key(project)
        while True:
            raw.execute("insert into naiad.project (key, name) values (%s, %s) on conflict do nothing", [key, project])
            row = raw.execute("select key from naiad.project where name = %s", [project]).fetchone()
            if row is not None:
                return str(row[0])
            if wish is not None:
                raise ProjectExists(f"The key {wish!r} belongs to another project.")
            number += 1
            key = f"{wanted}{number}"

    def find(self, uid: str) -> Registered | None:
        """Return a container that was registered and not deleted; None if there is none."""
        found = self._numbered(uid)
        return None if found is None else found[1]

    def is_at_hand(self, uid: str) -> bool:
        """Whether `find` needs no query for a uid."""
        return uid in self._known

    def _numbered(self, uid: str) -> tuple[int, Registered] | None:
        known = self._known.get(uid)
        if known is None:
            with transaction(self._engine) as raw:
                known = _row(raw.execute(FIND, [uid]).fetchone())
            if known is not None:
                self._remember(known)
        return known

    def number_of(self, uid: str) -> int | None:
        """Return the number of a container in the database."""
        found = self._numbered(uid)
        return None if found is None else found[0]

    def _remember(self, known: tuple[int, Registered]) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[known[1].run.uid] = known

    def forget(self, run: RunId) -> None:
        """Remove a container that was deleted from the memory of this process."""
        self._known.pop(run.uid, None)

    def forget_all(self) -> None:
        """Remove all containers from the memory of this process: the database was set back."""
        self._known.clear()

    def add_project(self, project: str, key: str | None = None) -> str:
        """Make a project, if it is not there, and return its key.

        Raises:
            ProjectExists: the key belongs to another one.
        """
        with transaction(self._engine) as raw:
            return self._key(raw, project, key)

    def count(self, project: str) -> int:
        """Return how many runs, models and versions of a project were registered and not deleted."""
        with transaction(self._engine) as raw:
            row = raw.execute(
                "select count(*) from naiad.run where project = %s and kind <> %s", [project, PROJECT.name]
            ).fetchone()
        return 0 if row is None else int(row[0])


def _row(row: Any) -> tuple[int, Registered] | None:
    if row is None:
        return None
    number, uid, kind, name, project = row
    return number, Registered(RunId(uid, kind_named(kind)), name, project)
