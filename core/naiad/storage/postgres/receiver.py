"""Receiver: journals of other machines, taken into PostgreSQL by any number of replicas, exactly once.

    a group of pieces -- one statement -- how far are the files? Of those that this replica has taken last, and that go
                                          on from there, it remembers that
                         one object       the bytes of a group of 1 MiB and more
                         one statement -- received: each file goes on from where it was; one that another replica has
                                          moved meanwhile is decided anew
                                          inbox: the bytes, or their place in the object
                                          due: when the run is to be folded
    answer <------------ committed

Nothing is locked between the statements; a file goes on only from the position that was read or remembered (compare
and set), so two replicas that get the same bytes store them once. A position that is wrong costs the first statement.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from naiad import clock
from naiad.container_kinds import RunId
from naiad.errors import StorageError
from naiad.storage.local.index.index import Index
from naiad.storage.local.journal import arrivals
from naiad.storage.local.journal.arrivals import Group, suffix_of, writer_of
from naiad.storage.local.layout import RunDirectory
from naiad.storage.postgres import migrating, statistics, temporary
from naiad.storage.postgres.connection import (
    POOL,
    Calls,
    RunDatabase,
    array,
    calls,
    contents,
    refusal,
    texts,
    transaction,
)
from naiad.storage.postgres.folding import LOCK_SECONDS, Folder
from naiad.storage.postgres.multipart_uploads import MultipartUploads
from naiad.storage.postgres.notices import CHANGED, DUE, Sender
from naiad.storage.postgres.objects import Objects, blob_name
from naiad.storage.postgres.pieces import stored
from naiad.storage.postgres.registrar import Registrar
from naiad.storage.postgres.sent_content import SentContent
from naiad.storage.receiving import (
    LARGEST_PART,
    NO_TABLES,
    Accepted,
    Backlog,
    Content,
    Piece,
    Position,
    Received,
    Registered,
    Sealing,
    Usage,
    no_part,
)

OBJECT_BYTES = 1024 * 1024
"""A group of so many bytes goes into one object, so that the write-ahead log of the database stays small."""
URGENT_BYTES = 1024 * 1024
FOLD_SECONDS = 60
"""The longest wait for a fold; `PostgresStore.fold_waiting` shortens it for runs that are looked at."""

POSITIONS = b"select * from naiad.positions($1, $2, $3)"
TAKE = b"select * from naiad.take(%s)" % b", ".join(b"$%d" % number for number in range(1, 23))
"""All of a group at once. The types of the parameters are those of the functions, in the first migration."""
ENDED = """
insert into naiad.writer (run, name, state, seen_at)
select run, name, state, now()
from unnest(%s::bigint[], %s::text[], %s::text[], %s::boolean[]) as new (run, name, state, has_grown)
join naiad.run on number = run
where has_grown or not exists (
    select from naiad.writer w where w.run = new.run and w.name = new.name and w.state = new.state
) order by run, name
on conflict (run, name) do update set state = excluded.state, seen_at = excluded.seen_at
"""
"""An end that is repeated, as by `naiad sync --verify`, leaves `seen_at`, from which gc counts the age of data."""
DUE_NOW = """
insert into naiad.due (run, at) select number, now() from naiad.run where number = any(%s) order by number
on conflict (run) do update set at = now()
"""
MOST_REMEMBERED = 50_000
"""Files whose positions a replica remembers: some 20 MB."""
MOST_TRIES = 10
"""How many times a group is decided anew because other replicas have taken bytes of the same files meanwhile."""
INLINE = b"select coalesce(sum(octet_length(data)), 0) from naiad.inbox"
BACKLOG = """
select coalesce(sum(upto - start), 0)::bigint, coalesce(extract(epoch from now() - min(at)), 0)::float8,
    count(distinct run), (select count(*) from naiad.run where failures >= 3) from naiad.inbox
"""
FOREIGN = """
select distinct sha256 from naiad.content where sha256 = any(%s)
except select sha256 from naiad.content where project = %s
"""
MOST_INLINE = 1024 * 1024 * 1024
"""Bytes that the database keeps at most while the objects are away; then nothing more is accepted."""
TEMPORARY_FILE = """
set local work_mem = '64kB'; set local temp_tablespaces = '';
with pages as materialized (select repeat('x', 8192) from generate_series(1, 256)) select count(*) from pages
"""
"""Write 2 MiB, more than a group has that goes into no object, into a temporary file on the disk of the tables.

It needs no table, leaves nothing behind, and is not in the write-ahead log. It takes some 5 ms.
"""
ROOM_SECONDS = 2.0
"""How long the result is reused: requests for the readiness need no token, and may be many."""


class Positions:
    """The positions of the files that this replica has taken last.

    Another replica may have moved them, and the database may have been set back: one is only used where the database
    compares it.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[RunId, str], Position] = {}
        self._lock = threading.Lock()

    def of(self, files: Collection[tuple[RunId, str]]) -> dict[RunId, dict[str, Position]]:
        """Return the known positions of some files, by run."""
        found: dict[RunId, dict[str, Position]] = {}
        with self._lock:
            known = [(run, file, self._known.get((run, file))) for run, file in files]
        for run, file, position in known:
            if position is not None:
                found.setdefault(run, {})[file] = position
        return found

    def note(self, changed: Mapping[tuple[RunId, str], Position], wrong: Collection[tuple[RunId, str]]) -> None:
        """Remember new positions, and forget wrong ones."""
        with self._lock:
            for key in (*wrong, *changed):
                self._known.pop(key, None)
            # A sealed file gets nothing more. The others in the order of their use, so that those of clients that
            # have gone are forgotten first.
            self._known.update((key, each) for key, each in changed.items() if not each.is_sealed)
            for key in [*itertools.islice(self._known, max(0, len(self._known) - MOST_REMEMBERED))]:
                del self._known[key]


class Room:
    """The free space on the disk of the database, tried every few seconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._problem = ""
        self._due_at = 0.0
        self._lock = threading.Lock()

    def problem(self) -> str:
        """Return why the disk takes nothing; nothing if it does, or if the database has other trouble."""
        now = clock.monotonic()
        with self._lock:
            is_due = now >= self._due_at
            self._due_at = now + ROOM_SECONDS if is_due else self._due_at
        if is_due:
            self._problem = self._tried()
        return self._problem

    def _tried(self) -> str:
        try:
            with transaction(self._engine, is_read_only=True) as raw:
                raw.execute(TEMPORARY_FILE)
        except StorageError as error:
            if isinstance(error.__cause__, psycopg.errors.DiskFull):
                return "The disk of the database is full."
        return ""


class Receiver:
    """The receiving end of a database; see `naiad.storage.receiving`."""

    def __init__(self, engine: Engine, objects: Objects, containers: Registrar) -> None:
        self._engine = engine
        self._objects = objects
        self._folder = Folder(engine, objects)
        self._containers = containers
        self._notices = Sender(engine)
        self._positions = Positions()
        self._room = Room(engine)
        self._sent = SentContent(engine, objects)
        self._uploads = MultipartUploads(objects, self._sent)
        self._epoch = ""

    @property
    def epoch(self) -> str:
        """A text that changes when the database was set back; empty while it has not been reached yet.

        It is read anew each time: replicas go on while an operator runs `naiad server restored`.
        """
        with contextlib.suppress(OSError), transaction(self._engine, is_read_only=True) as raw:
            row = raw.execute("select epoch from naiad.about").fetchone()
            epoch = "" if row is None else row[0]
            if epoch != self._epoch:
                self._containers.forget_all()  # a number may be that of another container since
            self._epoch = epoch
        return self._epoch

    @property
    def uploads(self) -> MultipartUploads | None:
        """The content that programs send to the store of objects themselves; None if they cannot."""
        return self._uploads if self._objects.is_linking else None

    # Containers

    def register(
        self,
        run: RunId,
        project: str,
        *,
        custom_run_id: str | None = None,
        wish: str | None = None,
        parent: str | None = None,
        is_exact: bool = False,
    ) -> tuple[Registered, bool]:
        """Register a container, and return the one that is meant with whether it is new.

        Raises:
            ModelKeyTaken, ContainerNotFound, NameTaken, StorageError: as in the protocol.
        """
        return self._containers.register(run, project, custom_run_id, wish, parent, is_exact)

    def find(self, uid: str) -> Registered | None:
        """Return a container that was registered and not deleted; None if there is none."""
        return self._containers.find(uid)

    def is_at_hand(self, uid: str) -> bool:
        """Whether `find` needs no database for a uid."""
        return self._containers.is_at_hand(uid)

    def count(self, project: str) -> int:
        """Return how many runs, models and versions of a project were registered and not deleted."""
        return self._containers.count(project)

    def add_project(self, project: str, key: str | None = None) -> str:
        """Make a project, if it is not there, and return its key.

        Raises:
            ProjectExists: the key belongs to another one.
        """
        return self._containers.add_project(project, key)

    def forget(self, run: RunId) -> None:
        """Remove a container that was deleted from the memory of this process."""
        self._containers.forget(run)

    # Bytes

    is_name = staticmethod(arrivals.is_name)
    checked = staticmethod(arrivals.checked)

    def received(self, run: RunId) -> Mapping[str, Received]:
        """Return how far each journal file was received, by name."""
        number = self._containers.number_of(run.uid)
        with transaction(self._engine) as raw:
            rows = raw.execute("select file, upto, is_sealed from naiad.received where run = %s", [number]).fetchall()
        return {file: Received(upto, is_sealed) for file, upto, is_sealed in rows}

    def accept(
        self,
        pieces: Sequence[Piece],
        sealings: Sequence[Sealing] = (),
        writers: Mapping[tuple[RunId, str], bool] | None = None,
    ) -> Accepted:
        """Store the pieces that continue their files, in one transaction, and note which writers live or have ended.

        Raises:
            StorageError: the database cannot be used now; nothing is accepted.
        """
        group = Group(pieces, sealings, writers)
        found = {run: self._containers.number_of(run.uid) for run in group.runs}
        numbers = {run: number for run, number in found.items() if number is not None}
        files = group.asked
        with calls(self._engine) as server:
            known = self._positions.of([key for key in files if key[0] in numbers])  # others were deleted
            group.settle(known.get)
            # Sealings are rare, and what does not go on may be ahead of what this replica remembers.
            is_remembered = bool(files) and not sealings and len(group.taken) == len(pieces)
            for _ in range(MOST_TRIES):
                if not is_remembered:
                    known = self._known(server, numbers, files)
                    group.settle(known.get, files)
                is_remembered = False
                files = self._take(server, numbers, group, known, files)
                if not files:
                    break
            else:
                raise StorageError("Other replicas take the same files. Try again soon.")
        claimed = group.claimed(self.find)
        grown = {(run, writer_of(file)) for run, file in group.changed}
        ended = self._note_ends(numbers, [key for key, is_alive in group.signs.items() if not is_alive], grown)
        accepted = group.accepted(ended, claimed)
        is_urgent = bool(ended or claimed) or any(each.is_sealed for each in group.changed.values())
        if accepted.grown or is_urgent:
            self._notices.send(CHANGED, *([DUE] if is_urgent else []))
        return accepted

    def _known(
        self, server: Calls, numbers: dict[RunId, int], files: Collection[tuple[RunId, str]]
    ) -> dict[RunId, dict[str, Position]]:
        """Return the positions of some files by run. Runs that another replica has deleted leave `numbers`."""
        keys = [(numbers[run], file) for run, file in files if run in numbers]
        asked = array(run for run, _ in keys), texts(file for _, file in keys), array(numbers.values())
        rows = server.rows(POSITIONS, *asked)
        there = {int(row[0] or 0) for row in rows}
        for run in [run for run, number in numbers.items() if number not in there]:
            del numbers[run]
            self._containers.forget(run)
        runs = {number: run for run, number in numbers.items()}
        found: dict[RunId, dict[str, Position]] = {run: {} for run in numbers}
        for number, file, upto, crc, is_sealed in rows:
            if file is not None:
                position = Position(int(upto or 0), int(crc or 0), is_sealed == b"t")
                found[runs[int(number or 0)]][file.decode()] = position
        return found

    def _take(
        self,
        server: Calls,
        numbers: Mapping[RunId, int],
        group: Group,
        known: Mapping[RunId, Mapping[str, Position]],
        files: Collection[tuple[RunId, str]],
    ) -> set[tuple[RunId, str]]:
        """Store the bytes of a group of some files; return the files that others have changed meanwhile."""
        # Sorted by key: two replicas that update rows in different orders would block each other for ever.
        changed = sorted((numbers[key[0]], key[1], key) for key in group.changed if key in files)
        befores = [known[run].get(file) for _, _, (run, file) in changed]
        afters = [group.changed[key] for _, _, key in changed]
        pieces = [piece for piece in group.taken if (piece.run, piece.file) in files]
        signs = sorted(
            (numbers[run], name) for (run, name), is_alive in group.signs.items() if is_alive and run in numbers
        )
        urgent = {numbers[run] for run in group.claimed(self.find)}
        urgent |= {number for (number, _, _), after in zip(changed, afters, strict=True) if after.is_sealed}
        rows = server.rows(
            TAKE,
            array(number for number, _, _ in changed),
            texts(file for _, file, _ in changed),
            array(None if each is None else each.upto for each in befores),
            array(None if each is None else each.crc for each in befores),
            array(each.upto for each in afters),
            array(each.crc for each in afters),
            array(each.is_sealed for each in afters),
            *self._bytes(server, numbers, pieces),
            array(number for number, _ in signs),
            texts(name for _, name in signs),
            *_waits(numbers, pieces, urgent),
        )
        taken = {(int(run or 0), (file or b"").decode()) for run, file in rows}
        left = {key for number, file, key in changed if (number, file) not in taken}
        self._positions.note(
            {key: after for (_, _, key), after in zip(changed, afters, strict=True) if key not in left}, left
        )
        return left

    def _bytes(self, server: Calls, numbers: Mapping[RunId, int], pieces: Sequence[Piece]) -> Iterator[str | bytes]:
        """Yield the rows of the inbox, column by column, after the bytes of many were put into one object."""
        is_large = sum(len(each.data) for each in pieces) >= OBJECT_BYTES
        name, places = self._put(server, pieces) if is_large else ("", [])
        yield array(numbers[each.run] for each in pieces)
        yield texts(each.file for each in pieces)
        yield array(each.start for each in pieces)
        yield array(each.start + len(each.data) for each in pieces)
        yield contents([b"" if name else each.data for each in pieces])
        yield name
        for column in range(3):
            yield array(each[column] for each in places)

    def _note_ends(
        self,
        numbers: Mapping[RunId, int],
        writers: Collection[tuple[RunId, str]],
        grown: Collection[tuple[RunId, str]],
    ) -> set[RunId]:
        """Note that writers have ended; return the runs with one whose files are complete.

        Args:
            numbers: of the runs.
            writers: that have ended, by run and name.
            grown: those of which something new was taken.
        """
        ended: set[RunId] = set()
        signs: list[tuple[int, str, str, bool]] = []
        writers = [(run, writer) for run, writer in writers if run in numbers]
        if not writers:
            return ended
        with transaction(self._engine) as raw:
            for run, writer in writers:
                rows = raw.execute(
                    "select file, is_sealed from naiad.received where run = %s and starts_with(file, %s)",
                    [numbers[run], f"{writer}."],
                ).fetchall()
                # The end of a writer counts once all of its files are complete: pieces of one may still be on their
                # way. Every writer has ops: without them there is a file that has not come yet.
                has_ops = any(suffix_of(file) == "ops" for file, _is_sealed in rows)
                is_complete = has_ops and all(is_sealed for _file, is_sealed in rows)
                if is_complete:
                    ended.add(run)
                signs.append((numbers[run], writer, "dead" if is_complete else "ended", (run, writer) in grown))
            raw.execute(ENDED, [list(column) for column in zip(*sorted(signs), strict=True)])
            if ended:
                raw.execute(DUE_NOW, [[numbers[run] for run in ended]])
        return ended

    def _put(self, server: Calls, taken: Sequence[Piece]) -> tuple[str, list[tuple[int, int, int]]]:
        """Put pieces into one object; return its name, empty if objects are away, and place, length and crc of each."""
        name = f"inbox/{clock.now() // 3600:.0f}/{os.urandom(8).hex()}"
        places, data = [], bytearray()
        for piece in taken:
            own = stored(piece)
            places.append((len(data), len(own), zlib.crc32(own)))
            data += own
        try:
            self._objects.put_briefly(name, bytes(data))  # before the rows that refer to it
        except StorageError:
            [(size,)] = server.rows(INLINE)
            if int(size or 0) + sum(len(each.data) for each in taken) > MOST_INLINE:
                raise
            return "", []  # the objects are away: the database takes the bytes for a while
        return name, places

    # Content of files

    def content_of(self, project: str, wanted: Sequence[tuple[str, int]]) -> list[str]:
        """Return those of some SHA-256, with sizes, whose content a project has sent, and keep it from being freed."""
        return self._sent.of(project, wanted)

    @contextlib.contextmanager
    def content(self, project: str, sha256: str) -> Iterator[Content]:
        """Receive content: it is stored when the block ends, and is not if the block raises.

        Raises:
            NaiadValueError: another content was written than that of the hash.
            StorageError: the objects or the database cannot be used now.
        """
        # On disk and not in memory, since content may be larger than that; its hash decides before anything is
        # stored.
        with tempfile.NamedTemporaryFile(prefix="blob-", dir=temporary.folder()) as stream:
            content = Content(lambda data, _start: stream.write(data))
            yield content
            stream.flush()
            content.require(sha256)
            self._objects.put(blob_name(sha256), Path(stream.name))
            content.is_new = self._sent.add(project, sha256, content.size, Path(stream.name))

    def fields(self, run: RunId) -> int:
        """Return how many fields a run has, as far as it is folded."""
        number = self._containers.number_of(run.uid)
        if number is None:
            return 0
        index = Index(RunDirectory(Path()), RunDatabase(self._engine, number))
        with index.view() as connection:
            return index.head(connection).fields if index.has_begun(connection) else 0

    # Folding

    def fold(self, run: RunId) -> None:
        """Fold the received bytes of a run.

        Raises:
            StorageError: the database or the objects cannot be used now; nothing is lost.
        """
        number = self._containers.number_of(run.uid)
        if number is not None:
            self._folder.fold(number, until=clock.monotonic() + LOCK_SECONDS)

    def waiting(self) -> Sequence[RunId]:
        """Return nothing: due runs are listed in the database."""
        return ()

    def checkpoint(self) -> None:
        """Do nothing: everything committed is safe."""

    def migrate(self) -> str:
        """Bring the tables up to date, and return their version.

        Raises:
            StorageError: the database cannot be used now.
        """
        try:
            version = migrating.migrate(self._engine)
        except (psycopg.Error, SQLAlchemyError) as error:
            raise refusal(error) from error
        with contextlib.suppress(StorageError):  # the tables are there; workers make the statistics later
            statistics.analyze(self._engine)
        return version

    def problem(self) -> str:
        """Return why nothing can be taken now: the database is away or full, has other tables, or could hide damage."""
        try:
            with transaction(self._engine, is_read_only=True) as raw:
                known = raw.execute("select to_regclass('naiad.alembic_version')").fetchone()
                row = None
                if known is not None and known[0] is not None:
                    row = raw.execute("select version_num, least from naiad.alembic_version, naiad.about").fetchone()
                sums = raw.execute("show data_checksums").fetchone()
        except StorageError as error:
            return str(error)
        # Checked by each replica: one of another release must not write into tables that it does not know.
        if row is None:
            return NO_TABLES
        if not migrating.is_served(*row):
            return "The database has other tables than this release needs: naiad server migrate"
        if sums is None or sums[0] != "on":
            return "The database has no data checksums, without which damage would be served: initdb --data-checksums"
        return self._room.problem()

    def backlog(self) -> Backlog | None:
        """Return the work that waits, for all replicas; None while the database is away."""
        try:
            with transaction(self._engine, is_read_only=True) as raw:
                row = raw.execute(BACKLOG).fetchone()
        except StorageError:
            return None
        return None if row is None else Backlog(*row)

    def usage(self) -> Usage | None:
        """Return the use of connections and objects by this process."""
        pool: Any = self._engine.pool
        return Usage(pool.checkedout(), 2 * POOL, self._objects.failures)

    def content_bytes(self, project: str, sha256: str) -> bytes:
        """Return content that a project has sent.

        Raises:
            NaiadValueError: it has not, or it is larger than a part of a journal can be.
        """
        with transaction(self._engine) as raw:
            asked = "select size from naiad.content where project = %s and sha256 = %s"
            row = raw.execute(asked, [project, sha256]).fetchone()
        if row is None or row[0] > LARGEST_PART:
            raise no_part(sha256, is_sent=row is not None)
        return self._objects.get(blob_name(sha256))

    def foreign_content(self, project: str, names: Collection[str]) -> list[str]:
        """Return those of some SHA-256 whose content another project has sent and this one has not."""
        with transaction(self._engine) as raw:
            rows = raw.execute(FOREIGN, [[*names], project]).fetchall()
        return [sha256 for (sha256,) in rows]

    def close(self) -> None:
        """Close the connections."""
        self._uploads.close()
        self._engine.dispose()


def _waits(numbers: Mapping[RunId, int], pieces: Sequence[Piece], urgent: set[int]) -> Iterator[str]:
    """Yield the rows of runs to be folded, column by column: those of the pieces in time, the urgent ones now."""
    sizes = dict.fromkeys(urgent, 0)
    for each in pieces:
        sizes[numbers[each.run]] = sizes.get(numbers[each.run], 0) + len(each.data)
    runs = sorted(sizes)
    yield array(runs)
    yield array(sizes[run] for run in runs)
    yield array(0.0 if run in urgent else FOLD_SECONDS for run in runs)
    yield str(URGENT_BYTES)
