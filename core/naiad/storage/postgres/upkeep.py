"""Upkeep of a database and its objects: reading all of it again, and freeing objects that nothing refers to.

An object is freed when no row refers to it and it is older than some days, which have to reach back before the latest
backup of the database: a restored row must find its object.
"""

from __future__ import annotations

import contextlib
import datetime
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.engine import Engine

from naiad.container_kinds import RunId, kind_named
from naiad.errors import DamagedData, DamageWarning
from naiad.kinds import POINTS, TEXTS
from naiad.storage.base import Store
from naiad.storage.local.files import stored_files
from naiad.storage.postgres.connection import transaction
from naiad.storage.postgres.folding import MOST_FAILURES
from naiad.storage.postgres.objects import Objects, blob_name
from naiad.storage.postgres.reader import PostgresReader

PIECE = 1024 * 1024
REFERRED = """
select object from naiad.inbox where object is not null
union select object from naiad.run_chunk where object is not null
union select object from naiad.run_pack where object is not null
"""
SET_ASIDE = "select id, failures, problem from naiad.run where failures >= %s order by number"


class Upkeep:
    """The upkeep of one database; see `naiad.storage.receiving.Upkeep`."""

    def __init__(self, store: Store, engine: Engine, objects: Objects) -> None:
        self._store = store
        self._engine = engine
        self._objects = objects

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

    def collect(self, days: float, *, is_dry: bool = False) -> list[tuple[str, int]]:
        """Free objects of some days and older to which nothing refers; return their names and sizes.

        Raises:
            DamagedData: a container cannot be read, so that its files are not known; nothing is freed.
            StorageError: the database or the objects cannot be used now.
        """
        used: dict[str, set[str]] = {}
        for _name, project, reader in self._runs():
            own = used.setdefault(project, set())
            own.update(reader.digest(file) for _path, file in stored_files(reader) if file.blob)
        with transaction(self._engine) as raw:
            kept = self._let_go(raw, used, days, is_dry=is_dry)
            kept |= {name for (name,) in raw.execute(REFERRED)}
        before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=days)
        found = [
            (name, size)
            for folder in ("blobs", "inbox", "runs")
            for name, size, made in self._objects.all(folder)
            if name not in kept and made < before
        ]
        if not is_dry and found:
            self._objects.delete([name for name, _size in found])
        return found

    def _let_go(self, raw: Any, used: Mapping[str, set[str]], days: float, *, is_dry: bool) -> set[str]:
        """Drop the rows of content that no run of its project refers to; return the names of all that stay."""
        rows = raw.execute(
            "select project, sha256, made_at < now() - make_interval(secs => %s) from naiad.content", [days * 86_400]
        ).fetchall()
        gone = {(project, sha256) for project, sha256, is_old in rows if is_old and sha256 not in used.get(project, ())}
        if not is_dry:
            for project, sha256 in sorted(gone):
                raw.execute("delete from naiad.content where project = %s and sha256 = %s", [project, sha256])
        return {blob_name(sha256) for project, sha256, _is_old in rows if (project, sha256) not in gone}

    def renew_epoch(self) -> None:
        """Give the database a new epoch, after which every client sends again the bytes that are missing.

        Raises:
            StorageError: the database cannot be used now.
        """
        with transaction(self._engine) as raw:
            raw.execute("update naiad.about set epoch = md5(random()::text || clock_timestamp()::text)")

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


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
    for path, file in stored_files(reader):
        try:
            with reader.open_file(file, is_checked=True) as stream:
                while stream.read(PIECE):
                    pass
        except DamagedData as error:
            yield f"{path}: {' '.join(str(error).split())}"
