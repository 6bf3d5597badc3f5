"""Sent content: which content of files each project has sent, in the database, beside the objects with the bytes.

A row says that the object is there. gc deletes an object only if there is no row, and a replica may add one meanwhile.
Neither waits for the store of objects while it holds the lock, since that store may never answer:

    replica that takes content                        gc
    1 put the object                                  1 note the object (see `upkeep`)
    2 lock (shared) -- no deletion runs? forget       2 lock -- noted still, and no row? mark the note, count one
      the note, read the count of deletions             deletion more -- commit
      -- commit                                       3 delete the object
    3 is it there? else back to 1                     4 remove the note, if the store of objects has answered
    4 lock (shared) -- is the count the same? add
      the row; else back to 2 -- commit

Each deletion begins with 2 and counts there. If one begins before 2 of the replica, the replica is refused by its mark,
or the deletion is over and 3 of the replica sees its result. If one begins between 2 and 4 of the replica, the count
differs. If none does until 4, the row keeps gc from beginning one.

A deletion without an answer may be carried out later, so that its mark stays. Content that is marked is refused, and
its client sends it again. After `IN_FLIGHT_SECONDS` the request cannot be carried out any more: S3 refuses requests
that were signed more than 15 minutes ago. gc sends each once, soon after its mark.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from sqlalchemy.engine import Engine

from naiad import clock
from naiad.errors import StorageError
from naiad.storage.postgres.connection import GC_LOCK, transaction
from naiad.storage.postgres.objects import Objects, blob_name

MOST_TRIES = 3
IN_FLIGHT_SECONDS = 1800.0
"""For how long after its mark a deletion without an answer may be carried out: twice as long as S3 takes a request."""
SEND_SECONDS = 60.0
"""How long after its mark a deletion may be sent."""
ADD = """
insert into naiad.content (project, sha256, size) values (%s, %s, %s)
on conflict (project, sha256) do update set made_at = now(), size = excluded.size returning xmax = 0
"""
"""The number in `xmax` is another one in a row that was there."""
IN_FLIGHT = f"coalesce(deleting_at > clock_timestamp() - interval '{IN_FLIGHT_SECONDS} seconds', false)"
FORGET = f"delete from naiad.unreferenced where object = any(%s) and not {IN_FLIGHT}"
DELETIONS = """
select deletions, exists (select from naiad.unreferenced where object = %s) from naiad.about
"""
MARK_DELETION = f"""
update naiad.unreferenced set deleting_at = %s
where object = any(%s) and since <= to_timestamp(%s) and not {IN_FLIGHT}
    and not exists (select from naiad.content where sha256 = split_part(object, '/', 3))
returning object
"""


class SentContent:
    """The rows of content, by project and SHA-256."""

    def __init__(self, engine: Engine, objects: Objects) -> None:
        self._engine = engine
        self._objects = objects

    def of(self, project: str, wanted: Sequence[tuple[str, int]]) -> list[str]:
        """Return those of some SHA-256, with sizes, whose content a project has sent, and keep it from being freed."""
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
            deletions = self._deletions(name)
            # Under no lock, as it may take minutes.
            if self._objects.has(name):
                with transaction(self._engine) as raw:
                    raw.execute("select pg_advisory_xact_lock_shared(%s)", [GC_LOCK])
                    if raw.execute("select deletions from naiad.about").fetchone() == (deletions,):
                        row = raw.execute(ADD, [project, sha256, size]).fetchone()
                        raw.execute(FORGET, [[name]])  # gc may have noted it anew
                        return row == (True,)
            elif source is None:
                break
            else:
                self._objects.put(name, source)
        raise StorageError(f"The object {name} was freed meanwhile.")

    def _deletions(self, name: str) -> int:
        """Return how many deletions have begun, and let gc forget an object.

        Raises:
            StorageError: it is being deleted; or the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            raw.execute("select pg_advisory_xact_lock_shared(%s)", [GC_LOCK])
            raw.execute(FORGET, [[name]])
            row = raw.execute(DELETIONS, [name]).fetchone()
        assert row is not None
        deletions, is_running = row
        if is_running:
            raise StorageError(f"The object {name} is being freed now. Try again later.")
        return int(deletions)

    def delete(self, names: Sequence[str], until: float) -> list[str]:
        """Delete objects that were noted until a time, but content that has a row; return those that are gone.

        Raises:
            StorageError: the objects or the database cannot be used now; some may be gone.
        """
        began = clock.now()
        with transaction(self._engine) as raw:
            raw.execute("select pg_advisory_xact_lock(%s)", [GC_LOCK])
            raw.execute("update naiad.about set deletions = deletions + 1")
            row = raw.execute("select clock_timestamp()").fetchone()
            assert row is not None
            gone = [name for (name,) in raw.execute(MARK_DELETION, [row[0], [*names], until])]
        if not gone:
            return gone
        if not 0 <= clock.now() - began < SEND_SECONDS:  # this process was stopped meanwhile
            raise StorageError("A deletion was not sent: it took too long to begin it. Try again later.")
        self._objects.delete(gone)
        with transaction(self._engine) as raw:
            raw.execute("delete from naiad.unreferenced where object = any(%s) and deleting_at = %s", [gone, row[0]])
        return gone
