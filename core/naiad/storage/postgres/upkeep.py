"""Upkeep of a database and its objects: reading all of it again, and freeing objects that nothing refers to.

A restored row must find its object. So gc notes when it first saw an object without a row that refers to it, and frees
it once that was before the last backup began and some days ago. Its age does not matter: if a run is deleted after the
backup, all its objects are older than that.

A replica may take the same content again at any moment: see `sent_content` for how both avoid the loss of it.
"""

from __future__ import annotations

import contextlib
import datetime
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy.engine import Engine

from naiad import clock
from naiad.container_kinds import RunId, kind_named
from naiad.errors import DamagedData, DamageWarning, StorageError
from naiad.kinds import POINTS, TEXTS
from naiad.refs import FileRef
from naiad.storage.base import Store
from naiad.storage.local.files import stored_files
from naiad.storage.postgres import multipart_uploads, statistics
from naiad.storage.postgres.archive import Archive
from naiad.storage.postgres.connection import GC_LOCK, transaction
from naiad.storage.postgres.folding import MOST_FAILURES
from naiad.storage.postgres.objects import Objects, blob_name
from naiad.storage.postgres.reader import PostgresReader
from naiad.storage.postgres.sent_content import FORGET, SentContent

PIECE = 1024 * 1024
DAY = 86_400.0
BACKED_UP_DAYS = 7.0
"""The days for which content stays without a reference, if a backup is noted."""
UNKNOWN_DAYS = 30.0
"""The same if none is: it may be as old as this."""
SENT_DAYS = 7.0
"""The days for which content that was sent waits for the op that refers to it."""
STORED_DAYS = 1.0
"""An object that was stored so lately may get its row only now."""
MARGIN_SECONDS = 3600.0
"""By which an object is without a reference before a backup begins, whose start time is by the clock of another
machine."""
MOST_UNUSED = 2
"""An object with so many times the bytes that rows refer to is packed anew."""
BATCH = 1000
"""Objects that are deleted at once; an S3 server takes so many in one request."""
REFERRED = """
select object from naiad.inbox where object is not null
union select object from naiad.run_chunk where object is not null
union select object from naiad.run_pack where object is not null
"""
HORIZON = "select extract(epoch from now())::float8, extract(epoch from backed_up_at)::float8 from naiad.about"
MARKS = "select object, extract(epoch from since)::float8 from naiad.unreferenced"
MARK = """
insert into naiad.unreferenced (object, since) select object, to_timestamp(%s) from unnest(%s::text[]) as new (object)
where not exists (select from naiad.content where sha256 = split_part(object, '/', 3)) on conflict do nothing
"""
ARRIVALS = "select uid, max(seen_at) from naiad.writer join naiad.run on number = run group by uid"
LET_GO = """
delete from naiad.content where project = %s and sha256 = %s and made_at < now() - make_interval(secs => %s)
"""
SET_ASIDE = "select id, failures, problem from naiad.run where failures >= %s order by number"


class Upkeep:
    """The upkeep of one database; see `naiad.storage.receiving.Upkeep`."""

    def __init__(self, store: Store, engine: Engine, objects: Objects) -> None:
        self._store = store
        self._engine = engine
        self._objects = objects
        self._sent = SentContent(engine, objects)

    def _runs(self) -> Iterator[tuple[str, str, PostgresReader]]:
        """Yield id, project and reader of every container, one after the other."""
        with transaction(self._engine) as raw:
            rows = raw.execute("select uid, kind, id, project from naiad.run order by number").fetchall()
        for uid, kind, name, project in rows:
            run = RunId(uid, kind_named(kind))
            reader = self._store.reader(run)
            assert isinstance(reader, PostgresReader)
            yield name, project, reader

    def verify(self) -> Iterator[tuple[str, str]]:
        """Read every block and every stored file; yield the id of a container and each damage in it.

        Points whose definition has not come are among them: they are in no series until it comes.

        Raises:
            StorageError: the database or the objects cannot be used now.
        """
        with transaction(self._engine) as raw:
            aside = raw.execute(SET_ASIDE, [MOST_FAILURES]).fetchall()
        # The bytes of such a run are kept, but are not in its series.
        for name, failures, problem in aside:
            yield name, f"its fold has failed {failures} times and waits for new bytes: {problem}"
        for name, _project, reader in self._runs():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DamageWarning)  # it is in the result
                for found in _damages(reader):
                    yield name, found

    def arrivals(self) -> Mapping[str, datetime.datetime]:
        """Return the time of the last sign of life of each container, by uid and the clock of the database.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            return dict(raw.execute(ARRIVALS).fetchall())

    def backup(self) -> float | None:
        """Return the time at which the last noted backup began; None if there is none.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            row = raw.execute(HORIZON).fetchone()
        return None if row is None else row[1]

    def note_backup(self, began: float) -> None:
        """Note a completed backup of the database, by the time at which it began.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            raw.execute("update naiad.about set backed_up_at = to_timestamp(%s)", [began])

    def collect(self, days: float | None = None, *, is_dry: bool = False) -> list[tuple[str, int]]:
        """Free objects that nothing has referred to for some days and since before the last backup.

        Args:
            days: for which they stay; by default 7 if a backup is noted, else 30. With less than one, replicas and
                workers must not run: an object is stored some seconds before its row.
            is_dry: whether nothing is changed.

        Returns:
            Their names and sizes.

        Raises:
            DamagedData: a container cannot be read, so that its files are not known; nothing is freed.
            StorageError: the database or the objects cannot be used now.
        """
        if not is_dry:  # first, since the new objects are in use
            self._repack()
        used: dict[str, set[str]] = {}
        for _name, project, reader in self._runs():
            own = used.setdefault(project, set())
            own.update(reader.digest(file) for _path, file in stored_files(reader) if file.blob)
        with transaction(self._engine) as raw:
            row = raw.execute(HORIZON).fetchone()
            assert row is not None
            now, backup = row
            if days is None:
                days = UNKNOWN_DAYS if backup is None else BACKED_UP_DAYS
            kept = self._let_go(raw, used, min(days, SENT_DAYS), is_dry=is_dry)
            kept |= {name for (name,) in raw.execute(REFERRED)}
        free = dict(self._unreferenced(kept, min(days, STORED_DAYS)))
        with transaction(self._engine) as raw:
            since = dict(raw.execute(MARKS).fetchall())
            if not is_dry:
                # Content may have been sent again since the objects were listed.
                raw.execute("select pg_advisory_xact_lock(%s)", [GC_LOCK])
                raw.execute(FORGET, [[*since.keys() - free.keys()]])
                raw.execute(MARK, [now, [*free.keys() - since.keys()]])
        until = now - days * DAY
        if backup is not None:
            until = min(until, backup - MARGIN_SECONDS)
        gone = [name for name in free if since.get(name, now) <= until]
        if not is_dry:
            batches = [gone[first : first + BATCH] for first in range(0, len(gone), BATCH)]
            gone = [name for batch in batches for name in self._sent.delete(batch, until)]
        return [*((name, free[name]) for name in gone), *self._free_parts(min(days, SENT_DAYS), is_dry=is_dry)]

    def _free_parts(self, days: float, *, is_dry: bool) -> list[tuple[str, int]]:
        """Free the parts of uploads that nothing has gone on with for some days. No row ever refers to them."""
        before = _days_ago(days)
        found = [(name, size) for name, size, made in self._objects.all(multipart_uploads.FOLDER) if made < before]
        for first in range(0, 0 if is_dry else len(found), BATCH):
            self._objects.delete([name for name, _size in found[first : first + BATCH]])
        return found

    def _unreferenced(self, kept: Collection[str], days: float) -> Iterator[tuple[str, int]]:
        """Yield name and size of objects to which nothing refers, except those stored in the last days."""
        before = _days_ago(days)
        for folder in ("blobs", "inbox", "runs"):
            for name, size, made in self._objects.all(folder):
                if name not in kept and made < before:
                    yield name, size

    def _repack(self) -> None:
        """Pack the objects anew of which less than half is referred to; gc finds the old ones free the next time."""
        archive = Archive(self._engine, self._objects)
        sizes = {name: size for name, size, _made in self._objects.all("runs")}
        for number, name, used in archive.used():
            if MOST_UNUSED * used < sizes.get(name, 0):
                with contextlib.suppress(DamagedData):  # verify names it
                    archive.repack(number, name)

    def _let_go(self, raw: Any, used: Mapping[str, set[str]], days: float, *, is_dry: bool) -> set[str]:
        """Drop the rows of content that no run of its project refers to; return the names of all that stay."""
        rows = raw.execute(
            "select project, sha256, made_at < now() - make_interval(secs => %s) from naiad.content", [days * DAY]
        ).fetchall()
        gone = {(project, sha256) for project, sha256, is_old in rows if is_old and sha256 not in used.get(project, ())}
        if not is_dry:
            for project, sha256 in sorted(gone):
                # Only if it is still as old: a replica may just have answered that it is there.
                if not raw.execute(LET_GO, [project, sha256, days * DAY]).rowcount:
                    gone.discard((project, sha256))
        stay = {sha256 for project, sha256, _is_old in rows if (project, sha256) not in gone}
        return {blob_name(sha256) for sha256 in stay.union(*used.values())}

    def renew_epoch(self) -> None:
        """Give the database a new epoch, after which every client sends again the bytes that are missing.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            raw.execute("update naiad.about set epoch = md5(random()::text || clock_timestamp()::text)")
        with contextlib.suppress(StorageError):  # workers make them later
            statistics.analyze(self._engine)  # a restore may have left none

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _days_ago(days: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(clock.now() - days * DAY, datetime.timezone.utc)


def _damages(reader: PostgresReader) -> Iterator[str]:
    try:
        kinds = reader.kinds()
    except DamagedData as error:
        yield str(error)
        return
    yield from map(str, reader.damages)
    yield from map(str, reader.undefined())
    for path, kind in kinds.items():
        with contextlib.suppress(KeyError):
            try:
                if kind == POINTS:
                    reader.points(path, include_rewound=True)
                    reader.chart(path, 1)  # of its pyramids, if it has some
                elif kind in TEXTS:
                    reader.texts(path, kind, include_rewound=True)
            except DamagedData as error:
                yield " ".join(str(error).split())
    try:
        for path, file in stored_files(reader):
            damage = _damage_of(reader, file)
            if damage:
                yield f"{path}: {damage}"
    except DamagedData as error:  # the list of files is damaged
        yield " ".join(str(error).split())


def _damage_of(reader: PostgresReader, file: FileRef) -> str:
    """Read a file to its end; return its damage in one line, which is empty if there is none."""
    try:
        with reader.open_file(file, is_checked=True) as stream:
            while stream.read(PIECE):
                pass
    except DamagedData as error:
        return " ".join(str(error).split())
    return ""
