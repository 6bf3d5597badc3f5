"""Sent content: which content of files each project has sent, in the database, beside the objects with the bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from sqlalchemy.engine import Engine

from naiad.errors import StorageError
from naiad.storage.postgres.connection import GC_LOCK, transaction
from naiad.storage.postgres.objects import Objects, blob_name

MOST_TRIES = 3
ADD = """
insert into naiad.content (project, sha256, size) values (%s, %s, %s)
on conflict (project, sha256) do update set made_at = now(), size = excluded.size returning xmax = 0
"""
"""The number in `xmax` is another one in a row that was there."""


class SentContent:
    """The rows of content, by project and SHA-256."""

    def __init__(self, engine: Engine, objects: Objects) -> None:
        self._engine = engine
        self._objects = objects

    def of(self, project: str, wanted: Sequence[tuple[str, int]]) -> list[str]:
        """Return which content a project has sent, of some SHA-256 with their sizes, and keep it from being freed."""
        with transaction(self._engine) as raw:
            rows = raw.execute(
                "update naiad.content set made_at = now() where project = %s and sha256 = any(%s) "
                "returning sha256, size",
                [project, [sha256 for sha256, _size in wanted]],
            ).fetchall()
        # The size too, since a client that names a hash with another size does not have that content.
        known = dict(rows)
        return [sha256 for sha256, size in wanted if known.get(sha256) == size]

    def among(self, project: str, names: Collection[str]) -> set[str]:
        """Return which of some SHA-256 a project has sent."""
        if not names:
            return set()
        with transaction(self._engine) as raw:
            asked = "select sha256 from naiad.content where project = %s and sha256 = any(%s)"
            return {sha256 for (sha256,) in raw.execute(asked, [project, [*names]])}

    def add(self, project: str, sha256: str, size: int, source: Path | None = None) -> bool:
        """Note that a project has sent content, whose object has been put; return whether it had not.

        Args:
            project: the name of the project.
            sha256: of the content.
            size: of the content.
            source: a file from which the object is put again if gc has freed it meanwhile.

        Raises:
            StorageError: it was freed and there is no such file; or the objects or the database cannot be used now.
        """
        name = blob_name(sha256)
        for _ in range(MOST_TRIES):
            with transaction(self._engine) as raw:
                raw.execute("select pg_advisory_xact_lock_shared(%s)", [GC_LOCK])
                # gc may have freed it just now. While this lock is held it does not, and a row says that it is there.
                if self._objects.has(name):
                    row = raw.execute(ADD, [project, sha256, size]).fetchone()
                    raw.execute("delete from naiad.unreferenced where object = %s", [name])
                    return row == (True,)
            if source is None:
                break
            # Under no lock, as it may take minutes. gc finds it only after it has noted it anew.
            self._objects.put(name, source)
        raise StorageError(f"The object {name} was freed meanwhile.")
